"""A tiny T5 with five words, as folders that a user might give with --text-encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import T5Config, T5EncoderModel, T5Tokenizer

WORDS = ["a", "man", "jumps", "walks", "slowly"]
WALKS, JUMPS = "a man walks slowly", "a man jumps"


def sizes(**others: Any) -> T5Config:
    """The settings of the encoder, with others for some of them."""
    usual = {"vocab_size": 20, "d_model": 10, "d_kv": 5, "d_ff": 16, "num_layers": 2, "num_heads": 2}
    return T5Config(**{**usual, **others})


def tokenizer() -> T5Tokenizer:
    """A unigram model as T5's, of whole words and single letters."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -4.0)]
    return T5Tokenizer(vocab=pieces + [(f"▁{word}", -2.0) for word in WORDS], extra_ids=0)


def save_encoder(folder: Path, config: T5Config | None = None) -> Path:
    """Writes the encoder and its tokenizer; without settings, those of `sizes`."""
    torch.manual_seed(0)
    T5EncoderModel(config or sizes()).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def noise(*shape: int) -> np.ndarray:
    """uint8 (*shape, 3)."""
    return np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8)
