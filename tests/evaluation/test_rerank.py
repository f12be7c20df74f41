"""The measure of reranking: who chooses is not who judges, gains of known numbers, a run of the debug bundle."""

from __future__ import annotations

import numpy as np
import pytest

from unimo.bundle import load_bundle
from unimo.consistency import disagreements
from unimo.data.clips import ClipSet
from unimo.errors import InputError
from unimo.evaluation.rerank import chosen_numbers, evaluate_rerank
from unimo.pipeline import UniMoPipeline


def test_the_chooser_chooses_and_the_judge_is_read() -> None:
    measures = {
        "a": np.array([[3.0, 1.0, 2.0], [5.0, 6.0, 4.0]]),  # chooses samples 1 and 2
        "b": np.array([[10.0, 20.0, 30.0], [40.0, 50.0, 60.0]]),  # would choose 0 and 0
        "c": np.array([[9.0, 2.0, 1.0], [8.0, 7.0, 3.0]]),  # would choose 2 and 2
    }
    numbers = chosen_numbers(measures, "a", "b")
    assert (numbers["first.b"], numbers["mean.b"], numbers["best.b"]) == (25, 35, 40)
    assert numbers["gain.b"] == -5 and numbers["best.a"] == 2.5 and numbers["gain.a"] == 1
    assert numbers["interval95.gain.b"] == [-10, 0]
    assert numbers["limit.b"] == 25 and numbers["agreement"] == 0
    assert chosen_numbers(measures, "a", "c")["agreement"] == 0.5


def test_scores_that_are_chance_alone_gain_nothing_by_the_judge() -> None:
    rng = np.random.default_rng(0)
    noise = {"a": rng.normal(size=(4000, 4)), "b": rng.normal(size=(4000, 4))}
    numbers = chosen_numbers(noise, "a", "b")
    assert numbers["gain.a"] == pytest.approx(1.03, abs=0.05)  # the expected smallest of four normal draws
    assert abs(numbers["gain.b"]) < 0.05 and numbers["agreement"] == pytest.approx(0.25, abs=0.03)


def test_the_debug_bundle_is_measured_and_repeats(clips: ClipSet) -> None:
    bundle = load_bundle("debug")
    first, again = (evaluate_rerank(clips, bundle, num_samples=2) for _ in range(2))
    assert {k: v for k, v in first.items() if "seconds" not in k} == {
        k: v for k, v in again.items() if "seconds" not in k
    }
    assert first["best.chooser.mpjpe_mm"] <= first["mean.chooser.mpjpe_mm"] and first["gain.chooser.mpjpe_mm"] >= 0
    assert first["first.chooser.mpjpe_mm"] != first["first.judge.mpjpe_mm"]
    assert first["calmest.joint_speed_m_per_s"] <= first["best.joint_speed_m_per_s"]
    assert 0 < first["best.joint_color_difference_8bit"] < 255
    assert first["limit.judge.mpjpe_mm"] <= first["best.judge.mpjpe_mm"]


def test_the_scores_are_those_of_the_command(make_clips) -> None:
    clips, bundle = make_clips(count=1), load_bundle("debug")
    numbers = evaluate_rerank(clips, bundle, num_samples=3)
    pipeline = UniMoPipeline(bundle)
    made = pipeline.generate(clips.frames[0, 0], num_samples=3, focal=float(clips.intrinsics[0, 0, 0]))
    scores = [one.mpjpe_mm for one in disagreements(pipeline, made, seed=0)]
    found = (numbers["first.chooser.mpjpe_mm"], numbers["mean.chooser.mpjpe_mm"], numbers["best.chooser.mpjpe_mm"])
    assert found == pytest.approx((scores[0], np.mean(scores), min(scores)), rel=1e-3)


def test_one_sample_or_one_seed_is_refused(clips: ClipSet) -> None:
    for arguments in ({"num_samples": 1}, {"capture_seeds": (3, 3)}):
        with pytest.raises(InputError, match="at least two samples and two different capture seeds"):
            evaluate_rerank(clips, load_bundle("debug"), **arguments)
