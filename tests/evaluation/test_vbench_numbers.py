"""VBench's scores in a report: videos reach it in order, its own mean is printed, and it is missed early."""

from __future__ import annotations

import numpy as np
import pytest

from unimo.errors import InputError, MissingAssetError
from unimo.evaluation import vbench_numbers as module
from unimo.evaluation.outcome import Evaluation
from unimo.evaluation.vbench_adapter import PYTHON_VARIABLE, Scores
from unimo.media.video import read_video


def test_means_are_vbenchs_and_intervals_are_over_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def fake(paths, dimensions):
        seen.extend(float(read_video(path).mean()) for path in paths)
        return {name: Scores(0.77, (0.1, 0.3, 0.5, 0.7)) for name in dimensions}

    monkeypatch.setattr(module, "run_vbench", fake)
    greys = (10, 60, 120, 200)
    videos = {f"{i}.mp4": np.full((5, 32, 32, 3), grey, np.uint8) for i, grey in enumerate(greys)}
    numbers = module.vbench_numbers(
        Evaluation({}, {"transl": np.zeros((2, 2, 5, 3))}, videos, 15.0), ["motion_smoothness"]
    )
    assert seen == pytest.approx(greys, abs=3)
    low, high = numbers["interval95.vbench.motion_smoothness"]
    assert numbers["vbench.motion_smoothness"] == 0.77 and (low, high) == pytest.approx((0.2, 0.6))


def test_wishes_are_checked_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PYTHON_VARIABLE, raising=False)
    assert module.check_vbench_dimensions(()) == ()
    with pytest.raises(InputError, match="unknown dimension of VBench 'beauty'"):
        module.check_vbench_dimensions(["beauty"])
    with pytest.raises(MissingAssetError, match="VBench is not configured"):
        module.check_vbench_dimensions(["all"])
