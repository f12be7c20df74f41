from __future__ import annotations

import numpy as np
import pytest

from unimo.metrics.flicker import flicker_error
from unimo.metrics.pictures import PictureScores
from unimo.metrics.structure import gmsd, sharpness_ratio, ssim
from unimo.metrics.video import psnr_db


def test_each_measure_of_each_clip_with_its_unit() -> None:
    rng = np.random.default_rng(0)
    real = rng.integers(60, 200, (2, 3, 24, 24, 3), dtype=np.uint8)
    masks = np.zeros((2, 3, 24, 24), bool)
    masks[:, :, 4:20, 8:16] = True
    drawn = real.copy()
    drawn[:, 1] += 12  # one frame of three is brighter: a step of 12 there, and one back
    drawn[1][masks[1]] = 90
    scores = PictureScores()
    for clip in zip(drawn, real, masks, strict=True):
        scores.add(*clip)
    values = scores.values
    assert len(scores) == 2 and all(each.shape == (2,) for each in values.values())
    assert values["flicker_error"][0] == pytest.approx(12) and values["flicker_error_in_mask"][0] == pytest.approx(12)
    assert values["psnr_in_mask_db"][1] == psnr_db(drawn[1], real[1], masks[1]) < values["psnr_db"][1]
    for clip in range(2):
        pair = drawn[clip], real[clip]
        expected = {
            "psnr_db": psnr_db(*pair),
            "psnr_in_mask_db": psnr_db(*pair, masks[clip]),
            "ssim": ssim(*pair),
            "gmsd": gmsd(*pair),
            "sharpness_ratio": sharpness_ratio(*pair),
            "flicker_error": 255 * flicker_error(*pair),
            "flicker_error_in_mask": 255 * flicker_error(*pair, masks[clip]),
        }
        assert {key: each[clip] for key, each in values.items()} == expected
