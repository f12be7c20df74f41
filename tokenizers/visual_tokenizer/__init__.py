"""Discrete visual tokenizer: video in [-1, 1] <-> ids on a grid of 8 frames x 16 x 16 pixels."""

from visual_tokenizer.config import VisualTokenizerConfig
from visual_tokenizer.haar import haar_patch, haar_unpatch
from visual_tokenizer.initialization import initialize_for_training
from visual_tokenizer.keys import rename_cosmos_keys
from visual_tokenizer.losses import block_weights, code_spread, wavelet_losses
from visual_tokenizer.model import DiscreteVisualTokenizer

__all__ = [
    "DiscreteVisualTokenizer",
    "VisualTokenizerConfig",
    "initialize_for_training",
    "block_weights",
    "code_spread",
    "haar_patch",
    "haar_unpatch",
    "wavelet_losses",
    "rename_cosmos_keys",
]
