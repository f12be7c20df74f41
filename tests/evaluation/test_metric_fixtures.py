"""The runner behind tools/check_metrics.py: every reference case passes, and whatever is wrong in a directory is said.

The committed cases are the whole ones, but for `duolando_features`, which is cut to two sequences of each set.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unimo.errors import InputError
from unimo.evaluation.metric_fixtures import (
    CASES,
    FAIL,
    MUST_DIFFER,
    PASS,
    UNSPECIFIED,
    Row,
    passed,
    run_directory,
    table,
)

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = ROOT / "tests" / "fixtures" / "metrics"
WHOLE = Path(os.environ.get("UNIMO_SHARED", ROOT.parent / "shared")) / "metrics"
INDEX = json.loads((COMMITTED / "index.json").read_text(encoding="utf-8"))
PLAIN = "plain masked depth metrics"

TWO = np.float64(2).tobytes()

Arrays = dict[str, np.ndarray]


def arrays_of(entry: dict[str, Any]) -> Arrays:
    with np.load(COMMITTED / entry["file"], allow_pickle=False) as stored:
        return {key: stored[key] for key in stored.files}


def write(folder: Path, *cases: tuple[dict[str, Any], Arrays]) -> Path:
    folder.mkdir(exist_ok=True)
    for entry, arrays in cases:
        np.savez(folder / entry["file"], **arrays)  # type: ignore[arg-type]
    (folder / "index.json").write_text(json.dumps({"fixtures": [entry for entry, _ in cases]}))
    return folder


def described(name: str, metric: str, arrays: Arrays, **more: Any) -> dict[str, Any]:
    """An entry of an index, as the committed ones."""
    groups: dict[str, Any] = {"inputs": {}, "outputs": {}}
    for key, value in arrays.items():
        group = "inputs" if key.startswith("in_") else "outputs"
        groups[group][key.split("_", 1)[1]] = {"key": key, "shape": list(value.shape), "dtype": str(value.dtype)}
    return {"name": name, "file": f"{name}.npz", "metric": metric, "tolerance": {"atol": 1e-6}, **groups, **more}


@pytest.fixture
def depths(tmp_path: Path) -> Callable[..., list[Row]]:
    """Runs one small case of depth whose true outputs are abs_rel 0.125 and delta1 0.75, with changes."""

    def run(entry: dict[str, Any] | None = None, **changes: np.ndarray | None) -> list[Row]:
        target = np.full((1, 2, 2), 2.0)
        arrays: dict[str, Any] = {
            "in_pred": target + [[[1, 0], [0, 0]]],
            "in_gt": target,
            "in_mask": target > 0,
            "out_abs_rel": np.array(0.125),
            "out_delta1": np.array(0.75),
        } | changes
        kept = {key: value for key, value in arrays.items() if value is not None}
        return run_directory(write(tmp_path / "case", ({**described("mine", PLAIN, kept), **(entry or {})}, kept)))

    return run


def command(monkeypatch: pytest.MonkeyPatch, *words: str) -> int | str | None:
    """The exit status of `tools/check_metrics.py`: a number, or a text, which Python turns into 1."""
    spec = importlib.util.spec_from_file_location("check_metrics", ROOT / "tools" / "check_metrics.py")
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.setattr(sys, "argv", ["check_metrics.py", *words])
    with pytest.raises(SystemExit) as stop:
        tool.main()
    return stop.value.code


# ---------------------------------------------------------------------- what is right passes


def test_every_committed_output_is_that_of_the_reference() -> None:
    rows = run_directory(COMMITTED)
    assert passed(rows), table(rows)
    keys = [(entry["name"], key) for entry in INDEX["fixtures"] for key in entry["outputs"]]
    assert sorted((row.case, row.key) for row in rows) == sorted(keys)
    differ = {(row.case, row.key) for row in rows if row.verdict == MUST_DIFFER}
    assert differ == {("procrustes_trap_batch3", "pa_err_reference_bug"),
                      ("smplx_world_to_camera", "transl_c_naive_WRONG")}  # fmt: skip
    assert {row.verdict for row in rows} == {PASS, MUST_DIFFER}


@pytest.mark.skipif(not WHOLE.is_dir(), reason="the shared folder with the whole fixtures is absent")
def test_the_whole_fixtures_pass() -> None:
    rows = run_directory(WHOLE)
    assert passed(rows), table(rows)


def test_every_metric_of_the_index_has_one_case() -> None:
    assert set(CASES) == {entry["metric"] for entry in INDEX["fixtures"]}


def test_committed_fixtures_are_small_and_hold_numbers_only() -> None:
    assert sum(path.stat().st_size for path in COMMITTED.iterdir()) < 3e6
    for entry in INDEX["fixtures"]:
        assert {value.dtype.kind for value in arrays_of(entry).values()} <= set("biuf")


def test_another_directory_with_other_numbers_and_names(depths) -> None:
    rows = depths()
    assert [(row.case, row.key, row.verdict, row.ours) for row in rows] == [
        ("mine", "abs_rel", PASS, "0.125"),
        ("mine", "delta1", PASS, "0.75"),
    ]


def test_inputs_and_outputs_go_by_their_names_in_the_index(tmp_path: Path) -> None:
    arrays = {"in_a": np.ones((1, 2, 2)), "in_b": np.ones((1, 2, 2)), "in_c": np.ones((1, 2, 2), bool)}
    arrays["out_x"] = np.array(1.0)
    inputs = {"pred": {"key": "in_a"}, "gt": {"key": "in_b"}, "mask": {"key": "in_c"}}
    entry = {"name": "n", "file": "n.npz", "metric": PLAIN, "inputs": inputs, "outputs": {"delta1": {"key": "out_x"}}}
    (row,) = run_directory(write(tmp_path / "case", (entry, arrays)))
    assert (row.key, row.verdict) == ("delta1", PASS)


def test_without_a_description_of_the_arrays_their_keys_say_it_all(depths) -> None:
    assert passed(depths({"inputs": {}, "outputs": None, "params": None}))


# ---------------------------------------------------------------------- what is wrong fails


def test_every_output_that_is_changed_fails(tmp_path: Path) -> None:
    """Each number of each output twice as far off as allowed, in turn the first and the last."""
    cases = []
    for entry in INDEX["fixtures"]:
        arrays, allowed = arrays_of(entry), entry["tolerance"]
        for name, output in entry["outputs"].items():
            value = arrays[output["key"]].copy()
            place = -1 if len(cases) % 2 else 0
            flat = value.reshape(-1)
            specified = np.flatnonzero(flat == flat)[place]
            own = allowed.get(f"{name.split('_')[-1]}_atol", allowed.get(f"{name}_atol", allowed["atol"]))
            if value.dtype.kind == "b":
                flat[specified] = ~flat[specified]
            elif value.dtype.kind in "iu":
                flat[specified] += 1
            else:
                flat[specified] += 2 * (own + allowed["rtol"] * abs(flat[specified])) + 1e-5 * abs(flat[specified])
            arrays[output["key"]] = value
        cases.append((entry, arrays))
    rows = run_directory(write(tmp_path / "changed", *cases))
    good = {(row.case, row.key) for row in rows if row.verdict != FAIL}
    assert good == {("procrustes_trap_batch3", "pa_err_reference_bug"),
                    ("smplx_world_to_camera", "transl_c_naive_WRONG")}  # fmt: skip


def test_who_matches_a_documented_mistake_fails(tmp_path: Path) -> None:
    cases = []
    for name, right, wrong in (
        ("smplx_world_to_camera", "out_transl_c", "out_transl_c_naive_WRONG"),
        ("procrustes_trap_batch3", "out_pa_err_correct", "out_pa_err_reference_bug"),
    ):
        entry = next(entry for entry in INDEX["fixtures"] if entry["name"] == name)
        arrays = arrays_of(entry)
        cases.append((entry, arrays | {wrong: arrays[right]}))
    rows = [row for row in run_directory(write(tmp_path / "bug", *cases)) if row.verdict == FAIL]
    assert [row.key for row in rows] == ["transl_c_naive_WRONG", "pa_err_reference_bug"]
    assert all("documents a mistake" in row.note for row in rows)


def test_a_mistake_without_a_value_of_its_own_is_held_against_the_right_one(depths) -> None:
    rows = depths(out_abs_rel_of_all_pixels_WRONG=np.array(0.125), out_delta1_reference_bug=np.array(0.5))
    assert [(row.key, row.verdict) for row in rows[2:]] == [
        ("abs_rel_of_all_pixels_WRONG", FAIL),
        ("delta1_reference_bug", MUST_DIFFER),
    ]
    assert depths(out_nothing_WRONG=np.array(1.0))[-1].verdict == FAIL


def test_nan_is_unspecified_only_where_it_is_expected(depths) -> None:
    rows = depths(out_abs_rel=np.array(np.nan), out_delta1=None)
    assert [row.verdict for row in rows] == [UNSPECIFIED] and passed(rows)
    # without a valid pixel ours is NaN
    row = depths(in_mask=np.zeros((1, 2, 2), bool), out_delta1=None)[0]
    assert row.verdict == FAIL and row.ours == "nan"


def test_infinity_is_met_by_infinity_only(depths) -> None:
    assert depths({"tolerance": {"rtol": 1}}, out_abs_rel=np.array(np.inf))[0].verdict == FAIL
    target = np.array([[[0.0, 1], [1, 1]]])
    found = depths(in_gt=target, out_abs_rel=np.array(np.inf), out_delta1=None)
    assert found[0].verdict == PASS and found[0].difference == 0


def test_tolerances(depths) -> None:
    near = {"out_abs_rel": np.array(0.126), "out_delta1": np.array(0.751)}

    def verdicts(**tolerance: float) -> list[str]:
        return [row.verdict for row in depths({"tolerance": tolerance}, **near)]

    assert verdicts() == [FAIL, FAIL]
    assert verdicts(atol=0.0011) == [PASS, PASS]
    assert verdicts(rtol=0.002) == [FAIL, PASS]
    assert verdicts(rtol=0.0081) == [PASS, PASS]
    # of one output: by its name, or its last words
    assert verdicts(abs_rel_atol=0.0011) == [PASS, FAIL]
    assert verdicts(rel_atol=0.0011) == [PASS, FAIL]
    assert verdicts(atol=0.0011, delta1_atol=0.0009) == [PASS, FAIL]
    assert verdicts(s_rel_atol=0.0011, elta1_atol=1) == [FAIL, FAIL]


def test_integers_and_truth_values_are_exact(tmp_path: Path) -> None:
    entry = next(entry for entry in INDEX["fixtures"] if entry["name"] == "vbench_no_model_parts")
    arrays = arrays_of(entry)
    arrays["out_dynamic_count_needed"] = arrays["out_dynamic_count_needed"] + 1
    arrays["out_dynamic_is_moving"] = ~arrays["out_dynamic_is_moving"]
    rows = run_directory(write(tmp_path / "exact", ({**entry, "tolerance": {"atol": 5, "rtol": 5}}, arrays)))
    assert {row.key for row in rows if row.verdict == FAIL} == {"dynamic_count_needed", "dynamic_is_moving"}


def test_what_nobody_computes_fails(depths) -> None:
    rows = depths(out_new=np.array(1.0))
    assert [row.verdict for row in rows] == [PASS, PASS, FAIL]
    assert rows[-1].key == "new" and "does not compute this output" in rows[-1].note
    (row,) = depths({"metric": "beauty"})
    assert (row.key, row.verdict) == ("(run)", FAIL) and "no metric of this project is called 'beauty'" in row.note


@pytest.mark.parametrize(
    ("changes", "entry", "words"),
    [
        ({"out_abs_rel": np.zeros(3)}, {}, "float64 (), expected float64 (3,)"),
        ({"out_abs_rel": np.zeros(0)}, {}, "expected float64 (0,)"),
        ({"in_gt": np.zeros((1, 2, 3))}, {}, "cannot be run (ValueError: need two depths"),
        ({"in_gt": None}, {}, "cannot be run (KeyError: 'gt')"),
        ({"in_gt": None}, {"inputs": {"gt": {"key": "in_gt"}}}, "in_gt is missing"),
        ({}, {"outputs": {"rmse": {"key": "out_rmse"}}}, "out_rmse is missing"),
        ({}, {"inputs": {"gt": {"key": "in_gt", "shape": [2, 2]}}}, "in_gt has shape [1, 2, 2], the index says [2, 2]"),
        ({"in_gt": np.array(["a"])}, {}, "in_gt holds <U1, not numbers"),
        ({"in_gt": np.array([{}, None], dtype=object)}, {}, "cannot be read as arrays of numbers (Object arrays"),
        ({"out_abs_rel": None, "out_delta1": None}, {}, "no expected output"),
        ({}, {"outputs": {"delta1": {"key": "out_abs_rel"}}}, "have one name or one key: delta1"),
        ({}, {"outputs": {"a": {"key": "out_abs_rel"}, "abs_rel": {"key": "out_abs_rel"}}}, "one key: out_abs_rel"),
    ],
)
def test_cases_that_do_not_fit_say_so(depths, changes: Arrays, entry: dict[str, Any], words: str) -> None:
    failed = [row for row in depths(entry, **changes) if row.verdict == FAIL]
    assert failed and words in failed[0].note


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(b"no archive"), "cannot be read as arrays of numbers"),
        (lambda path: path.write_bytes(b""), "cannot be read as arrays of numbers"),
        (lambda path: path.write_bytes(path.read_bytes()[:-200]), "cannot be read as arrays of numbers"),
        (lambda path: path.write_bytes(path.read_bytes().replace(TWO, b"unimo!!!", 1)), "Bad CRC-32"),
        (lambda path: np.save(path.open("wb"), np.zeros(3)), "is no npz archive"),
    ],
)
def test_a_damaged_file_fails_alone(tmp_path: Path, damage: Callable[[Path], None], words: str) -> None:
    arrays = {"in_pred": np.ones((1, 2, 2)) * 2, "in_gt": np.ones((1, 2, 2)) * 2, "in_mask": np.ones((1, 2, 2), bool)}
    arrays["out_delta1"] = np.array(1.0)
    folder = write(tmp_path / "x", *((described(name, PLAIN, arrays), arrays) for name in ("good", "bad")))
    damage(folder / "bad.npz")
    good, bad = run_directory(folder)
    assert good.verdict == PASS and (bad.case, bad.key, bad.verdict) == ("bad", "(run)", FAIL) and words in bad.note


def test_a_file_that_the_index_does_not_describe_fails(depths, tmp_path: Path) -> None:
    (tmp_path / "case").mkdir()
    np.savez(tmp_path / "case" / "stray.npz", out_x=np.zeros(1))
    assert [row.case for row in depths() if row.verdict == FAIL] == ["stray.npz"]


GOOD = {"name": "a", "file": "a.npz", "metric": PLAIN}


@pytest.mark.parametrize(
    ("index", "words"),
    [
        (None, "cannot be read"),
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ([], 'no list "fixtures"'),
        ({"set": "a"}, 'no list "fixtures"'),
        ({"fixtures": []}, 'no list "fixtures", or an empty one'),
        ({"fixtures": [3]}, "is no mapping"),
        ({"fixtures": [{"name": "a", "metric": "m"}]}, "has no 'file'"),
        ({"fixtures": [{**GOOD, "metric": 5}]}, "has no 'metric'"),
        ({"fixtures": [{**GOOD, "file": "../a.npz"}]}, "lies outside the directory"),
        ({"fixtures": [GOOD, GOOD]}, "names cases twice: a"),
        ({"fixtures": [{**GOOD, "params": [3]}]}, "'params' of a is no mapping"),
        ({"fixtures": [{**GOOD, "tolerance": {"atol": "1"}}]}, "the tolerance 'atol' of a is '1'"),
        ({"fixtures": [{**GOOD, "tolerance": {"rtol": float("nan")}}]}, "the tolerance 'rtol' of a is nan"),
    ],
)
def test_a_bad_index_is_refused(tmp_path: Path, index: Any, words: str) -> None:
    if index is not None:
        (tmp_path / "index.json").write_text(index if isinstance(index, str) else json.dumps(index))
    with pytest.raises(InputError) as error:
        run_directory(tmp_path)
    assert words in str(error.value) and "index.json" in str(error.value)


# ---------------------------------------------------------------------- the tool


def test_the_tool_prints_and_writes_all_and_exits_with_0(depths, tmp_path: Path, monkeypatch, capsys) -> None:
    depths()
    report = tmp_path / "new" / "report.json"
    assert command(monkeypatch, str(tmp_path / "case"), "--json", str(report)) == 0
    printed = capsys.readouterr().out
    assert "case" in printed.splitlines()[0] and "1 case: 1 passed, 0 failed; 2 outputs: 2 within tolerance" in printed
    written = json.loads(report.read_text())
    assert written["passed"] is True and [row["key"] for row in written["outputs"]] == ["abs_rel", "delta1"]


def test_the_tool_exits_with_1_on_any_failure(depths, tmp_path: Path, monkeypatch, capsys) -> None:
    depths(out_abs_rel=np.array(0.2), in_mask=np.zeros((1, 2, 2), bool))
    report = tmp_path / "report.json"
    assert command(monkeypatch, str(tmp_path / "case"), "--json", str(report)) == 1
    assert "1 case: 0 passed, 1 failed" in capsys.readouterr().out
    assert [row["difference"] for row in json.loads(report.read_text())["outputs"]] == [None, None]
    assert "does not exist" in str(command(monkeypatch, str(tmp_path / "nowhere")))
    assert "no directory of fixtures" in str(command(monkeypatch, str(tmp_path / "case" / "index.json")))
    depths()
    assert "cannot be written" in str(command(monkeypatch, str(tmp_path / "case"), "--json", str(tmp_path)))
