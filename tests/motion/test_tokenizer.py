"""The wrapper around the motion tokenizer, with a leaf that loses nothing: what is lost is the wrapper's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from motion_tokenizer import MotionTokenizerConfig
from unimo.bundle import load_bundle
from unimo.errors import InputError
from unimo.metrics.pose import mpjpe_mm, pa_mpjpe_mm
from unimo.motion.frames import joint_positions
from unimo.motion.motion import Motion
from unimo.motion.tokenizer import MotionTokenizer, join
from unimo.pipeline import UniMoPipeline
from unimo.synth.gait import gait_library


class Lossless(torch.nn.Module):
    """Ids are row numbers of the features that were encoded."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.features = torch.zeros(0, 17, 145)
        self.config = MotionTokenizerConfig()

    def encode(self, features: torch.Tensor) -> torch.Tensor:
        first = len(self.features)
        self.features = torch.cat([self.features, features])
        return torch.arange(first, len(self.features))[:, None, None].expand(-1, features.shape[1], 36)

    def decode(self, ids: torch.Tensor) -> torch.Tensor:
        return self.features[ids[:, 0, 0]]


def wrapper(model: torch.nn.Module, canonical_focal: float = 1.2) -> MotionTokenizer:
    return MotionTokenizer(model, fps=15.0, frames=17, side=128, canonical_focal=canonical_focal)  # type: ignore[arg-type]


def walk(frames: int, fps: float = 15.0, focal: float = 100.0) -> Motion:
    """A smooth motion in front of a camera whose picture is 120×80."""
    time = np.arange(frames)[:, None] / fps
    return Motion(
        body_pose=0.3 * np.sin(time[:, :, None] + np.arange(63).reshape(1, 21, 3)),
        betas=np.linspace(-1, 1, 10),
        global_orient=np.array([3.0, 0.2, 0.1]) + 0.2 * time,
        transl=np.array([0.2, 0.3, 3.0]) + 0.3 * time,
        fps=fps,
        intrinsics=np.array([[focal, 0, 60], [0, focal, 40], [0, 0, 1]]),
    )


@pytest.mark.parametrize("frames", [1, 9, 17, 18, 50])
def test_a_motion_of_any_length_comes_back(frames: int) -> None:
    motion, tokenizer = walk(frames), wrapper(Lossless())
    tokens = tokenizer.encode(motion)
    assert tokens.focal == pytest.approx(100 / 120) and tokens.ids.shape[1:] == (17, 36)
    back = tokenizer.decode(tokens)
    assert (len(back), back.fps, back.axes) == (frames, 15.0, "camera")
    assert np.abs(joint_positions(back) - joint_positions(motion)).max() < 1e-4


def test_tokens_see_the_canonical_camera_not_the_source() -> None:
    """The same picture of a person twice as far with twice the focal length has the same tokens."""
    seen = []
    for focal in (100.0, 200.0):
        motion = walk(17, focal=focal)
        pelvis = joint_positions(motion)[:, 0]
        transl = motion.transl.copy()
        transl[:, 2] += pelvis[:, 2] * (focal / 100 - 1)
        model = Lossless()
        wrapper(model).encode(replace(motion, transl=transl))
        seen.append(model.features)
    assert torch.allclose(*seen, atol=1e-5)


def test_another_frame_rate_is_resampled_not_relabelled() -> None:
    motion, tokenizer = walk(33, fps=30.0), wrapper(Lossless())
    back = tokenizer.decode(tokenizer.encode(motion))
    assert (len(back), back.fps) == (17, 15.0)
    assert np.abs(joint_positions(back) - joint_positions(motion)[::2]).max() < 1e-4


def test_refused_motions() -> None:
    tokenizer = wrapper(Lossless())
    with pytest.raises(InputError, match="the tokenizer knows the body 'open', the motion is of 'smplx'"):
        tokenizer.encode(replace(walk(3), body="smplx"))
    with pytest.raises(
        InputError, match="the motion has no intrinsics, so its focal length is unknown\n  try: give foc"
    ):
        tokenizer.encode(replace(walk(3), intrinsics=None))
    assert len(tokenizer.encode(replace(walk(3), intrinsics=None), focal=1.0).spans) == 1
    with pytest.raises(InputError, match="camera axes"):
        tokenizer.encode(replace(walk(3), axes="world"))


def test_refused_ids() -> None:
    tokenizer = wrapper(load_bundle("debug").motion_tokenizer)
    for ids in (torch.zeros(1, 9, 35, dtype=torch.int64), torch.full((1, 9, 36), 512)):
        with pytest.raises(InputError, match="these are no ids of this motion tokenizer: ids must"):
            tokenizer.decode_windows(ids, 1.0)


