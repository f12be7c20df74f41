"""UniMo: one autoregressive transformer for human video and SMPL-X motion. Names load lazily: import is cheap."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_LAZY = {
    "ContinuousTokenizer": "unimo.media.tokenizer",
    "UniMoPipeline": "unimo.pipeline",
    "Motion": "unimo.motion.motion",
    "MotionTokenizer": "unimo.motion.tokenizer",
    "VisualTokenizer": "unimo.media.tokenizer",
    "load_motion_tokenizer": "unimo.bundle",
}
__all__ = [
    "ContinuousTokenizer",
    "Motion",
    "MotionTokenizer",
    "UniMoPipeline",
    "VisualTokenizer",
    "load_motion_tokenizer",
]

if TYPE_CHECKING:
    from unimo.bundle import load_motion_tokenizer
    from unimo.media.tokenizer import ContinuousTokenizer, VisualTokenizer
    from unimo.motion.motion import Motion
    from unimo.motion.tokenizer import MotionTokenizer
    from unimo.pipeline import UniMoPipeline


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'unimo' has no attribute {name!r}")
