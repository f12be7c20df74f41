"""The data sets of `unimo evaluate --dataset`: each becomes a folder of clips of the bundle's length and size.

In: a name, where the user's copy lies, a bundle's settings. Out: a folder as `unimo synth` writes it, so that whatever
reads clips reads these, kept in the user's cache, and what a report says of the data set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unimo.bundle import BundleSettings
from unimo.evaluation.request import ClipSource, check_source

Progress = Callable[[str, int, int], None]


@contextmanager
def made_by_one(place: Path) -> Iterator[None]:
    """Holds a folder of the cache for this process: a second run waits here and then finds what the first has made.

    The system lets go when a process ends, however that comes. Where files cannot be locked (Windows) nobody waits.
    """
    place.mkdir(parents=True, exist_ok=True)
    with (place / ".lock").open("w") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        except (ImportError, OSError):
            pass
        yield


def clips_of(
    source: ClipSource, settings: BundleSettings, count: int | None = None, progress: Progress | None = None
) -> tuple[Path, dict[str, Any]]:
    """The folder of clips, made now where the cache does not hold it, and what a report's header says of it.

    Args:
        source: what is evaluated.
        settings: of the bundle; clips have its length, rate, size and body.
        count: how many clips are wanted at most; None takes the data set's own number.
        progress: called with a stage, done and total.

    Raises:
        InputError: see `check_source`; the data set cannot be read, or has no clip that fits.
        MissingAssetError: no renderer for synthetic clips.
    """
    check_source(source)
    if source.clips is not None:
        return source.clips.expanduser(), {"name": None}
    if source.dataset == "synthetic-val":
        from unimo.evaluation.datasets_synthetic import synthetic_val

        return synthetic_val(source.data, settings, source.workers, progress)
    from unimo.evaluation.datasets_real import real_clips

    assert source.dataset is not None and source.data is not None
    return real_clips(source.dataset, source.data, settings, count, progress)
