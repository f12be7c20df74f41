"""Where the two bodies lie on disk, and how they get there.

Out: the path of an SMPL-X-format `.npz` in the user's cache that holds plain numeric arrays only. The open body is
built from anny the first time it is asked for. The licensed body is read from the user's `SMPLX_NEUTRAL.npz` without
pickle and rewritten, because `smplx` itself loads files with pickle allowed.
"""

from __future__ import annotations

import logging
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from unimo.assets import cache_dir
from unimo.body.build_open import BUILD_VERSION, build_open_body
from unimo.errors import InputError, MissingAssetError
from unimo.files import atomic_write

logger = logging.getLogger(__name__)

SMPLX_FILE = "SMPLX_NEUTRAL.npz"
REQUIRED_KEYS = (
    "v_template", "f", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "hands_componentsl",
    "hands_componentsr", "hands_meanl", "hands_meanr", "lmk_faces_idx", "lmk_bary_coords",
)  # fmt: skip
OPTIONAL_KEYS = ("dynamic_lmk_faces_idx", "dynamic_lmk_bary_coords")


def open_body_path(progress: Callable[[str], None] = logger.info) -> Path:
    """The open body's file; built now (about a minute, once) when the cache does not hold it.

    Args:
        progress: called with a line of text now and then while building.
    """
    path = cache_dir() / "bodies" / f"open_v{BUILD_VERSION}.npz"
    if not path.is_file():
        arrays = build_open_body(progress)
        with atomic_write(path) as temporary:
            np.savez_compressed(temporary, **arrays)  # pyright: ignore[reportArgumentType]
    return path


def licensed_body_path() -> Path:
    """A numeric-only copy of the user's SMPL-X file.

    Looks for `SMPLX_NEUTRAL.npz` in `$UNIMO_BODY_DIR` (or its folder `smplx`), then in `bodies` of the cache.

    Raises:
        MissingAssetError: the file is in none of these places.
        InputError: the file is not an SMPL-X npz, or would need pickle to be read.
    """
    configured = os.environ.get("UNIMO_BODY_DIR")
    folders = [Path(configured).expanduser(), Path(configured).expanduser() / "smplx"] if configured else []
    candidates = [folder / SMPLX_FILE for folder in [*folders, cache_dir() / "bodies"]]
    source = next((path for path in candidates if path.is_file()), None)
    if source is None:
        raise MissingAssetError(
            "the licensed SMPL-X body is not on this machine",
            where=", ".join(str(path) for path in candidates),
            fix=f"register at https://smpl-x.is.tue.mpg.de, download the SMPL-X v1.1 models, and put {SMPLX_FILE} into"
            " one of these places (UNIMO_BODY_DIR names a folder of yours); or use the open body, which needs no file",
        )
    stat = source.stat()
    copy = cache_dir() / "bodies" / f"smplx_numeric_{stat.st_size}_{stat.st_mtime_ns}.npz"
    if not copy.is_file():
        arrays = read_numeric_body(source)
        with atomic_write(copy) as temporary:
            np.savez(temporary, **arrays)  # pyright: ignore[reportArgumentType]
    return copy


def read_numeric_body(path: Path) -> dict[str, np.ndarray]:
    """The numeric arrays of an SMPL-X file that `smplx` needs, read with pickle refused.

    Raises:
        InputError: not an npz, a key is missing, or a needed array is a pickled object.
    """
    fix = "use the npz file from https://smpl-x.is.tue.mpg.de as it is"
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [key for key in REQUIRED_KEYS if key not in archive.files]
            if missing:
                raise InputError(f"body file lacks the arrays {', '.join(missing)}", where=str(path), fix=fix)
            return {key: archive[key] for key in (*REQUIRED_KEYS, *OPTIONAL_KEYS) if key in archive.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise InputError(f"body file cannot be read without pickle: {error}", where=str(path), fix=fix) from error
