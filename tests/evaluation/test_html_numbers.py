"""What the report works out by itself: which number stands where, differences, correlations, charts, printed rows."""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from unimo.body.names import JOINT_NAMES
from unimo.evaluation.html import charts
from unimo.evaluation.html.measures import digits, measure, result_rows, setting_rows
from unimo.evaluation.html.paper_tables import TABLES, paper_tables
from unimo.evaluation.html.runs import Run
from unimo.evaluation.html.statistics import Estimate, mean_of, paired_difference, rank_correlation
from unimo.evaluation.html.svg import Scale, number, scale_for

SHARED = Path(os.environ.get("UNIMO_SHARED", Path(__file__).resolve().parents[2].parent / "shared"))
PAPER = next(iter((SHARED / "papers").glob("002_*.txt")), None)
SVG = "{http://www.w3.org/2000/svg}"


def run_of(values: dict[str, list[float]], names: list[str], clips: str = "c", label: str = "run") -> Run:
    header = {"evaluation": "capture", "clips": {"sha256": clips}}
    arrays = {key: np.array(numbers, float) for key, numbers in values.items()}
    classes = ["standing" if index % 2 else "fast" for index in range(len(names))]
    joints = {joint: 10.0 * index for index, joint in enumerate(JOINT_NAMES)}
    return Run(Path("run.json"), label, {"header": header}, names, classes, arrays, joints, np.arange(5.0))


def test_every_number_stands_in_its_row_and_column() -> None:
    report = {
        "header": {}, "clips": 64, "fps": 15.0, "mpjpe_mm": 189.0, "interval95.mpjpe_mm": [176.0, 202.0],
        "per_seed.mpjpe_mm": [189.1, 189.5, 188.4], "constant_pose.mpjpe_mm": 249.0, "one_sample.mpjpe_mm": 200.0,
        "ratio_to_constant_pose.mpjpe": 0.76, "interval95.ratio_to_constant_pose.mpjpe": [0.7, 0.82],
        "pa_mpjpe_mm": None, "interval95.pa_mpjpe_mm": None, "data.strict.diversity_k": 9.0, "strict.diversity_k": 7.0,
        "consistency.mpjpe_deg": 4.0, "consistency.other_clip.mpjpe_deg": 6.0, "decode_seconds": 79.0,
        "constant_pose.fitted_to": "training clips", "by_time_mm": [1.0],
    }  # fmt: skip
    rows = {row.key: row for row in result_rows(report)}
    assert set(rows) == {"mpjpe_mm", "pa_mpjpe_mm", "strict.diversity_k", "consistency.mpjpe_deg"}
    first = rows["mpjpe_mm"]
    assert (first.value, first.interval, first.per_seed) == (189.0, (176.0, 202.0), [189.1, 189.5, 188.4])
    assert first.beside == {
        "constant pose": (249.0, None), "one sample": (200.0, None), "÷ constant pose": (0.76, (0.7, 0.82)),
    }  # fmt: skip
    assert rows["pa_mpjpe_mm"].value is None and rows["pa_mpjpe_mm"].interval is None
    assert rows["strict.diversity_k"].beside == {"data": (9.0, None)}
    assert rows["consistency.mpjpe_deg"].beside == {"other clip": (6.0, None)}
    assert [row.key for row in setting_rows(report)] == ["clips", "fps", "decode_seconds"]


