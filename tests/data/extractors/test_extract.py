"""`unimo data extract`: what it writes, of one person and of several, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unimo.body import load_body
from unimo.cli.main import run
from unimo.data.extractors import mediapipe_extractor
from unimo.data.extractors.files import without_gaps
from unimo.data.extractors.mediapipe_extractor import MediapipeExtractor
from unimo.data.extractors.protocol import PersonTrack
from unimo.geometry.cameras import intrinsics_matrix
from unimo.media.video import read_video, write_video
from unimo.motion.motion import Motion
from unimo.motion.npz import load_motion

SIDE = 64


def track(frames: np.ndarray, x: float = 0.0) -> PersonTrack:
    """Somebody who stands upright 4 m ahead, facing the camera, and sinks by 1 cm a frame."""
    rest = load_body("open").rest_pelvis(torch.zeros(1, 10))[0].numpy()
    place = np.tile([x, 0.3, 4.0], (len(frames), 1)) - rest
    place[:, 1] += 0.01 * frames
    orient = np.tile([np.pi, 0, 0], (len(frames), 1))
    camera = intrinsics_matrix(SIDE, SIDE / 2, SIDE / 2)
    motion = Motion(np.zeros((len(frames), 21, 3)), np.zeros(10), orient, place, 20, intrinsics=camera)
    return PersonTrack(frames, motion, np.full(len(frames), 0.75, np.float32), np.zeros((len(frames), 4), np.float32))


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[PersonTrack]:
    """What MediaPipe finds, to be filled by the test."""
    tracks: list[PersonTrack] = []
    monkeypatch.setattr(mediapipe_extractor, "find_python", lambda: Path("python"))
    monkeypatch.setattr(MediapipeExtractor, "extract_frames", lambda self, *_: tracks)
    return tracks


@pytest.fixture
def video(tmp_path: Path) -> Path:
    write_video(tmp_path / "walk.mp4", np.full((8, SIDE, SIDE, 3), 120, np.uint8), 20)
    return tmp_path / "walk.mp4"


def unimo(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as exit_:
        run(["data", "extract", *map(str, words)])
    streams = capsys.readouterr()
    return int(exit_.value.code or 0), streams.out + streams.err


def test_gaps_are_filled_with_confidence_0() -> None:
    motion, confidence = without_gaps(track(np.array([2, 3, 6, 7])))
    assert len(motion) == 6 and motion.fps == 20
    assert confidence.tolist() == [0.75, 0.75, 0, 0, 0.75, 0.75]
    assert np.allclose(np.diff(motion.transl[:, 1]), 0.01, atol=1e-5)


def test_files_of_two_people(found: list[PersonTrack], video: Path, tmp_path: Path, capsys) -> None:
    found += [track(np.arange(8)), track(np.array([3, 4, 6]), x=1.2)]
    code, text = unimo(capsys, video, "--output", tmp_path / "out")
    assert code == 0 and "person 1: 3 frames, confidence 0.75" in text
    out = tmp_path / "out"
    motion, other = load_motion(out / "motion.npz"), load_motion(out / "person_01/motion.npz")
    assert (len(motion), len(other)) == (8, 4) and motion.axes == "camera"
    assert other.extras == {"extractor": "mediapipe", "first_frame": 3, "mean_confidence": pytest.approx(0.5625)}
    assert np.load(out / "person_01/confidence.npy").tolist() == [0.75, 0.75, 0, 0.75]
    frames = read_video(out / "overlay.mp4")
    changed = np.abs(frames.astype(int) - 120).max(-1) > 30
    assert len(frames) == 8 and changed[:, :, 28:36].any((1, 2)).all()  # the first person in the middle, always
    right = changed[:, :, 44:58].sum((1, 2)) > 20
    assert right.tolist() == [False] * 3 + [True, True, False, True, False]


def test_earlier_files_stay_unless_asked(found: list[PersonTrack], video: Path, tmp_path: Path, capsys) -> None:
    found += [track(np.arange(8)), track(np.arange(8))]
    words = (video, "-o", tmp_path / "out", "--no-render")
    assert unimo(capsys, *words)[0] == 0
    assert not (tmp_path / "out/overlay.mp4").exists()
    code, text = unimo(capsys, *words)
    assert code == 2 and "--overwrite" in text
    found.pop()
    assert unimo(capsys, *words, "--overwrite")[0] == 0
    assert not (tmp_path / "out/person_01").exists() and (tmp_path / "out/motion.npz").exists()


def test_a_picture(found: list[PersonTrack], tmp_path: Path, capsys) -> None:
    Image.fromarray(np.full((SIDE, SIDE, 3), 120, np.uint8)).save(tmp_path / "person.png")
    found.append(track(np.arange(1)))
    assert unimo(capsys, tmp_path / "person.png", "-o", tmp_path / "out")[0] == 0
    drawn = np.asarray(Image.open(tmp_path / "out/overlay.png")).astype(int)
    assert (np.abs(drawn - 120).max(-1) > 30).sum() > 100 and len(load_motion(tmp_path / "out/motion.npz")) == 1


def test_refusals(found: list[PersonTrack], video: Path, tmp_path: Path, capsys) -> None:
    out = ("-o", tmp_path / "out")
    for words, told in (
        ((video, *out), "nobody was found"),
        ((video, *out, "--extractor", "wham"), "one of: mediapipe, gvhmr"),
        ((video, *out, "--focal", "0"), "--focal"),
        ((video, *out, "--body", "smpl"), "open or smplx"),
        ((tmp_path / "none.mp4", *out), "none.mp4"),
        ((tmp_path / "none.jpg", *out), "none.jpg"),
        ((tmp_path / "none.jpg", *out, "--extractor", "gvhmr"), "takes videos"),
    ):
        code, text = unimo(capsys, *words)
        assert code == 2 and told in text, words
    assert not (tmp_path / "out").exists()
