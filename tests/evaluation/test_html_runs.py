"""Run files as the report reads them: what is refused, and what little is enough."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.evaluation.test_html_page import text_of
from unimo.errors import InputError
from unimo.evaluation.html.page import evaluation_report, write_evaluation_report
from unimo.evaluation.html.runs import load_runs


def test_a_header_with_nothing_in_it_is_enough(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"header": {"evaluation": "tokenizer"}, "mpjpe_mm": 3.5}')
    page = evaluation_report(load_runs([tmp_path / "run.json"]))
    assert "unknown bundle" in page and "<b>3.50</b>" in page
    assert "bootstrap" not in page and "seeds not said" in page and "nothing is sampled" not in page


@pytest.mark.parametrize("own", [{"mpjpe_mm": None}, {}])
def test_the_headline_is_the_models_own_number_or_nothing(own: dict[str, None], tmp_path: Path) -> None:
    numbers = {**own, "constant_pose.mpjpe_mm": 249.0, "joint_speed_m_per_s": 1.0}
    (tmp_path / "run.json").write_text(json.dumps({"header": {"evaluation": "capture"}, **numbers}))
    head = evaluation_report(load_runs([tmp_path / "run.json"])).split("<nav")[0]
    assert "249" not in text_of(head) and "joint" not in text_of(head)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no json", "not JSON"),
        ("[1, 2]", "no run of unimo evaluate"),
        ('{"header": {"evaluation": "dance"}}', "no run of unimo evaluate"),
        ('{"capture": {}, "generate": {}}', "collects several evaluations"),
        ('{"header": {"evaluation": "capture"}, "per_clip": {"clip": ["a"], "mpjpe_mm": [1, 2]}}', "2 values for 1"),
        ('{"header": {"evaluation": "capture"}, "per_clip": {"clip": ["a"], "mpjpe_mm": ["b"]}}', "mpjpe_mm is not a"),
        ('{"header": {"evaluation": "capture"}, "per_clip": {"clip": "a"}}', "per_clip.clip is not a list"),
        ('{"header": {"evaluation": "capture"}, "by_time_mm": {"a": 1}}', "by_time_mm is not a list"),
        ('{"header": {"evaluation": "capture"}, "mpjpe_mm": NaN}', "mpjpe_mm is not a finite number"),
        ('{"header": {"evaluation": "capture"}, "mpjpe_mm": 1e999}', "mpjpe_mm is not a finite number"),
        ('{"header": {"evaluation": "capture"}, "mpjpe_mm": "<script>"}', "mpjpe_mm is not a finite number"),
        ('{"header": {"evaluation": "capture"}, "clips": "x"}', "clips is not a finite number"),
        ('{"header": {"evaluation": "capture"}, "interval95.mpjpe_mm": [1]}', "interval95.mpjpe_mm is not two finite"),
        ('{"header": {"evaluation": "capture"}, "per_seed.mpjpe_mm": 3}', "per_seed.mpjpe_mm is not a list"),
        ('{"header": {"evaluation": "capture"}, "by_joint_mm": [1, 2]}', "by_joint_mm is not a dictionary"),
        ('{"header": {"evaluation": "capture"}, "per_clip": [1]}', "per_clip is not a dictionary"),
        ('{"header": {"evaluation": "capture", "seeds": "a"}}', "header.seeds is not a list of whole"),
        ('{"header": {"evaluation": "capture", "clips": [1]}}', "header.clips is not a dictionary"),
        ('{"header": {"evaluation": "capture", "clips": {"sha256": 3}}}', "header.clips.sha256 is not text"),
        ('{"header": {"evaluation": "capture", "cores": "two"}}', "header.cores is not a finite number"),
        (b"\xff\xfe\x00", "not JSON"),
        (None, "there is no such run"),
    ],
)
def test_files_that_are_no_runs_are_refused(content: str | bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError, match=message) as caught:
        write_evaluation_report([path], tmp_path / "page.html")
    assert "run.json" in str(caught.value) and not (tmp_path / "page.html").exists()
