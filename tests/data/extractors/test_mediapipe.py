"""The worker's tracker with a reader that is not MediaPipe, the process with stand-in workers, and the real thing."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from unimo.data.extractors import extractor, mediapipe_process
from unimo.data.extractors.mediapipe_extractor import MediapipeExtractor, people
from unimo.data.extractors.mediapipe_process import LandmarkTrack, check_mediapipe, read_landmarks
from unimo.data.extractors.protocol import ExtractorError
from unimo.errors import InputError, MissingAssetError
from unimo.media.images import read_image

ROOT = Path(__file__).resolve().parents[3]
STAND_IN = """
import argparse, sys
import numpy as np
parser = argparse.ArgumentParser()
for name in ("height", "width", "detect-every", "most-people"):
    parser.add_argument("--" + name, type=int)
parser.add_argument("--output")
a = parser.parse_args()
assert sys.flags.isolated  # neither PYTHONPATH nor its own folder leads it to our packages
means = []
while data := sys.stdin.buffer.read(a.height * a.width * 3):
    means.append(np.frombuffer(data, np.uint8).reshape(a.height, a.width, 3)[:, :, 0].mean())
n = len(means)
image = np.repeat(np.array(means)[:, None, None], 33, 1) + np.arange(66).reshape(33, 2)
out = dict(frames=np.arange(n), people=np.arange(n) // 4, world=np.zeros((n, 33, 3)), image=image,
           visibility=np.ones((n, 33)), count=np.int64(n))
{change}
np.savez(a.output, **out)
"""
FRAMES = [np.full((20, 30, 3), 10 * i, np.uint8) for i in range(6)]


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Puts a stand-in in place of the worker, run by this Python."""
    monkeypatch.setenv(mediapipe_process.PYTHON_VARIABLE, sys.executable)

    def install(change: str = "") -> None:
        script = tmp_path / "stand_in.py"
        script.write_text(STAND_IN.replace("{change}", change))
        monkeypatch.setattr(mediapipe_process, "WORKER", script)

    return install


def test_frames_go_in_and_tracks_come_out(worker) -> None:
    worker()
    tracks, count = read_landmarks(iter(FRAMES), 20, 30)
    assert count == 6 and [track.frames.tolist() for track in tracks] == [[0, 1, 2, 3], [4, 5]]
    assert np.allclose(tracks[1].image[0, 0], [40, 41]) and tracks[1].image.shape == (2, 33, 2)
    assert np.allclose(tracks[0].boxes()[1], [10, 11, 74, 75])


def test_a_worker_that_fails_is_heard(worker) -> None:
    worker("print('what was before'); raise SystemExit('no model of this name')")
    with pytest.raises(ExtractorError, match="(?s)exit code 1.*what was before.*no model of this name"):
        read_landmarks(iter(FRAMES), 20, 30)


def test_a_worker_that_ends_before_all_is_sent(worker, tmp_path: Path) -> None:
    worker()
    (tmp_path / "stand_in.py").write_text("import sys; print('out of memory'); sys.exit(7)")
    large = (np.zeros((400, 400, 3), np.uint8) for _ in range(50))
    with pytest.raises(ExtractorError, match="(?s)exit code 7.*out of memory"):
        read_landmarks(large, 400, 400)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("del out['world']", "cannot be read"),
        ("out['world'] = np.array([None] * n)", "cannot be read"),
        ("open(a.output, 'w').write('no npz'); sys.exit()", "cannot be read"),
        ("sys.exit()", "cannot be read"),
        ("out['image'] = image[:, :17]", "gave back image"),
        ("out['image'] = image[:-1]", "gave back image"),
        ("image[2, 3] = np.nan", "gave back image"),
        ("out['count'] = n - 1", "other frames"),
        ("out['frames'] = np.arange(n) + 1", "other frames"),
        ("out['frames'] = np.arange(n)[::-1]", "do not rise"),
    ],
)
def test_malformed_landmarks_are_refused(worker, change: str, words: str) -> None:
    worker(change)
    with pytest.raises(ExtractorError, match=words):
        read_landmarks(iter(FRAMES), 20, 30)


def test_nobody(worker) -> None:
    worker("out = {key: value[:0] if key != 'count' else value for key, value in out.items()}")
    assert read_landmarks(iter(FRAMES), 20, 30) == ([], 6)
    assert MediapipeExtractor().extract_frames(iter(FRAMES), 20, 30, 30) == []


def test_frames_of_another_size(worker) -> None:
    worker()
    with pytest.raises(InputError, match="frame 1"):
        read_landmarks([FRAMES[0], np.zeros((20, 31, 3), np.uint8)], 20, 30)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(mediapipe_process.PYTHON_VARIABLE, raising=False)
    monkeypatch.setenv("UNIMO_CACHE", str(tmp_path))
    with pytest.raises(MissingAssetError, match="(?s)not installed.*environments/mediapipe.*make mediapipe"):
        extractor("mediapipe")
    monkeypatch.setenv(mediapipe_process.PYTHON_VARIABLE, "/nowhere/python")
    with pytest.raises(MissingAssetError, match="/nowhere/python .UNIMO_MEDIAPIPE_PYTHON.*"):
        read_landmarks([], 20, 30)
    monkeypatch.setenv(mediapipe_process.PYTHON_VARIABLE, sys.executable)  # has no MediaPipe, and a newer numpy
    with pytest.raises(MissingAssetError, match="make mediapipe"):
        check_mediapipe()
    with pytest.raises(InputError, match="no extractor called 'wham'"):
        extractor("wham")


