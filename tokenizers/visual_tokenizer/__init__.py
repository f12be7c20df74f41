"""Discrete visual tokenizer: video in [-1, 1] <-> ids on a grid of 8 frames x 16 x 16 pixels."""

from visual_tokenizer.config import VisualTokenizerConfig
from visual_tokenizer.keys import rename_cosmos_keys
from visual_tokenizer.losses import pixel_weights, reconstruction_losses
from visual_tokenizer.model import DiscreteVisualTokenizer, initialize_for_training

__all__ = [
    "DiscreteVisualTokenizer",
    "VisualTokenizerConfig",
    "initialize_for_training",
    "pixel_weights",
    "reconstruction_losses",
    "rename_cosmos_keys",
]
