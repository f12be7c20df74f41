"""The one resolver of shipped files: configs, bundles and example inputs.

In: a short name ("mini", "person.jpg") or a user's path. Out: a `Path` that exists, or an error that says where
we looked. The checkout is looked at first, then what the wheel carries (`unimo/_configs`, `unimo/_bundles`).
A bundle or text encoder of the form `owner/name` that is not a folder here is fetched from Hugging Face; nothing else
touches the network.
"""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path

from unimo.errors import ConfigError, InputError, MissingAssetError

_PACKAGE = Path(__file__).resolve().parent
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def cache_dir() -> Path:
    """Where UniMo keeps what it builds once (open body, retargeted mocap): `$UNIMO_CACHE`, else `~/.cache/unimo`."""
    configured = os.environ.get("UNIMO_CACHE")
    return Path(configured).expanduser() if configured else Path.home() / ".cache" / "unimo"


def checkout_root() -> Path | None:
    """The root of the source checkout this package runs from, or None when it is an installed wheel."""
    root = _PACKAGE.parent
    return root if (root / "pyproject.toml").is_file() and (root / "configs").is_dir() else None


def _folders(in_checkout: str, in_wheel: str | None) -> list[Path]:
    root = checkout_root()
    folders = [root / in_checkout] if root else []
    return folders + ([_PACKAGE / in_wheel] if in_wheel else [])


def _did_you_mean(name: str, known: list[str]) -> str | None:
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"one of: {', '.join(known)}" if known else None


def config_path(kind: str, preset: str) -> Path:
    """The YAML file of a preset.

    Args:
        kind: folder under `configs/`, such as "motion_tokenizer", "visual_tokenizer" or "ar_model".
        preset: name without ".yaml", such as "debug", "mini" or "base".

    Raises:
        ConfigError: no such kind or preset.
    """
    roots = _folders("configs", "_configs")
    for root in roots:
        path = root / kind / f"{preset}.yaml"
        if path.is_file():
            return path
    kinds = sorted({folder.name for root in roots if root.is_dir() for folder in root.iterdir() if folder.is_dir()})
    looked = ", ".join(str(root / kind) for root in roots)
    if kind not in kinds:
        raise ConfigError(f"There is no kind of configuration called {kind!r}.", looked, _did_you_mean(kind, kinds))
    presets = sorted({path.stem for root in roots for path in (root / kind).glob("*.yaml")})
    raise ConfigError(f"There is no {kind} preset called {preset!r}.", looked, _did_you_mean(preset, presets))


def ablations_path(folder: str | Path) -> Path:
    """A folder of ablations: the user's own, or a shipped one by its name under `configs/ablations`."""
    shipped = (root / "ablations" / folder for root in _folders("configs", "_configs"))
    # a folder of the working directory may have the name of a shipped one and hold something else
    return next((path for path in (Path(folder), *shipped) if any(path.glob("*.yaml"))), Path(folder))


def example_path(name: str) -> Path:
    """An example input of the checkout (`assets/examples`), such as "person.jpg" or "clip.mp4".

    Raises:
        MissingAssetError: not there; the examples travel with the source checkout, not with the wheel.
    """
    folders = _folders("assets/examples", None)
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    looked = ", ".join(map(str, folders)) or "an installed package, which carries no examples"
    raise MissingAssetError(
        f"There is no example input called {name!r}.", looked, "run from a checkout of the repository"
    )


def bundle_path(name_or_path: str | Path) -> Path:
    """The folder of a bundle: a path, the name of a shipped bundle ("mini"), or a Hugging Face id ("owner/name").

    Raises:
        InputError: the path is a file.
        MissingAssetError: no such folder or name, or Hugging Face could not be reached.
    """
    path = Path(name_or_path).expanduser()
    name = str(name_or_path)
    shipped = _folders("assets/bundles", "_bundles")
    if re.fullmatch(r"[\w-]+", name):
        for folder in shipped:
            if (folder / name / "bundle.json").is_file():
                return folder / name
    if path.is_dir():
        return path
    if path.exists():
        raise InputError(
            f"{path} is a file; a bundle is a folder that holds bundle.json.", None, f"--bundle {path.parent}"
        )
    if is_hub_id(name_or_path):
        return _fetch_from_hub(name, ["*.json", "*.safetensors"], "use 'mini'")
    looked = ", ".join([str(path.absolute()), *(str(folder / name) for folder in shipped if not path.is_absolute())])
    raise MissingAssetError(
        f"there is no bundle {name!r}",
        looked,
        "'mini' (shipped), 'debug' (random weights), a folder, or a Hugging Face id owner/name",
    )


def is_hub_id(name_or_path: str | Path) -> bool:
    """Whether a name means something on Hugging Face: "owner/name", and there is no folder "owner" here."""
    if not isinstance(name_or_path, str) or not _HUB_ID.fullmatch(name_or_path):
        return False
    path = Path(name_or_path).expanduser()
    return not path.exists() and not path.parent.exists()


def text_encoder_path(name_or_path: str | Path) -> Path:
    """The folder of a text encoder, the user's own: a path, or a Hugging Face id ("owner/name").

    Raises:
        InputError: nothing is named, or the path is a file.
        MissingAssetError: no such folder, or Hugging Face could not be reached.
    """
    path, name = Path(name_or_path).expanduser(), str(name_or_path)
    if not name.strip():
        fix = "--text-encoder FOLDER with a T5; docs/text.md says how to get one"
        raise InputError("no text encoder is named: the name is empty", None, fix)
    if path.is_dir():
        return path.absolute()
    if path.exists():
        what = "this is a file; a text encoder is a folder that holds config.json"
        raise InputError(what, str(path.absolute()), f"--text-encoder {path.parent}")
    if is_hub_id(name_or_path):
        return _fetch_from_hub(name, ["*.json", "*.safetensors", "spiece.model"], "give a folder")
    fix = "a folder, or a Hugging Face id owner/name; docs/text.md says how to get one"
    raise MissingAssetError(f"there is no text encoder {name!r}", str(path.absolute()), fix)


def _fetch_from_hub(repository: str, files: list[str], instead: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repository, allow_patterns=files))
    except Exception as error:  # the hub client raises many unrelated types (offline, 401, 403, 404, proxies)
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise MissingAssetError(
            f"There is no folder {repository!r} here, and it could not be fetched from Hugging Face ({reason}).",
            f"{Path(repository).absolute()}, https://huggingface.co/{repository}",
            f"check the spelling; 401 asks for `hf auth login`, 403 for accepting its licence page; or {instead}",
        ) from error