def test_short_glimpses_are_left_out_and_the_largest_comes_first() -> None:
    def track(length: int, size: float) -> LandmarkTrack:
        image = np.zeros((length, 33, 2), np.float32)
        image[:, 1] = size
        return LandmarkTrack(np.arange(length), np.zeros((length, 33, 3)), image, np.ones((length, 33), np.float32))

    small, large, glimpse = track(20, 10), track(10, 50), track(5, 500)
    assert [len(each) for each in people([small, glimpse, large], 20, 30)] == [10, 20]
    assert people([track(4, 9)], 20, 10) == [] and people([track(1, 9)], 1, 30)  # a picture is no glimpse


@pytest.fixture(scope="module")
def program() -> ModuleType:
    """The worker as a module: it needs MediaPipe only when it reads."""
    spec = importlib.util.spec_from_file_location("mediapipe_worker", mediapipe_process.WORKER)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Reader:
    """Sees people where a list says so: for each frame the places of those there; pixels count the frames."""

    def __init__(self, places: list[list[float]]) -> None:
        self.places, self.looks = places, 0

    def detect(self, square: np.ndarray) -> list[np.ndarray]:
        self.looks += 1
        return [np.array([x, 0.5, x, 0.3]) for x in self.places[square[0, 0, 0]]]

    def read(self, square: np.ndarray, circle: np.ndarray):
        near = [x for x in self.places[square[0, 0, 0]] if abs(x - circle[0]) < 0.1]
        if not near:
            return None
        landmarks = np.ones((33, 3))
        landmarks[:, 0], landmarks[:, 1] = np.linspace(near[0] - 0.1, near[0] + 0.1, 33), np.linspace(0.2, 0.8, 33)
        return landmarks, np.zeros((33, 3)), np.array([near[0], 0.5, near[0], 0.3])


def tracked(program: ModuleType, places: list[list[float]], detect_every: int = 5, most: int = 6):
    reader = Reader(places)
    tracker = program.Tracker(reader, detect_every, most)
    rows = [tracker(i, np.full((4, 4, 3), i, np.uint8)) for i in range(len(places))]
    return [{number: round(landmarks[16, 0], 2) for number, landmarks, _ in row} for row in rows], reader


def test_people_keep_their_numbers(program: ModuleType) -> None:
    rows, reader = tracked(program, [[0.3 + 0.01 * i, 0.8 - 0.02 * i] for i in range(10)])
    assert all(row == {0: round(0.3 + 0.01 * i, 2), 1: round(0.8 - 0.02 * i, 2)} for i, row in enumerate(rows))
    assert reader.looks == 2  # in frames 0 and 5


def test_who_comes_later_is_found_at_the_next_look(program: ModuleType) -> None:
    rows, _ = tracked(program, [[0.2]] * 3 + [[0.2, 0.8]] * 5)
    assert [sorted(row) for row in rows] == [[0]] * 5 + [[0, 1]] * 3


def test_a_lost_person_is_the_same_a_moment_later_and_another_one_after_long(program: ModuleType) -> None:
    rows, _ = tracked(program, [[0.2]] * 2 + [[]] * 3 + [[0.2]] * 2 + [[]] * 9 + [[0.2]])
    assert [sorted(row) for row in rows] == [[0]] * 2 + [[]] * 3 + [[0]] * 2 + [[]] * 9 + [[1]]


def test_one_person_is_not_counted_twice_and_crowds_are_cut(program: ModuleType) -> None:
    rows, _ = tracked(program, [[0.5, 0.52]])
    assert len(rows[0]) == 1
    rows, _ = tracked(program, [[0.1, 0.4, 0.7, 1.0]], most=2)
    assert sorted(rows[0]) == [0, 1]


def test_frames_are_padded_to_squares(program: ModuleType) -> None:
    frame = np.full((3, 5, 3), 7, np.uint8)
    square = program.squared(frame)
    assert square.shape == (5, 5, 3) and (square[:3] == 7).all() and not square[3:].any()


class TestRealMediapipe:
    @pytest.fixture(autouse=True)
    def installed(self) -> None:
        try:
            check_mediapipe()
        except MissingAssetError as error:
            # an environment of 1 GB that `make test` does not make; the stand-in above holds the adapter without it
            pytest.skip(reason=f"MediaPipe's own environment is not on this machine (`make mediapipe`): {error.what}")

    def test_two_people_each_with_their_own_left(self) -> None:
        picture = read_image(ROOT / "assets/examples/person.jpg")
        both = np.concatenate([picture, picture[:, ::-1]], 1)
        tracks, count = read_landmarks([both], *both.shape[:2])
        assert count == 1 and len(tracks) == 2
        first, second = sorted((track.image[0] for track in tracks), key=lambda image: image[:, 0].mean())
        # seen from behind, a shoulder to the left is the left one (11), in a mirror too
        assert first[11, 0] < first[12, 0] - 30 and second[11, 0] < second[12, 0] - 30
        back = np.c_[both.shape[1] - second[:, 0], second[:, 1]]
        sides, other = [11, 12, 23, 24, 27, 28], [12, 11, 24, 23, 28, 27]
        assert np.linalg.norm(first[sides] - back[other], axis=1).max() < 0.06 * np.ptp(first[:, 1])