def test_joined_pieces_share_one_shape_and_keep_the_pelvis() -> None:
    first, second = walk(3), replace(walk(4), betas=np.full(10, 2.0))
    whole = join([None, first, second, None])
    assert (whole.betas == whole.betas[0]).all()
    expected = np.concatenate([joint_positions(first)[:, 0], joint_positions(second)[:, 0]])
    assert np.allclose(joint_positions(whole)[:, 0], expected, atol=1e-5)
    with pytest.raises(InputError, match="there is no motion to join"):
        join([None])


def test_samples_of_a_window_are_averaged() -> None:
    tokenizer = wrapper(load_bundle("debug").motion_tokenizer)
    ids = torch.randint(512, (6, 9, 36), generator=torch.Generator().manual_seed(0))
    alone, mean = tokenizer.features(ids), tokenizer.features(ids, 3)
    assert mean.shape == (2, 9, 145)
    assert torch.allclose(mean[1], alone[3:].mean(0), atol=1e-6)
    assert len(tokenizer.decode_windows(ids, 1.0, 3)) == 2
    with pytest.raises(InputError, match="6 rows of ids are no whole windows of 4 samples each"):
        tokenizer.features(ids, 4)


def test_a_batch_of_motions_gives_what_each_gives_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = wrapper(load_bundle("debug").motion_tokenizer)
    motions = [walk(40), walk(5), walk(18, focal=80.0)]
    together = tokenizer.encode_batch(motions)
    assert [len(tokens.spans) for tokens in together] == [3, 1, 2]
    decoded = tokenizer.decode_batch(together)
    monkeypatch.setattr("unimo.motion.tokenizer._BATCH", 2)
    for motion, tokens, back in zip(motions, tokenizer.encode_batch(motions), decoded, strict=True):
        alone = tokenizer.encode(motion)
        assert torch.equal(alone.ids, tokens.ids) and alone.focal == tokens.focal
        assert np.allclose(joint_positions(tokenizer.reconstruct(motion)), joint_positions(back), atol=1e-5)


def test_usage_of_the_codebook() -> None:
    tokenizer = wrapper(load_bundle("debug").motion_tokenizer)
    tokens = replace(tokenizer.encode(walk(17)), ids=torch.tensor([[[0, 1], [2, 3]]]))
    usage = tokenizer.codebook_usage([tokens, tokens])
    assert usage.counts.shape == (512,) and usage.counts[:5].tolist() == [2, 2, 2, 2, 0]
    assert usage.share == pytest.approx(4 / 512) and usage.perplexity == pytest.approx(4)


def turned_camera(motion: Motion) -> Motion:
    """The same motion seen by a camera that stands elsewhere and is turned by 40 degrees about the vertical."""
    turn = Rotation.from_euler("y", 40, degrees=True).as_matrix()
    pelvis = joint_positions(motion)[:, 0]
    moved = (pelvis - pelvis.mean(0)) @ turn.T + pelvis.mean(0) + np.array([0.3, 0.1, 0.5])
    orient = (Rotation.from_matrix(turn) * Rotation.from_rotvec(motion.global_orient)).as_rotvec()
    rest = pelvis - motion.transl
    return replace(motion, global_orient=orient, transl=moved - rest)


def test_another_camera_changes_tokens_but_hardly_the_error_of_the_pose() -> None:
    tokenizer = UniMoPipeline.from_pretrained("mini").motion_tokenizer
    intrinsics = np.array([[150.0, 0, 64], [0, 150, 64], [0, 0, 1]])
    camera = Rotation.from_euler("x", 180, degrees=True).as_matrix()
    errors = {f"{kind} {way}": [] for kind in ("PA-MPJPE", "MPJPE") for way in ("seen", "turned")}
    for named in gait_library(count=8, seed=1, seconds=1.2, fps=15.0):
        world = named.motion
        pelvis = joint_positions(world)[:, 0]
        orient = (Rotation.from_matrix(camera) * Rotation.from_rotvec(world.global_orient)).as_rotvec()
        place = (pelvis - pelvis.mean(0)) @ camera.T + np.array([0, 0, 3.0])
        motion = replace(
            world, axes="camera", intrinsics=intrinsics, global_orient=orient, transl=place - (pelvis - world.transl)
        )
        other = turned_camera(motion)
        ids = [tokenizer.encode(item).ids for item in (motion, other)]
        assert (ids[0] != ids[1]).float().mean() > 0.2
        for way, item in zip(("seen", "turned"), (motion, other), strict=True):
            joints = [torch.from_numpy(joint_positions(x)) for x in (tokenizer.reconstruct(item), item)]
            errors[f"PA-MPJPE {way}"].append(float(pa_mpjpe_mm(*joints).mean()))
            errors[f"MPJPE {way}"].append(float(mpjpe_mm(*joints).mean()))
    means = {key: float(np.mean(value)) for key, value in errors.items()}
    for kind in ("PA-MPJPE", "MPJPE"):
        assert means[f"{kind} seen"] < 40, means
        assert means[f"{kind} turned"] == pytest.approx(means[f"{kind} seen"], rel=0.25), means
