"""The report of runs as text: what stands on it, what is said when something is missing, what is refused."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import zipfile
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.evaluation.html_files import COUNT, FRAMES, MPJPE, WORST_FIRST, write_clips, write_run
from unimo.body.names import JOINT_NAMES
from unimo.cli import main
from unimo.data.clips import load_clips
from unimo.errors import InputError
from unimo.evaluation.html.page import evaluation_report, write_evaluation_report
from unimo.evaluation.html.pictures import (
    MOST_FRAMES,
    PANEL,
    SMALL_PANEL,
    motion_strip,
    panel_side,
    predicted_motion,
    side_view,
)
from unimo.evaluation.html.runs import load_runs
from unimo.evaluation.html.strips import ranked, ranking_key
from unimo.evaluation.html.tables import provenance
from unimo.motion.frames import joint_positions
from unimo.motion.npz import load_motion


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips") / "out")


@pytest.fixture(scope="module")
def folder(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`old.json` and `new.json` of capture on the same clips, the second 10 mm better; `made.json` of generate."""
    place = tmp_path_factory.mktemp("runs")
    write_run(place / "old.json", clips)
    write_run(place / "new.json", clips, shift=-10)
    write_run(place / "made.json", clips, "generate")
    return place


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return evaluation_report(load_runs([folder / "old.json"]), worst=2)


@pytest.fixture
def changed(folder: Path, tmp_path: Path) -> Callable[[Callable[[dict[str, Any]], object]], Path]:
    """Returns change(edit): a copy of `old.json` with its predictions, its report edited in place."""

    def change(edit: Callable[[dict[str, Any]], object]) -> Path:
        shutil.copytree(folder / "old", tmp_path / "run")
        report = json.loads((folder / "old.json").read_text())
        edit(report)
        (tmp_path / "run.json").write_text(json.dumps(report))
        return tmp_path / "run.json"

    return change


