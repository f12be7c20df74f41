"""Motion tokenizer: SMPL-X motion features (B, T, 145) <-> ids (B, T, 36) of one codebook, decoded by four experts.

A leaf: it takes tensors, a config and a state dict, and touches no files.
"""

from __future__ import annotations

from .config import EXPERTS, MotionTokenizerConfig
from .model import MotionVQVAE, MotionVQVAEOutput

__all__ = ["EXPERTS", "MotionTokenizerConfig", "MotionVQVAE", "MotionVQVAEOutput"]