def test_errors_on_real_data_keep_their_own_names() -> None:
    report = {
        "open22.mpjpe_mm": 90.0,
        "interval95.open22.mpjpe_mm": [80.0, 99.0],
        "ratio_to_constant_pose.open22.mpjpe": 2,
        "constant_pose.open22.mpjpe_mm": 45.0,
    }
    (row,) = result_rows(report)
    assert row.interval == (80.0, 99.0)
    assert row.beside == {"constant pose": (45.0, None), "÷ constant pose": (2.0, None)}
    assert measure(row.key).text == "open22: MPJPE, mm\u00a0↓"


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("accel_mm_per_frame2", "Accel, mm/frame²\u00a0↓"),
        ("accel_m_per_s2", "Accel, m/s²\u00a0↓"),
        ("jitter_10_m_per_s3", "jitter, 10 m/s³"),
        ("rte_percent", "RTE, %\u00a0↓"),
        ("diffusion.psnr_db", "diffusion: PSNR, dB\u00a0↑"),
        ("consistency.other_clip.mpjpe_mm", "consistency: other clip: MPJPE, mm\u00a0↓"),
        ("motion_tokens_per_second", "motion tokens per second"),
    ],
)
def test_keys_in_words(key: str, text: str) -> None:
    assert measure(key).text == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (float("nan"), "–"), (0.0, "0"), (3, "3"), (1234.5, "1,234"), (189.4, "189"), (99.97, "100"),
     (25.26, "25.3"), (0.76123, "0.761"), (0.00012345, "0.00012"), (-4.5, "−4.50"),
     (3.2e-5, "≈ 0"), (64000, "64,000")],
)  # fmt: skip
def test_digits(value: float | None, text: str) -> None:
    assert digits(value) == text


def test_differences_are_paired_by_clip_and_only_of_the_same_clips() -> None:
    rng = np.random.default_rng(0)
    names = [f"{index:06d}" for index in range(40)]
    base = rng.uniform(50, 500, 40)
    first = run_of({"mpjpe_mm": base.tolist()}, names)
    second = run_of({"mpjpe_mm": (base - 5 + rng.normal(0, 1, 40))[::-1].tolist()}, names[::-1])
    found = paired_difference(first, second, "mpjpe_mm")
    assert found is not None and found.count == 40
    # unpaired, the spread of the clips (130 mm) would hide a difference of 5
    assert -6 < found.low < found.value < found.high < -4
    assert paired_difference(first, run_of({"mpjpe_mm": [1.0]}, names[:1], clips="other"), "mpjpe_mm") is None
    assert paired_difference(first, second, "pve_mm") is None
    some = paired_difference(first, run_of({"mpjpe_mm": [base[3] + 2]}, names[3:4]), "mpjpe_mm")
    assert some == Estimate(pytest.approx(2.0), pytest.approx(2.0), pytest.approx(2.0), 1)


def test_clips_without_a_value_are_left_out_of_a_mean() -> None:
    found = mean_of(np.array([1.0, np.nan, 3.0]))
    assert found is not None and (found.value, found.count) == (2.0, 2)
    assert mean_of(np.array([np.nan])) is None


def test_rank_correlation() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=60)
    rising = rank_correlation(x, np.exp(x))
    assert rising is not None and (rising.value, rising.low, rising.high) == pytest.approx((1, 1, 1))
    y = np.round(x + rng.normal(size=60))  # with ties
    found = rank_correlation(x, y)
    assert found is not None and found.value == pytest.approx(spearmanr(x, y).statistic)
    assert 0.3 < found.low < found.value < found.high < 0.9
    nothing = rank_correlation(x, rng.normal(size=60))
    assert nothing is not None and nothing.low < 0 < nothing.high
    holes = rank_correlation(np.append(x, [np.nan, 1]), np.append(y, [1, np.nan]))
    assert holes is not None and holes.value == found.value and holes.count == 60
    assert rank_correlation(x, np.ones(60)) is None and rank_correlation(x[:7], y[:7]) is None
    assert rank_correlation(x[:8], y[:8]) is not None


def test_axes() -> None:
    assert Scale(0, 1.05, 0, 100).ticks() == pytest.approx([0, 0.5, 1.0])
    assert Scale(-31, 12, 0, 1).ticks() == [-30, -20, -10, 0, 10]
    scale = scale_for([20.0, 120.0, float("nan")], 200, 0, zero=True)
    assert scale(0) == 200 and 0 < scale(120) < 20
    alone = scale_for([5.0], 0, 100)
    assert alone.low < 5 < alone.high and len(alone.ticks()) >= 2
    assert number(-0.5) == "−0.5" and number(0.1 + 0.2) == "0.3"