def text_of(page: str) -> str:
    """What a reader sees, without tags, script and style."""
    told = re.sub(r"<(script|style)>.*?</\1>", "", page, flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", told)).split())


def notes_of(page: str) -> list[str]:
    return [text_of(note) for note in re.findall(r'<p class="note">.*?</p>', page)]


def test_the_head_says_what_was_measured_with_what(page: str, clips: Path) -> None:
    head = text_of(page[: page.index("<nav")])
    for part in ("Evaluation of capture: mini", "MPJPE 73.1 mm", "bundle mini abababababab", f"8 of {clips}",
                 "llvmpipe", load_clips(clips).sha256[:12], "seeds 3, 5", "a processor, 2 cores, load 0.5",
                 "2026-11-22T06:00:00", "unimo evaluate capture --clips"):  # fmt: skip
        assert part in head, part


def test_numbers_stand_with_interval_seeds_and_baseline(page: str) -> None:
    row = re.search(r'<tr><th scope="row">MPJPE, mm.*?</tr>', page)
    assert row is not None
    cells = [text_of(cell) for cell in re.findall(r"<td>(.*?)</td>", row[0])]
    assert cells[:2] == ["73.1", "200"] and re.fullmatch(r"\[4\d\.\d, (9\d\.\d|10\d)\]", cells[2])
    assert cells[3] == "72.1 to 74.1 (2)"
    assert "<dt><code>mpjpe_mm</code></dt><dd>pelvis at the origin</dd>" in page


@pytest.mark.parametrize(
    ("dataset", "told"),
    [
        ({"name": None}, "none: a folder of clips"),
        ({"name": "synthetic-val", "matches_the_definition": True}, "synthetic-val, as it is defined"),
        ({"name": "synthetic-val", "matches_the_definition": False}, "synthetic-val, but NOT as it is defined"),
        ({"name": "rich"}, "rich"),
    ],
)
def test_a_data_set_that_is_not_the_defined_one_is_called_out(
    dataset: dict[str, Any], told: str, changed: Callable[..., Path]
) -> None:
    table = provenance(load_runs([changed(lambda report: report["header"].update(dataset=dataset))]))
    cell = re.search(r'<th scope="row">data set</th><td>(.*?)</td>', table)
    assert cell is not None and cell[1].startswith(told) and (":" in cell[1]) == ("none" in told or "NOT" in told)


def test_the_paper_stands_apart_and_marked(page: str) -> None:
    aside = page[page.index('<aside class="paper"') : page.index("</aside>")]
    assert "Not the same data. Not comparable" in aside
    assert all(f"Paper, table {number}:" in aside for number in (3, 7, 10, 11))
    assert "43.2689" in aside and "43.2689" not in page.replace(aside, "")
    assert "15.7393" in text_of(aside) and "misprint" in aside
    assert "GVHMR extracts as truth (in table 11 the data sets' own)" in aside


def test_the_worst_clips_come_first(page: str, folder: Path) -> None:
    (run,) = load_runs([folder / "old.json"])
    assert ranking_key(run) == "mpjpe_mm" and ranked(run, "mpjpe_mm") == list(WORST_FIRST)
    assert ranked(run, "root_orientation_deg")[-1] == "000001" and len(ranked(run, "root_orientation_deg")) == COUNT - 1
    captions = re.findall(r"<figcaption>(\d{6}): MPJPE ([\d.]+) mm, (\w+)", page)
    assert [name for name, _, _ in captions[:2]] == ["000002", "000004"]
    assert captions[0] == ("000002", "150", "standing")
    # of the middle none that is among the worst
    assert {name for name, _, _ in captions[2:]} == {WORST_FIRST[3], WORST_FIRST[5]}
    assert page.count("<img ") == 4 and page.count('type="range"') == 4


def test_a_page_is_whole_and_asks_for_nothing(page: str) -> None:
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert "default-src 'none'" in page and "http" not in re.sub(r'http-equiv|data:[^"]*', "", page)
    for uri in re.findall(r'src="data:image/jpeg;base64,([^"]*)"', page):
        sheet = Image.open(io.BytesIO(base64.b64decode(uri)))
        sheet.load()
        assert sheet.width % (4 * PANEL) == 0 and sheet.height % PANEL == 0
    assert all(re.findall(r'<img [^>]*alt="[^"]+\. Side by side: video, predicted, truth, from the side\."', page))
    assert len(page) < 10_000_000 and "nan" not in text_of(page).lower().split()


def test_the_same_files_give_the_same_page(page: str, folder: Path) -> None:
    stages = []
    again = evaluation_report(load_runs([folder / "old.json"]), 2, lambda *about: stages.append(about))
    assert again == page
    assert stages[-1] == ("drawing clips", 4, 4)


def test_bodies_are_drawn_where_the_people_are(clips: Path, folder: Path) -> None:
    (run,) = load_runs([folder / "old.json"])
    strip = motion_strip(clips, [run], "000001", 64)
    assert strip.panels == ["video", "predicted", "truth", "from the side"] and strip.frames == FRAMES
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(strip.uri.split(",")[1]))), np.int16)
    assert strip.size == (64, 256) and sheet.shape[1] == strip.columns * 256
    row, column = divmod(FRAMES - 1, strip.columns)
    last = sheet[64 * row : 64 * (row + 1), 256 * column : 256 * (column + 1)]
    video, predicted, truth, side = (last[:, 64 * i : 64 * (i + 1)] for i in range(4))
    found = load_clips(clips)
    mask = found.masks(np.array([1]))[0, -1].repeat(2, axis=0).repeat(2, axis=1)
    small = video.reshape(32, 2, 32, 2, 3).mean((1, 3))
    assert np.abs(small - found.frames[1, -1]).mean() < 8
    blue = np.abs(truth - video).max(-1) > 30
    assert (blue & mask).sum() / (blue | mask).sum() > 0.6
    orange = (predicted[..., 0] - predicted[..., 2]) > (video[..., 0] - video[..., 2]) + 40
    assert 4 < np.nonzero(orange)[1].mean() - np.nonzero(blue)[1].mean() < 16  # this clip's is 0.3 m to the right
    assert (side.max(-1) > 90).any()


