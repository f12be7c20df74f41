"""Motion extractors: what labels raw video. `extractor(name)` gives one that is ready to run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unimo.errors import InputError

if TYPE_CHECKING:
    from unimo.data.extractors.protocol import MotionExtractor

EXTRACTORS = ("mediapipe", "gvhmr")


def extractor(name: str, focal: float | None = None, body: str | None = None) -> MotionExtractor:
    """The extractor of a name.

    Args:
        name: one of `EXTRACTORS`.
        focal: focal length of the videos in their pixels; None leaves it to the extractor (the picture's diagonal).
        body: "open" or "smplx"; None takes the extractor's own.

    Raises:
        InputError: an unknown name, or something that the extractor does not take.
        MissingAssetError: it is not on this machine.
    """
    if name == "mediapipe":
        from unimo.data.extractors.mediapipe_extractor import MediapipeExtractor

        found = MediapipeExtractor(focal, body or "open")
        found.check()
        return found
    if name == "gvhmr":
        from unimo.data.extractors.gvhmr import GvhmrExtractor

        if focal is not None or body not in (None, "smplx"):
            what = "GVHMR assumes its own focal length and knows the body smplx only"
            raise InputError(what, fix="leave --focal and --body out, or --extractor mediapipe")
        return GvhmrExtractor.from_environment()
    raise InputError(f"there is no extractor called {name!r}", fix=f"one of: {', '.join(EXTRACTORS)}")