def test_charts_show_what_the_runs_say() -> None:
    names = [f"{index:06d}" for index in range(10)]
    errors = [*(10.0 * step for step in range(1, 10)), float("nan")]
    run = run_of({"mpjpe_mm": errors, "entropy_nats": [*range(1, 11)]}, names, label='a <b> & "c"')
    other = run_of({"mpjpe_mm": errors, "entropy_nats": [1.0] * 10}, names, label="other")
    points, found = charts.calibration(run, 0, "mpjpe_mm")
    assert found is not None and found.value == pytest.approx(1) and found.count == 9
    drawn = ElementTree.fromstring(points.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"'))
    heights = [float(circle.attrib["cy"]) for circle in drawn.iter(f"{SVG}circle")]
    assert len(heights) == 9 and heights == sorted(heights, reverse=True)
    assert "rank correlation 1.00" in drawn.attrib["aria-label"]
    pictures = {
        "joint": charts.by_joint_figure(run), "joints": charts.by_joint_bars([run, other]),
        "class": charts.by_class([run, other], "mpjpe_mm").split("<figcaption")[0],
        "time": charts.by_time([run, other], 15.0),
        "differences": charts.differences({"MPJPE": (Estimate(-5.0, -9.0, -1.0, 6), 50.0)}),
        "legend": charts.legend([run, other]),
    }  # fmt: skip
    for name, picture in pictures.items():
        tree = ElementTree.fromstring(picture)
        assert tree.attrib["role"] == "img" and tree.attrib["aria-label"], name
        assert "nan" not in picture, name
    figure = ElementTree.fromstring(pictures["joint"])
    radii = [float(circle.attrib["r"]) for circle in figure.iter("circle")]
    assert len(radii) == 22 and max(radii) == 16.0 and min(radii) == 3.0
    assert {text.text for text in figure.iter("text")} >= {"0", "100", "210"}
    labels = [text.text for text in ElementTree.fromstring(pictures["class"]).iter("text")]
    assert "fast (5)" in labels and "standing (4)" in labels  # one standing clip has no value
    # five fast clips have an interval, four standing ones have not; each run draws its own
    assert pictures["class"].count('class="span') == 2
    assert "−10" in pictures["differences"] and "MPJPE −10 %" in pictures["differences"]


def test_the_papers_tables_are_whole() -> None:
    assert [table.number for table in TABLES] == [1, 2, 3, 5, 6, 7, 8, 9, 10, 11]
    for table in TABLES:
        for name, numbers in table.rows:
            assert len(numbers) == len(table.columns), (table.number, name)
            assert all(re.fullmatch(r"–|\d+(\.\d+)?[%M]?", entry) for entry in numbers), (table.number, name)
    kinds = [table.number for kind in ("tokenizer", "capture", "generate") for table in paper_tables(kind)]
    assert sorted(kinds) == [table.number for table in TABLES]
    ours = dict(paper_tables("capture")[0].rows)["UniMo"]
    assert ours == ("43.2689", "28.1528", "52.0143", "4.5647")


@pytest.mark.skipif(PAPER is None, reason="the paper's text is not on this machine")
def test_the_papers_numbers_are_those_it_prints() -> None:
    assert PAPER is not None
    text = PAPER.read_text(encoding="utf-8").replace(" M\t", "M\t")
    printed = [re.findall(r"\d+(?:\.\d+)?[%M]?", line) for line in text.splitlines() if "\t" in line]
    for table in TABLES:
        for name, numbers in table.rows:
            wanted = [entry for entry in numbers if entry != "–"]
            assert any(line[-len(wanted) :] == wanted for line in printed), (table.number, name)