def test_the_side_view_shows_depth_about_the_pelvis(clips: Path, folder: Path) -> None:
    (run,) = load_runs([folder / "old.json"])
    truth = load_motion(clips / "clips" / "000001" / "motion.npz")
    view = side_view(truth, predicted_motion(run, "000001", truth), 192).astype(int)
    joints = joint_positions(truth)[-1]
    about = (joints - joints[0]) * 192 / 2.2 + 96  # 2.2 m are shown
    assert view.shape == (FRAMES, 192, 192, 3)
    for end in ("head", "left_foot", "right_foot"):
        _, y, x = about[JOINT_NAMES.index(end)].round().astype(int)
        near = view[-1, y - 4 : y + 5, x - 4 : x + 5]
        assert (near[..., 2] > near[..., 0] + 30).any(), end  # blue
    orange = view[-1, ..., 0] > view[-1, ..., 2] + 60
    assert 80 < np.ptp(np.nonzero(orange)[0]) < 190 and orange[90:103, 90:103].any()


def test_generated_videos_stand_beside_their_reference(folder: Path, clips: Path) -> None:
    page = evaluation_report(load_runs([folder / "made.json"]), worst=1)
    assert "Side by side: reference clip, generated video, and its motion" in page
    assert "Errors here: motion captured from the generated video" in page
    uri = re.findall(r'src="data:image/jpeg;base64,([^"]*)"', page)[0]
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri))), np.int16)
    true, made = sheet[:PANEL, :PANEL], sheet[:PANEL, PANEL : 2 * PANEL]
    assert np.abs(true + made - 255).mean() < 12  # the test's videos are negatives


def test_two_runs_are_compared_clip_by_clip(folder: Path) -> None:
    page = evaluation_report(load_runs([folder / "old.json", folder / "new.json"]), worst=1)
    row = re.search(r'<tr><th scope="row">MPJPE, mm.*?</tr>', page[page.index("Runs side by side") :])
    assert row is not None
    cells = [text_of(cell) for cell in re.findall(r"<td>(.*?)</td>", row[0])]
    assert cells[0].startswith("73.1 [") and cells[1].startswith("63.1 [")
    assert cells[2] == "−10.0 [−10.0, −10.0] better"
    assert '<th scope="col">new − old</th>' in page and "Differences: new − old" in page
    assert "Side by side: video, predicted, old, predicted, new, truth." in page
    assert "<figcaption>000002: MPJPE 150 mm, 140 (new), standing" in page
    swapped = evaluation_report(load_runs([folder / "new.json", folder / "old.json"]), worst=0)
    assert '+10.0 [+10.0, +10.0] <span class="worse">worse</span>' in swapped


def test_runs_of_other_clips_are_not_subtracted(folder: Path, changed: Callable[..., Path]) -> None:
    other = changed(lambda report: report["header"]["clips"].update(sha256="cd" * 32))
    page = evaluation_report(load_runs([folder / "old.json", other]), worst=1)
    (why,) = (note for note in notes_of(page) if note.startswith("No differences to old"))
    assert why.endswith("the clips' hash differs (run). Run both on the same clips with the same --count.")
    assert "better</span>" not in page and "Differences:" not in page
    assert any("run: no strips; the clips are not those that were measured" in note for note in notes_of(page))
    assert page.count("<img ") > 0


def test_what_is_in_a_file_cannot_become_markup(changed: Callable[..., Path]) -> None:
    evil = "<script>alert(1)</script>\"'"

    def edit(report: dict[str, Any]) -> None:
        report["header"]["bundle"]["name"] = report["header"]["command"] = evil
        report["per_clip"]["clip"][2] = report["per_clip"]["motion_class"][0] = evil
        report["header"]["conventions"] = {evil: evil}
        report[f"{evil}_mm"], report[f"interval95.{evil}_mm"] = 1.5, [1, 2]
        report["by_joint_mm"] = {evil: 3.0}

    page = evaluation_report(load_runs([changed(edit)]), worst=1)
    assert page.count("<script>") == 1 and "<script>alert" not in page and "&lt;script&gt;alert" in page
    assert not re.search(r'="[^"]*<', page)


