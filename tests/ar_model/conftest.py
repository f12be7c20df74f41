"""Small random models and clips for the tests of the autoregressive model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from ar_model import ARConfig, SequenceLayout, UniMoTransformer


@pytest.fixture
def small_model() -> Callable[..., UniMoTransformer]:
    """Makes a random model in eval mode whose norm weights are not 1, so that misplaced ones are seen."""

    def make(**changes: Any) -> UniMoTransformer:
        fields: dict[str, Any] = dict(
            dim=48, layers=2, heads=4, kv_heads=2, ffn_hidden=64, visual_ids=50, motion_ids=40, init_std=0.1
        )
        torch.manual_seed(0)
        model = UniMoTransformer(ARConfig(**{**fields, **changes})).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "norm" in name:
                    parameter.uniform_(0.5, 1.5)
        return model

    return make


@pytest.fixture
def random_tokens() -> Callable[..., torch.Tensor]:
    """Makes tokens (B, S) of random clips with ids below 40."""

    def make(layout: SequenceLayout, batch: int, seed: int = 0) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        grid = (batch, layout.latent_frames, layout.height, layout.width)
        visual = torch.randint(0, 40, grid, generator=generator)
        if layout.task == "video":
            return layout.build(visual)
        return layout.build(visual, torch.randint(0, 40, (batch, layout.frames, 36), generator=generator))

    return make
