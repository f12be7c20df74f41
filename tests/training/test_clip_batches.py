from __future__ import annotations

from dataclasses import replace

import pytest

from unimo.assets import config_path
from unimo.config import load_config
from unimo.errors import ConfigError
from unimo.training.clip_batches import ClipDataConfig
from unimo.training.visual_tokenizer import VisualTokenizerTrainingConfig

LPIPS = {"lpips_weight": 0.5, "lpips_backbone": "backbone.pth", "lpips_linear": "linear.pth"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"crop": 50}, "crop must be a positive multiple of 16 pixels, got 50"),
        ({"crop": 0}, "crop must be a positive multiple of 16 pixels, got 0"),
        ({"crop": -16}, "crop must be a positive multiple of 16 pixels, got -16"),
        ({"crop": 16, **LPIPS}, "crop must be at least 32 pixels where lpips_weight is set, got 16"),
        ({"whole_share": 1.1}, "whole_share must be 0 to 1, got 1.1"),
        ({"whole_share": -0.1}, "whole_share must be 0 to 1, got -0.1"),
        ({"person_weight": -1.0}, "person_weight must not be negative, got -1.0"),
        ({"l1_weight": -1.0}, "l1_weight must not be negative"),
        ({"l2_weight": float("nan")}, "l2_weight must not be negative, got nan"),
        ({"flow_weight": -0.5}, "flow_weight must not be negative"),
        (LPIPS | {"lpips_weight": -0.5}, "lpips_weight must not be negative"),
        ({"gain": -0.1}, "gain must not be negative"),
        ({"offset": -0.1}, "offset must not be negative"),
        ({"lpips_weight": 0.5}, "lpips_weight needs lpips_backbone and lpips_linear"),
    ],
)
def test_values_out_of_range_are_refused(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClipDataConfig(**values)


def test_values_at_the_edge_are_taken() -> None:
    least = ClipDataConfig(0.0, 0.0, 0.0, 0.0, 0.0, crop=16, whole_share=0.0, gain=0.0, offset=0.0)
    assert replace(least, **LPIPS, crop=32, whole_share=1.0).crop == 32


def test_an_override_is_refused_before_the_first_step() -> None:
    with pytest.raises(ConfigError, match="crop must be a positive multiple of 16 pixels, got 50"):
        load_config(VisualTokenizerTrainingConfig, config_path("visual_tokenizer", "mini"), ["data.crop=50"])
