"""Optional packages: which versions are installed, without importing any of them (Ray alone takes seconds)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from unimo.errors import MissingAssetError


def installed(extra: str, use: str, names: Sequence[str]) -> str:
    """Names and versions of the packages of an extra.

    Args:
        extra: of pyproject.toml.
        use: what needs them.
        names: of the packages.

    Raises:
        MissingAssetError: one is not installed.
    """
    found, missing = [], []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        what = f"{use} needs {' and '.join(missing)}, not installed here"
        raise MissingAssetError(what, None, f"pip install 'unimo[{extra}]'")
    return ", ".join(found)