@pytest.mark.parametrize(
    ("edit", "note"),
    [
        (lambda r: r["header"]["clips"].update(folder="/nowhere/clips"), "there is no such folder of clips"),
        (lambda r: (r["header"]["clips"].pop("folder"), r["header"].update(command="unimo")), "names no folder"),
        (lambda r: r["header"]["clips"].update(sha256=None), "no hash of its clips"),
        (lambda r: (r["header"]["clips"].clear(), r["header"]["clips"].update(count=8)), "no hash of its clips"),
        (lambda r: r["per_clip"].update({key: [None] * COUNT for key in r["per_clip"] if "_" in key[-4:]}),
         "no clip has a number by which"),
        (lambda r: r["per_clip"]["clip"].reverse(), "their hash differs"),
    ],
)
def test_clips_that_are_not_there_are_told(edit: Callable, note: str, changed: Callable[..., Path]) -> None:
    page = evaluation_report(load_runs([changed(edit)]), worst=1)
    assert any("no strips" in told and note in told for told in notes_of(page))
    assert "<img" not in page and "By joint" in page


def test_an_older_file_makes_a_smaller_page(changed: Callable[..., Path]) -> None:
    def edit(report: dict[str, Any]) -> None:
        for key in ("per_clip", "by_joint_mm", "by_time_mm"):
            del report[key]
        report["header"].pop("dataset")
        report["header"].pop("conventions")

    page = evaluation_report(load_runs([changed(edit)]))
    missing = "No numbers in the run files for errors by joint, motion classes, errors by frame, entropy of the tokens."
    assert missing in notes_of(page)
    assert any("tells no errors of single clips" in note for note in notes_of(page))
    assert "MPJPE 73.1 mm" in text_of(page[: page.index("<nav")]) and "older versions" in notes_of(page)[-1]
    assert "73.1" in page and "<img" not in page and "All clips of" not in page


def test_few_clips_are_no_findings(changed: Callable[..., Path], folder: Path) -> None:
    def edit(report: dict[str, Any]) -> None:
        report["strict.fid_k"], report["interval95.strict.fid_k"] = 12.5, [1, 2]
        report["per_clip"] = {key: values[:4] for key, values in report["per_clip"].items()}

    run = changed(edit)
    page = evaluation_report(load_runs([run]), worst=0)
    assert "<b>12.5</b> <span>few clips: biased</span>" in page
    assert "No rank correlation: fewer than 8 clips" in page
    assert 'class="span' not in page  # two clips of a class have no interval
    assert "<figcaption>No interval below 5 clips.</figcaption>" in page
    beside = evaluation_report(load_runs([folder / "old.json", run]), worst=0)
    assert "4 clips: too few to tell" in beside and "Differences: run" not in beside
    many = changed_count(run, 30)
    assert "biased</span>" not in evaluation_report(load_runs([many]), worst=0)


def changed_count(run: Path, clips: int) -> Path:
    """The run again, said to be of so many clips."""
    run.write_text(json.dumps({**json.loads(run.read_text()), "clips": clips}))
    return run


def test_all_clips_are_not_called_the_worst(folder: Path, page: str) -> None:
    whole = evaluation_report(load_runs([folder / "old.json"]), worst=COUNT)
    assert "<h3>All clips, worst first</h3>" in whole and "<h3>Worst</h3>" not in whole
    assert "<h3>Worst</h3>" in page


