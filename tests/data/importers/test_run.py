"""`unimo data import`: the folder it writes, going on after a stop, what it refuses, and training's library on top."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.data.importers import published as p
from tests.data.prepare_sources import motion_of
from tests.motion.amass_sample import save_amass
from unimo.cli.main import run
from unimo.data.importers import run as run_module
from unimo.data.importers.base import ImportedMotion, ImportOptions, Source
from unimo.data.importers.ledger import DONE, SKIPPED
from unimo.data.importers.run import import_motions
from unimo.errors import InputError
from unimo.motion.library import MotionLibrary
from unimo.motion.npz import load_motion
from unimo.motion.split import hold_out


@pytest.fixture
def amass(tmp_path: Path) -> Path:
    """Three people, one of them with two motions, and a file that is none."""
    folder = tmp_path / "CMU"
    for subject, name in (("01", "a"), ("01", "b"), ("02", "a"), ("03", "c")):
        save_amass(folder / subject / f"{name}_poses.npz", 40, "smplh", 120)
    (folder / "02/broken_poses.npz").write_bytes(b"no npz")
    return folder


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_folder_is_what_training_reads(amass: Path, tmp_path: Path):
    out = tmp_path / "out"
    report = import_motions("amass", amass, out)
    assert (report.sources, report.motions, report.kept) == (5, 4, 0)
    assert report.subjects == ("CMU_01", "CMU_02", "CMU_03") and report.seconds == pytest.approx(4 * 40 / 120)
    assert [name for name, _ in report.skipped] == ["02/broken_poses.npz"]
    assert lines(out / SKIPPED)[0]["reason"] == report.skipped[0][1] and lines(out / SKIPPED)[0]["fix"]
    library = MotionLibrary.from_files([out])
    assert library.subjects == report.subjects and not library.skipped and len(library) == 4
    assert {named.motion.fps for named in library} == {120}
    train, validation = hold_out(library)
    assert not set(train.subjects) & set(validation.subjects)
    record = json.loads((out / "CMU_01/a_poses.json").read_text())
    assert (record["format"], record["source"], record["rows"]) == ("amass", "01/a_poses.npz", 40)
    assert (record["fps"], record["subject"], record["axes"]) == (120, "CMU_01", "world")


def test_an_output_that_cannot_be_written(amass: Path, tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="the results cannot be written"):
        import_motions("amass", amass, tmp_path / "file")


def test_a_record_says_which_frames_and_which_are_valid(tmp_path: Path):
    truth, valid = p.walk(20), np.ones(20, dtype=bool)
    valid[5:9] = False
    p.write_threedpw(tmp_path / "in/courtyard_walk_00.pkl", truth, valid)
    import_motions("3dpw", tmp_path / "in", tmp_path / "out")
    place = tmp_path / "out/3dpw_courtyard_walk_00_0/courtyard_walk_00_0"
    record = json.loads(place.with_suffix(".json").read_text())
    assert record["frames"] == {"first": 0, "last": 19, "step": 1} and record["valid"] == [[0, 5], [9, 20]]
    assert (record["video"], record["gender"]) == ("imageFiles/courtyard_walk_00", "female")
    motion = load_motion(place.with_suffix(".npz"))
    np.testing.assert_allclose(motion.cam2world, truth.cam2world, atol=1e-4)
    named = MotionLibrary.from_files([tmp_path / "out"])[0]
    np.testing.assert_allclose(np.diff(named.motion.transl, axis=0), np.diff(truth.pelvis, axis=0), atol=1e-4)


def test_a_second_run_keeps_what_is_there(amass: Path, tmp_path: Path):
    out = tmp_path / "out"
    assert import_motions("amass", amass, out, limit=2).motions == 2
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.npz")}
    report = import_motions("amass", amass, out)
    assert (report.kept, report.motions) == (2, 4)
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    assert import_motions("amass", amass, out).kept == 4
    assert len(lines(out / SKIPPED)) == 1  # replaced, not doubled


def test_going_on_after_a_kill_and_after_changes(amass: Path, tmp_path: Path):
    out = tmp_path / "out"
    import_motions("amass", amass, out)
    text = (out / DONE).read_text()
    (out / DONE).write_text(text[:-30])  # killed while the last line was written
    (out / "CMU_01/a_poses.npz").unlink()
    save_amass(amass / "02/a_poses.npz", 60, "smplh", 120)
    report = import_motions("amass", amass, out)
    assert (report.kept, report.motions) == (1, 4)
    assert len(load_motion(out / "CMU_02/a_poses.npz")) == 60
    assert import_motions("amass", amass, out).kept == 4


def test_another_rate_is_imported_anew(tmp_path: Path):
    p.write_gvhmr(tmp_path / "in/dance", p.walk(8))
    for fps in (25, 50):
        report = import_motions("gvhmr", tmp_path / "in", tmp_path / "out", ImportOptions(fps=fps))
        assert report.kept == 0 and load_motion(tmp_path / "out/dance/dance.npz").fps == fps


def test_motions_of_other_sources_are_not_overwritten(tmp_path: Path):
    for place in ("a", "b"):
        p.write_gvhmr(tmp_path / f"in/{place}/dance", p.walk(8))
    report = import_motions("gvhmr", tmp_path / "in", tmp_path / "out", ImportOptions(fps=25))
    assert report.motions == 1
    assert "there already, of gvhmr a/dance" in report.skipped[0][1]
    for place, motions in (("a", 1), ("b", 0)):  # the key of a single file is its name alone
        p.write_gvhmr(tmp_path / f"in/{place}/dance", p.walk(8))
        single = tmp_path / f"in/{place}/dance/hmr4d_results.pt"
        report = import_motions("gvhmr", single, tmp_path / "single", ImportOptions(fps=25))
        assert report.motions == motions


def test_motions_of_one_source_are_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = tmp_path / "two.pkl"
    source.touch()
    made = [ImportedMotion(name, "s", motion_of(rows, 15)) for name, rows in (("a b", 8), ("A_b", 5))]
    reader = SimpleNamespace(find=lambda path: [Source(path, path.name)], read=lambda unit, options: iter(made))
    monkeypatch.setattr(run_module, "importer", lambda name: reader)
    report = import_motions("fake", source, tmp_path / "out")
    assert "it has two motions that would be s/A_b.npz" in report.skipped[0][1]
    assert len(load_motion(tmp_path / "out/s/a_b.npz")) == 8


def test_a_changed_source_leaves_no_stale_stretches(tmp_path: Path):
    truth, out = p.walk(12), tmp_path / "out"

    def write(*times: int) -> None:
        p.dump(p.phalp_content(truth, list(times)), tmp_path / "in/demo_a.pkl")

    def there() -> set[str]:
        return {path.name for path in (out / "a").glob("*")}

    def run_import() -> int:
        return import_motions("phalp", tmp_path / "in", out, ImportOptions(fps=25)).motions

    (tmp_path / "in").mkdir()
    write(0, 1, 2, 5, 6, 7)
    assert run_import() == 2
    both = {"a_4_f000000.npz", "a_4_f000000.json", "a_4_f000005.npz", "a_4_f000005.json"}
    assert there() == both
    (out / "a/other.npz").touch()  # not of this source
    write(0, 1, 2, 3, 4)
    assert run_import() == 1 and there() == {"a_4.npz", "a_4.json", "other.npz"}
    write(0, 1, 2, 5, 6, 7)
    assert run_import() == 2 and there() == both | {"other.npz"}
    (tmp_path / "in/demo_a.pkl").write_bytes(b"damaged since")
    assert run_import() == 0 and there() == {"other.npz"}


def test_a_source_put_back_as_it_was_is_imported_anew(tmp_path: Path):
    source, out = tmp_path / "in/x/a_poses.npz", tmp_path / "out"
    save_amass(source, 40, "smplh", 120)
    before, state = source.read_bytes(), source.stat()
    import_motions("amass", tmp_path / "in", out)
    save_amass(source, 60, "smplh", 120)
    import_motions("amass", tmp_path / "in", out)
    source.write_bytes(before)
    os.utime(source, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert import_motions("amass", tmp_path / "in", out).kept == 0
    assert len(load_motion(out / "in_x/a_poses.npz")) == 40


def test_a_wrong_option_takes_nothing_away(tmp_path: Path):
    p.write_gvhmr(tmp_path / "in/dance", p.walk(8))
    import_motions("gvhmr", tmp_path / "in", tmp_path / "out", ImportOptions(fps=25))
    (tmp_path / "videos").mkdir()
    report = import_motions("gvhmr", tmp_path / "in", tmp_path / "out", ImportOptions(video=tmp_path / "videos"))
    assert "does not say its frame rate" in report.skipped[0][1]
    assert load_motion(tmp_path / "out/dance/dance.npz").fps == 25


def test_options_that_do_not_fit_are_refused_before_anything_is_written(amass: Path, tmp_path: Path):
    (amass / "01/0_poses.npz").write_bytes(b"damaged, and the first")
    with pytest.raises(InputError, match="is at 120 frames/s, not 60"):
        import_motions("amass", amass, tmp_path / "out", ImportOptions(fps=60))
    p.write_gvhmr(tmp_path / "in/dance", p.walk(8))
    for options in (ImportOptions(), ImportOptions(video=tmp_path / "none")):
        with pytest.raises(InputError, match="every video 30 fps|no such video"):
            import_motions("gvhmr", tmp_path / "in", tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


def test_stretches_of_one_frame_are_no_motions(tmp_path: Path):
    (tmp_path / "in").mkdir()
    p.dump(p.phalp_content(p.walk(8), [0, 1, 2, 5]), tmp_path / "in/demo_a.pkl")
    for kept in (0, 1):  # said again by a run that keeps what is there
        report = import_motions("phalp", tmp_path / "in", tmp_path / "out", ImportOptions(fps=25))
        assert (report.motions, report.left_out, report.kept, report.skipped) == (1, 1, kept, ())
        assert lines(tmp_path / "out" / SKIPPED)[0]["reason"] == "a_4_f000005 has one frame, which is no motion"
    save_amass(tmp_path / "still/x/a_poses.npz", 1, "smplh", 120)
    report = import_motions("amass", tmp_path / "still", tmp_path / "other")
    assert report.motions == 0 and "has one frame" in report.skipped[0][1]


@pytest.mark.parametrize("kind", ["smplh", "smplx"])
def test_the_gender_of_a_robot_is_refused_and_lost_betas_are_kept(tmp_path: Path, kind: str):
    path = tmp_path / "in/x/a_poses.npz"
    save_amass(path, 8, kind, 120)
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    np.savez(path, **{**arrays, "gender": "robot"})
    report = import_motions("amass", tmp_path / "in", tmp_path / "out")
    assert report.motions == 0 and "its gender is 'robot'" in report.skipped[0][1]
    betas = np.linspace(-1, 1, 16)
    np.savez(path, **{**arrays, "gender": "male", "betas": betas})
    assert import_motions("amass", tmp_path / "in", tmp_path / "out").motions == 1
    place = tmp_path / "out/in_x/a_poses"
    np.testing.assert_allclose(json.loads(place.with_suffix(".json").read_text())["notes"]["betas"], betas, atol=1e-5)
    assert not load_motion(place.with_suffix(".npz")).betas.any()


def test_a_wrong_rate_shows(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    save_amass(tmp_path / "in/x/a_poses.npz", 20, "smplh", 500)
    import_motions("amass", tmp_path / "in", tmp_path / "out")
    assert "is the frame rate right?" in caplog.text


def test_names_of_files_stay_in_the_folder(tmp_path: Path):
    row = "video_url,part,clip,start_time,end_time,smpl_file\nhttp://a/..,1,1,0,1,demo_..a.pkl\n"
    (tmp_path / "in").mkdir()
    (tmp_path / "in/list.csv").write_text(row)
    p.dump(p.phalp_content(p.walk(5), list(range(5))), tmp_path / "in/demo_..a.pkl")
    import_motions("human4dit", tmp_path / "in", tmp_path / "out", ImportOptions(fps=25))
    (made,) = (tmp_path / "out").rglob("*.npz")
    assert made.relative_to(tmp_path / "out").as_posix() == "unnamed/a_4.npz"


def test_the_output_may_not_hold_the_source(amass: Path):
    with pytest.raises(InputError, match="holds the source"):
        import_motions("amass", amass, amass.parent)


def unimo(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as caught:
        run(["data", "import", *map(str, arguments)])
    captured = capsys.readouterr()
    return int(caught.value.code or 0), " ".join((captured.out + captured.err).split())


def test_command_line(amass: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "out"
    code, text = unimo(capsys, "amass", amass, "--output", out)
    assert code == 0
    assert "4 motions of 3 subjects, 1 s, from 4 of 5 sources (0 done before)" in text
    assert "skipped 02/broken_poses.npz" in text
    code, text = unimo(capsys, "gvhmr", amass, "--output", out)
    assert code == 2 and "no hmr4d_results.pt of GVHMR" in text and "try: give such a file, or a folder with" in text
    code, text = unimo(capsys, "bvh", amass, "--output", out)
    assert code == 2 and "unknown format" in text and "human4dit" in text
    p.write_gvhmr(tmp_path / "g/dance", p.walk(8))
    code, text = unimo(capsys, "gvhmr", tmp_path / "g", "--output", out)
    assert code == 2 and "every video 30 fps" in text and "--fps RATE" in text
    code, text = unimo(capsys, "gvhmr", tmp_path / "g", "--output", out, "--fps", 24, "--limit", 1)
    assert code == 0 and "1 motion of 1 subject," in text
    assert unimo(capsys, "gvhmr", tmp_path / "g", "--output", out, "--fps", -1)[0] == 2
