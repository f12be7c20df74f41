"""Motion tokenizer: SMPL-X motion features (B, T, 145) <-> ids (B, T, 36) of one codebook, decoded by four experts.

A leaf: it takes tensors, a config and a state dict, and touches no files.
"""

from __future__ import annotations

from .config import EXPERTS, MotionTokenizerConfig
from .fast import FastMotionVQVAE
from .model import MotionVQVAE, MotionVQVAEOutput
from .partwise import PartwiseVQVAE

__all__ = [
    "EXPERTS", "FastMotionVQVAE", "MotionTokenizerConfig", "MotionVQVAE", "MotionVQVAEOutput", "PartwiseVQVAE",
    "build_motion_tokenizer",
]  # fmt: skip


def build_motion_tokenizer(config: MotionTokenizerConfig) -> MotionVQVAE | PartwiseVQVAE:
    """The paper's model or, if `partwise`, the baseline beside it."""
    return PartwiseVQVAE(config) if config.partwise else MotionVQVAE(config)