def test_predictions_that_are_missing_or_broken_are_told(changed: Callable[..., Path]) -> None:
    path = changed(lambda report: None)
    predictions = path.with_suffix("") / "predictions.npz"
    whole = predictions.read_bytes()
    predictions.write_bytes(whole[:-100])
    broken = evaluation_report(load_runs([path]), worst=1)
    assert notes_of(broken) and all("the predictions cannot be read" in note for note in notes_of(broken))
    with zipfile.ZipFile(predictions, "w") as archive:
        archive.writestr("note.txt", "nothing")
    assert any("predictions" in note for note in notes_of(evaluation_report(load_runs([path]), worst=1)))
    with predictions.open("wb") as file:
        np.savez(file, **{key: value[:3] for key, value in np.load(io.BytesIO(whole)).items()})
    assert any("of 3 clips of 9 frames" in note for note in notes_of(evaluation_report(load_runs([path]), worst=1)))
    shutil.rmtree(predictions.parent)
    gone = evaluation_report(load_runs([path]), worst=1)
    assert any("there is no folder run beside the run file" in note for note in notes_of(gone))
    assert "Side by side: video, truth." in gone


def test_panels_are_small_where_there_are_many() -> None:
    assert panel_side(9, 4, 17) == PANEL and panel_side(9, 4, 65) == SMALL_PANEL
    assert panel_side(9, 3, 10_000) == panel_side(9, 3, MOST_FRAMES)


def test_runs_that_do_not_belong_together_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="different evaluations, capture and generate"):
        load_runs([folder / "old.json", folder / "made.json"])
    with pytest.raises(InputError, match="given twice") as twice:
        load_runs([folder / "old.json", folder / ".." / folder.name / "old.json"])
    assert twice.value.fix == "give each file once"
    with pytest.raises(InputError, match="this is a folder"):
        load_runs([folder])
    with pytest.raises(InputError, match="no run is given"):
        load_runs([])


def test_the_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run, page = str(folder / "old.json"), tmp_path / "page.html"
    command = ["evaluate", "report", run, "--html"]

    def code(*words: str) -> int:
        with pytest.raises(SystemExit) as caught:
            main.run([*command, *words])
        return int(caught.value.code or 0)

    assert code(str(page), "--worst", "0") == 0 and page.read_text().startswith("<!doctype html>")
    assert f"wrote {page}" in capsys.readouterr().out.replace("\n", "")
    before = page.stat().st_mtime_ns
    assert code(str(page)) == 2 and "--overwrite" in capsys.readouterr().err
    assert page.stat().st_mtime_ns == before
    assert code(str(tmp_path)) == 2 and "names a folder" in capsys.readouterr().err
    assert code(str(tmp_path / "not" / "there.html"), "--worst", "0") == 0
    assert (tmp_path / "not" / "there.html").read_text() == page.read_text()
    assert code(str(page / "below.html")) == 2 and "this is a file" in " ".join(capsys.readouterr().err.split())
    assert code(str(page), "--worst", "0", "--overwrite", "--quiet") == 0 and capsys.readouterr().out == ""
    assert page.stat().st_mtime_ns > before
    assert len(MPJPE) == COUNT


def test_a_page_never_replaces_what_it_reads(folder: Path, changed: Callable[..., Path], tmp_path: Path) -> None:
    run = changed(lambda report: None)
    before = run.read_bytes()
    odd = tmp_path / "odd.html"
    odd.write_bytes(before)
    (tmp_path / "link.html").symlink_to(run)
    (tmp_path / "hard.html").hardlink_to(run)
    refused = {
        run: "a run that is read", run.parent / "run" / ".." / "run.json": "a run that is read",
        tmp_path / "link.html": "a run that is read", tmp_path / "hard.html": "a run that is read",
        odd: "a run that is read", tmp_path / "run" / "page.html": "predictions of a run",
        tmp_path / "run" / "new" / "page.html": "predictions of a run", tmp_path / "n.txt": "end in .html",
        tmp_path / "n": "end in .html",
    }  # fmt: skip
    for place, why in refused.items():
        with pytest.raises(InputError, match=why):
            write_evaluation_report([folder / "old.json", run, odd], place, worst=0)
    with pytest.raises(SystemExit) as caught:
        main.run(["evaluate", "report", str(run), "--html", str(run), "--overwrite"])
    assert caught.value.code == 2 and run.read_bytes() == odd.read_bytes() == before
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["predictions.npz"]
    assert write_evaluation_report([run], tmp_path / "p" / "page.HTM", worst=0).is_file()
