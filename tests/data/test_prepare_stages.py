"""The stages of prepare one by one: cuts, single persons, resampling, letterbox, bodies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.data.prepare_sources import motion_of, room, shot, write_walk
from unimo.data.extractors.protocol import PersonTrack
from unimo.data.shots import find_shots
from unimo.data.sources import find_sources
from unimo.data.stages import (
    NOBODY,
    SEVERAL,
    Cutting,
    Stretch,
    clip_frames,
    cut_clips,
    fit_motion,
    label,
    look_at,
    motion_at,
    single_person,
)  # fmt: skip
from unimo.errors import InputError
from unimo.media.letterbox import Letterbox
from unimo.media.video import VideoInfo
from unimo.media.video_writer import write_video
from unimo.motion.frames import pelvis_positions
from unimo.motion.motion import Motion
from unimo.motion.npz import save_motion

INFO = VideoInfo(60, 30, 64, 48, 0, 2.0, "h264")
CUTTING = Cutting(15, 9, 9, 32, "open", 0.5)


def shots_of(frames: np.ndarray | list[np.ndarray]) -> list[int]:
    return find_shots((index / 30, frame) for index, frame in enumerate(frames))[1]


def track(frames: np.ndarray, confidence: float | np.ndarray = 1.0, fps: float = 30) -> PersonTrack:
    sure = np.broadcast_to(np.asarray(confidence, np.float32), len(frames))
    return PersonTrack(frames, motion_of(len(frames), fps), sure, np.zeros((len(frames), 4), np.float32))


class TestShots:
    def test_hard_cuts_are_found_to_the_frame(self) -> None:
        lengths = [20, 7, 33, 12]
        video = np.concatenate([shot(seed, n) for seed, n in enumerate(lengths)])
        assert shots_of(video) == [0, 20, 27, 60]

    def test_a_flash_is_no_cut(self) -> None:
        video = shot(0, 40)
        video[20:22] = 255
        video[30] = 0
        assert shots_of(video) == [0]

    @pytest.mark.parametrize("speed", [4, 16])
    def test_a_fast_pan_is_no_cut(self, speed: int) -> None:
        wide = np.concatenate([room(seed, 64, 64) for seed in range(12)], axis=1)
        video = [wide[:, left : left + 64] for left in range(0, wide.shape[1] - 64, speed)]
        assert shots_of(video) == [0]
        assert shots_of(video + list(shot(20, 20, 64, 64))) == [0, len(video)]

    def test_light_that_changes_and_noise_are_no_cut(self) -> None:
        rng = np.random.default_rng(0)
        light = np.linspace(0.4, 1, 40)[:, None, None, None]
        video = np.clip(shot(3, 40) * light + rng.normal(0, 8, (40, 48, 48, 3)), 0, 255).astype(np.uint8)
        assert shots_of(video) == [0]

    def test_very_short_videos(self) -> None:
        assert shots_of([]) == []
        assert shots_of(shot(0, 1)) == [0]
        assert shots_of(np.concatenate([shot(0, 1), shot(1, 1)])) == [0, 1]


class TestSinglePerson:
    times = np.arange(60) / 30

    def stretches(self, *tracks: PersonTrack, shots: tuple[int, ...] = (0,)) -> tuple[list, dict]:
        found, left_out = single_person(tracks, shots, self.times, 0.5)
        numbers = [tuple(tracks).index(stretch.track) for stretch in found]
        return [(s.start, s.stop, n) for s, n in zip(found, numbers, strict=True)], dict(left_out)

    def test_shots_and_gaps_part_a_person(self) -> None:
        frames = np.r_[5:20, 25:60]
        found, left_out = self.stretches(track(frames), shots=(0, 40))
        assert found == [(5, 20, 0), (25, 40, 0), (40, 60, 0)]
        assert left_out[NOBODY] == pytest.approx(10 / 30) and left_out[SEVERAL] == 0

    def test_two_at_once_are_left_out_and_two_in_turn_are_not_one(self) -> None:
        found, left_out = self.stretches(track(np.arange(40)), track(np.arange(30, 60)))
        assert found == [(0, 30, 0), (40, 60, 1)]
        assert left_out[SEVERAL] == pytest.approx(10 / 30)
        assert self.stretches(track(np.arange(30)), track(np.arange(30, 60)))[0] == [(0, 30, 0), (30, 60, 1)]

    def test_unsure_frames_count_as_nobody(self) -> None:
        confidence = np.r_[np.full(20, 0.9), np.full(10, 0.4), np.full(30, 0.5)]
        assert self.stretches(track(np.arange(60), confidence))[0] == [(0, 20, 0), (30, 60, 0)]

    def test_nobody(self) -> None:
        assert self.stretches()[0] == []


class TestCutClips:
    def test_a_whole_ratio_takes_the_motions_own_rows(self) -> None:
        times = 2.0 + np.arange(60) / 30
        person = track(np.arange(60))
        plans, short = cut_clips(Stretch(10, 58, person), times, INFO, CUTTING)
        assert [plan.frames.tolist() for plan in plans] == [list(range(10, 28, 2)), list(range(28, 46, 2))]
        assert [plan.start_s for plan in plans] == pytest.approx([2 + 10 / 30, 2 + 28 / 30])
        assert np.array_equal(plans[1].motion.transl, person.motion.transl[28:46:2]) and plans[1].motion.fps == 15
        assert short == pytest.approx((24 - 18) / 15)

    def test_an_odd_ratio_interpolates_at_the_times_of_the_frames(self) -> None:
        times = np.arange(60) / 25
        person = track(np.arange(60), fps=25)
        (plan, *_), _ = cut_clips(Stretch(0, 60, person), times, INFO, CUTTING)
        assert plan.frames.tolist() == [0, 2, 3, 5, 7, 8, 10, 12, 13]
        # the walk of `motion_of` is straight: 0.5 m a second along z
        assert plan.motion.transl[:, 2] == pytest.approx(3 + 0.5 * np.arange(9) / 15, abs=1e-5)

    def test_an_uneven_video_keeps_its_clock(self) -> None:
        times = np.cumsum(np.where(np.arange(60) % 2, 0.01, 0.05))
        person = track(np.arange(60), fps=100 / 3)
        plans, _ = cut_clips(Stretch(0, 60, person), times, INFO, CUTTING)
        shown = times[plans[0].frames]
        assert np.abs(shown - (times[0] + np.arange(9) / 15)).max() <= 0.025 + 1e-9

    def test_stride_overlaps_clips_and_a_short_stretch_gives_none(self) -> None:
        times, person = np.arange(60) / 15, track(np.arange(60), fps=15)
        plans, short = cut_clips(Stretch(0, 20, person), times, INFO, replace(CUTTING, stride=4))
        assert [int(plan.frames[0]) for plan in plans] == [0, 4, 8] and short == pytest.approx(3 / 15)
        assert cut_clips(Stretch(0, 8, person), times, INFO, CUTTING) == ([], pytest.approx(8 / 15))

    def test_a_track_with_gaps_gives_the_rows_of_its_frames(self) -> None:
        person = track(np.r_[0:5, 20:60], np.linspace(0.5, 1, 45), fps=15)
        (plan, *_), _ = cut_clips(Stretch(20, 40, person), np.arange(60) / 15, INFO, CUTTING)
        assert np.array_equal(plan.motion.transl, person.motion.transl[5:14])
        assert plan.confidence == pytest.approx(person.confidence[5:14].mean())


def test_rounded_times_still_take_rows() -> None:
    motion = motion_of(20, 30)
    positions = np.arange(0, 10, 2) + 2e-4
    assert np.array_equal(motion_at(motion, positions, 15).body_pose, motion.body_pose[:10:2])
    assert not np.array_equal(motion_at(motion, positions + 0.4, 15).body_pose, motion.body_pose[:10:2])
    assert np.array_equal(motion_at(motion, np.array([0, 0, 0.0]), 15).transl, motion.transl[[0, 0, 0]])


def test_a_portrait_video_is_letterboxed_with_its_camera(tmp_path: Path) -> None:
    video = shot(1, 20, 24, 48)
    write_video(tmp_path / "in" / "tall.mp4", video, 30, crf=1, full_chroma=True)
    motion = motion_of(20, 30, intrinsics=None)
    save_motion(tmp_path / "in" / "tall.npz", motion)
    (source,) = find_sources(tmp_path / "in")
    info, times, shots = look_at(source)
    assert (info.width, info.height, len(times), shots) == (24, 48, 20, [0])
    (person,) = label(source, info, 20, None)
    plans, _ = cut_clips(Stretch(0, 20, person), times, info, CUTTING)
    box = Letterbox(info.height, info.width, 32)
    (frames,) = clip_frames(source, plans, box)
    assert frames.shape == (9, 32, 32, 3)
    assert frames[:, :, :8].max() == 0 and frames[:, :, 24:].max() == 0 and frames[:, :, 8:24].max(-1).min() > 0
    expected = box.apply(video[plans[0].frames])
    assert np.abs(frames.astype(int) - expected).mean() < 3
    intrinsics = plans[0].motion.intrinsics
    assert intrinsics is not None
    square = box.intrinsics_to_square(intrinsics)
    assert square[0, 0] == pytest.approx(np.hypot(24, 48) * 32 / 48) and square[:2, 2] == pytest.approx(16)


def test_overlapping_clips_read_the_video_once_and_right(tmp_path: Path) -> None:
    write_walk(tmp_path / "walk.mp4", frames=20)
    (source,) = find_sources(tmp_path)
    info, times, _ = look_at(source)
    (person,) = label(source, info, 20, None)
    plans, _ = cut_clips(Stretch(0, 20, person), times, info, replace(CUTTING, stride=3))
    clips = list(clip_frames(source, plans, Letterbox(48, 48, 32)))
    assert len(clips) == 4
    assert np.array_equal(clips[0][3:], clips[1][:6]) and np.array_equal(clips[2][3:], clips[3][:6])
    assert not np.array_equal(clips[0], clips[1])


class TestLabel:
    def read(self, folder: Path, motion: Motion, fps: float = 15) -> list[PersonTrack]:
        write_video(folder / "walk.mp4", shot(0, 12), fps)
        save_motion(folder / "walk" / "motion.npz", motion)
        (source,) = find_sources(folder)
        return label(source, look_at(source)[0], 12, None)

    def test_a_file_beside_the_video_is_sure(self, tmp_path: Path) -> None:
        motion = motion_of(12, 15)
        (person,) = self.read(tmp_path, motion)
        assert np.array_equal(person.motion.transl, motion.transl) and person.confidence.min() == 1

    def test_world_motion_comes_into_the_camera(self, tmp_path: Path) -> None:
        camera = np.tile(np.diag([1.0, -1, -1, 1]), (12, 1, 1))
        camera[:, 1, 3] = 1.5
        motion = motion_of(12, 15, axes="world", cam2world=camera)
        (person,) = self.read(tmp_path, motion)
        expected = (pelvis_positions(motion) - [0, 1.5, 0]) * [1, -1, -1]
        assert person.motion.axes == "camera" and pelvis_positions(person.motion) == pytest.approx(expected, abs=1e-5)

    def test_a_motion_that_is_not_the_videos_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="12 frames, the motion beside it 11"):
            self.read(tmp_path / "a", motion_of(11, 15))
        with pytest.raises(InputError, match="15 frames per second, the motion beside it says 30"):
            self.read(tmp_path / "b", motion_of(12, 30))
        with pytest.raises(InputError, match="world motion without cam2world"):
            self.read(tmp_path / "c", motion_of(12, 15, axes="world"))

    def test_neither_motion_nor_extractor(self, tmp_path: Path) -> None:
        write_video(tmp_path / "walk.mp4", shot(0, 12), 15)
        (source,) = find_sources(tmp_path)
        with pytest.raises(InputError, match="no extractor was chosen"):
            label(source, INFO, 12, None)


def test_a_motion_of_smplx_goes_to_the_open_body_with_its_pelvis() -> None:
    motion = motion_of(9, 15, body="smplx")
    fitted = fit_motion(motion, INFO, "open")
    assert fitted.body == "open" and not fitted.betas.any()
    # the licensed body is not here, its mean rest pelvis stands for it
    assert np.abs(pelvis_positions(fitted) - motion.transl - [0.003, -0.351, 0.012]).max() < 0.1
    with pytest.raises(InputError, match="the bundle knows 'smplx'"):
        fit_motion(motion_of(9, 15), INFO, "smplx")


def test_shapes_that_change_become_one_and_constant_ones_stay_to_the_bit() -> None:
    motion = motion_of(9, 15)
    assert fit_motion(motion, INFO, "open").transl is motion.transl
    wavering = replace(motion, betas=motion.betas + np.linspace(0, 1, 9)[:, None])
    fitted = fit_motion(wavering, INFO, "open")
    assert np.ptp(fitted.betas, axis=0).max() == 0
    assert pelvis_positions(fitted) == pytest.approx(pelvis_positions(wavering), abs=1e-5)


class TestSources:
    def test_what_is_found_and_what_lies_beside_it(self, tmp_path: Path) -> None:
        for name in ("a/walk.mp4", "a/walk.npz", "a/walk.txt", "b c/run.MOV", "b c/run/motion.npz", "top.webm",
                     "clips/000001/rgb.mp4", "clips/000001/motion.npz", "clips/000001/clip.json", "notes.txt",
                     "result/run.json", "result/overlay.mp4", ".hidden/x.mp4", "a/.walk.part.mp4"):  # fmt: skip
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text('{"subject": "07", "text": "a walk"}' if name.endswith(".json") else "  two\n words ")
        found = {source.name: source for source in find_sources(tmp_path)}
        assert list(found) == ["a/walk.mp4", "b c/run.MOV", "clips/000001", "top.webm"]
        assert found["a/walk.mp4"].motion == tmp_path / "a/walk.npz"
        assert found["b c/run.MOV"].motion == tmp_path / "b c/run/motion.npz"
        assert found["top.webm"].motion is None
        assert found["clips/000001"].is_clip and found["clips/000001"].facts() == ("07", "a walk")
        assert found["a/walk.mp4"].facts() == ("a", "two words") and found["top.webm"].facts() == ("top", "")

    def test_linked_folders_are_read_once(self, tmp_path: Path) -> None:
        elsewhere, folder = tmp_path / "disk", tmp_path / "in"
        for path in (elsewhere / "walk.mp4", folder / "own" / "run.mp4"):
            path.parent.mkdir(parents=True)
            path.touch()
        (folder / "b").symlink_to(elsewhere, target_is_directory=True)
        (folder / "c").symlink_to(elsewhere, target_is_directory=True)
        (elsewhere / "back").symlink_to(folder, target_is_directory=True)
        assert [source.name for source in find_sources(folder)] == ["b/walk.mp4", "own/run.mp4"]

    def test_empty_missing_and_file(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no video in this folder"):
            find_sources(tmp_path)
        with pytest.raises(InputError, match="no such folder"):
            find_sources(tmp_path / "none")
        (tmp_path / "x.mp4").touch()
        with pytest.raises(InputError, match="this is a file"):
            find_sources(tmp_path / "x.mp4")
