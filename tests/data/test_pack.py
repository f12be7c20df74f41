"""Packs: they hold what the engine draws for each seed, a stopped build goes on, an unfinished one is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from unimo.data import pack as module
from unimo.data.pack import ClipPack, build_pack
from unimo.errors import InputError
from unimo.motion.library import MotionLibrary
from unimo.motion.motion import Motion
from unimo.synth.gait import gait_library
from unimo.synth.render import render_clips
from unimo.synth.scene import SceneConfig

CONFIG = SceneConfig(side=32, frames=9)
EMPTY = MotionLibrary([])
pytestmark = pytest.mark.usefixtures("inline_pool")


def fake_clip(seed: int) -> SimpleNamespace:
    """A clip whose every value follows from its seed, drawn in no time."""
    rng = np.random.default_rng(seed)
    intrinsics = np.array([[30 + seed % 7, 0, 16], [0, 30 + seed % 7, 16], [0, 0, 1]], np.float32)
    betas = np.repeat(rng.normal(size=(1, 10)), 9, axis=0)
    motion = Motion(
        rng.normal(size=(9, 21, 3)), betas, rng.normal(size=(9, 3)), rng.normal(size=(9, 3)), fps=15, axes="camera",
        intrinsics=intrinsics,
    )  # fmt: skip
    rgb = rng.integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
    return SimpleNamespace(rgb=rgb, mask=rng.random((9, 32, 32)) < 0.3, motion=motion, subject=f"{seed % 5:02d}")


class Engine:
    """Stands in for `render_clips`: notes which seeds are drawn, and fails at one of them."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.drawn: list[int] = []
        self.fail_at = fail_at

    def __call__(self, library, seeds, config):
        for seed in seeds:
            if seed == self.fail_at:
                raise KeyboardInterrupt
            self.drawn.append(seed)
            yield fake_clip(seed)


def test_a_pack_holds_what_the_engine_draws(tmp_path) -> None:
    library, seeds = gait_library(2, seconds=3.0), [7, 3]
    pack = build_pack(tmp_path, library, seeds, CONFIG, workers=1)
    assert len(pack) == 2 and pack.fps == 15 and pack.seeds == seeds
    masks = pack.masks(np.array([0, 1]))
    for index, clip in enumerate(render_clips(library, seeds, CONFIG)):
        motion = pack.motion(index)
        assert np.array_equal(pack.frames[index], clip.rgb) and np.array_equal(masks[index], clip.mask)
        assert clip.mask.any() and pack.subjects[index] == clip.subject
        for name in ("body_pose", "betas", "global_orient", "transl", "intrinsics"):
            assert np.array_equal(getattr(motion, name), getattr(clip.motion, name)), name
        assert motion.axes == "camera" and motion.fps == clip.motion.fps


def test_a_stopped_build_draws_only_what_is_missing(tmp_path, monkeypatch) -> None:
    seeds = list(range(100, 120))
    monkeypatch.setattr(module, "render_clips", Engine(fail_at=117))
    with pytest.raises(KeyboardInterrupt):
        build_pack(tmp_path, EMPTY, seeds, CONFIG)
    with pytest.raises(InputError, match="no finished clip pack"):
        ClipPack(tmp_path)
    again, calls = Engine(), []
    monkeypatch.setattr(module, "render_clips", again)
    pack = build_pack(tmp_path, EMPTY, seeds, CONFIG, progress=lambda done, total: calls.append((done, total)))
    assert again.drawn == [116, 117, 118, 119] and calls == [(20, 20)]
    for index, seed in enumerate(seeds):
        clip = fake_clip(seed)
        assert np.array_equal(pack.frames[index], clip.rgb), seed
        assert np.array_equal(pack.motion(index).transl, clip.motion.transl)
        assert np.array_equal(pack.masks(np.array([index]))[0], clip.mask)
        assert pack.subjects[index] == clip.subject


def test_a_finished_pack_is_not_drawn_again(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "render_clips", Engine())
    build_pack(tmp_path, EMPTY, [1, 2], CONFIG)
    again = Engine()
    monkeypatch.setattr(module, "render_clips", again)
    assert len(build_pack(tmp_path, EMPTY, [1, 2], CONFIG)) == 2 and again.drawn == []


def test_a_pack_of_an_earlier_version_goes_on_unless_its_clips_were_others(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "render_clips", Engine())
    build_pack(tmp_path, EMPTY, [1, 2], CONFIG)
    request = json.loads((tmp_path / "request.json").read_text())
    later = {name: request["scene"].pop(name) for name in ("looks", "camera", "motion_blur", "sensor_noise", "tracks")}
    (tmp_path / "request.json").write_text(json.dumps(request))
    assert len(build_pack(tmp_path, EMPTY, [1, 2], CONFIG)) == 2 and later["looks"] == "basic"
    with pytest.raises(InputError, match="of other seeds, motions or scenes"):
        build_pack(tmp_path, EMPTY, [1, 2], replace(CONFIG, looks="varied"))


def test_a_pack_is_read_only(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "render_clips", Engine())
    pack = build_pack(tmp_path, EMPTY, [1], CONFIG)
    with pytest.raises(ValueError, match="read-only"):
        pack.frames[0] = 0


def test_a_folder_without_a_pack_says_where_it_looked(tmp_path) -> None:
    with pytest.raises(InputError, match="no finished clip pack here\n.*nothing_here"):
        ClipPack(tmp_path / "nothing_here")
