"""Token packs: ids belong to their clips, motion to the canonical camera, threads change nothing."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from unimo.bundle import Bundle, load_bundle
from unimo.data.tokens import TokenPack, tokenize_pack, weights_hash
from unimo.evaluation.pose_errors import clip_joints
from unimo.geometry.cameras import project
from unimo.geometry.rotations import axis_angle_to_matrix
from unimo.media.pixels import to_video
from unimo.motion.features import from_features

SIDE, FOCAL = 32, 1.2


class FakePack(SimpleNamespace):
    """Noise for pictures, people of random pose in front of cameras of different focal length."""

    def __len__(self) -> int:
        return len(self.frames)


def fake_pack(count: int = 5) -> FakePack:
    rng = np.random.default_rng(0)
    intrinsics = np.zeros((count, 3, 3), np.float32)
    intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = rng.uniform(0.9, 1.6, count) * SIDE
    intrinsics[:, :2, 2], intrinsics[:, 2, 2] = SIDE / 2, 1
    motions = {
        "body_pose": 0.3 * rng.normal(size=(count, 9, 21, 3)),
        "betas": np.repeat(rng.normal(size=(count, 1, 10)), 9, axis=1),
        "global_orient": np.array([np.pi, 0, 0]) + 0.2 * rng.normal(size=(count, 9, 3)),
        "transl": np.array([0.2, 0.3, 3.0]) + 0.1 * rng.normal(size=(count, 9, 3)),
    }
    frames = rng.integers(0, 256, (count, 9, SIDE, SIDE, 3), dtype=np.uint8)
    motions = {key: value.astype(np.float32) for key, value in motions.items()}
    return FakePack(frames=frames, motions=motions, intrinsics=intrinsics)


@pytest.fixture(scope="module")
def debug() -> Bundle:
    return load_bundle("debug")


@pytest.fixture(scope="module")
def tokens(debug) -> TokenPack:
    return tokenize_pack(fake_pack(), debug.visual_tokenizer, debug.motion_tokenizer, FOCAL)  # type: ignore[arg-type]


def test_ids_are_those_of_each_clip(debug, tokens) -> None:
    pack = fake_pack()
    assert tokens.visual_ids.shape == (5, 2, 2, 2) and tokens.motion_ids.shape == (5, 9, 36)
    with torch.inference_mode():
        for row in range(len(pack)):
            visual = debug.visual_tokenizer.encode(to_video(pack.frames[row : row + 1]))[0]
            motion = debug.motion_tokenizer.encode(torch.from_numpy(tokens.features[row : row + 1]))[0]
            assert np.array_equal(tokens.visual_ids[row], visual.numpy()), row
            assert np.array_equal(tokens.motion_ids[row], motion.numpy()), row


def test_motion_is_seen_by_the_canonical_camera(tokens) -> None:
    pack = fake_pack()
    parts = from_features(torch.from_numpy(tokens.features))
    pelvis = clip_joints(parts)[:, :, 0]
    canonical = torch.tensor([[FOCAL * SIDE, 0, SIDE / 2], [0, FOCAL * SIDE, SIDE / 2], [0, 0, 1]])
    seen = project(pelvis, canonical)
    # depth is scaled so that the size of a person stays: x/z · f is the same in both cameras only up to that scale
    own = {key: torch.from_numpy(value) for key, value in pack.motions.items()}
    depth = pelvis[..., 2] * torch.from_numpy(pack.intrinsics[:, 0, 0])[:, None] / (FOCAL * SIDE)
    true = clip_joints(parts_of(own))[:, :, 0]
    assert torch.allclose(depth, true[..., 2], atol=1e-4)
    assert torch.allclose(pelvis[..., :2], true[..., :2], atol=1e-4)
    own_pixels = project(true, torch.from_numpy(pack.intrinsics)[:, None])
    assert torch.allclose(seen, own_pixels, atol=1e-2)


def parts_of(motions: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    angles = torch.cat([motions["global_orient"][:, :, None], motions["body_pose"]], 2)
    return {"rotations": axis_angle_to_matrix(angles), "betas": motions["betas"], "transl": motions["transl"]}


def test_threads_and_batches_change_nothing_and_progress_is_told(debug, tokens) -> None:
    calls: list[tuple[int, int]] = []
    again = tokenize_pack(
        fake_pack(), debug.visual_tokenizer, debug.motion_tokenizer, FOCAL, batch_size=2, workers=2,
        progress=lambda done, total: calls.append((done, total)),
    )  # type: ignore[arg-type] # fmt: skip
    assert np.array_equal(again.visual_ids, tokens.visual_ids) and np.array_equal(again.motion_ids, tokens.motion_ids)
    assert calls == [(done, 3) for done in range(1, 4)]


def test_a_file_gives_back_what_was_saved(tokens, tmp_path) -> None:
    tokens.save(tmp_path / "tokens.npz")
    loaded = TokenPack.load(tmp_path / "tokens.npz")
    for name in ("visual_ids", "motion_ids", "features"):
        value = getattr(loaded, name)
        assert value.dtype == getattr(tokens, name).dtype and np.array_equal(value, getattr(tokens, name))
    assert [path.name for path in tmp_path.iterdir()] == ["tokens.npz"]


def test_the_hash_follows_what_decides_ids_and_nothing_behind_the_codes() -> None:
    bundle = load_bundle("debug")
    before = weights_hash(bundle.visual_tokenizer, bundle.motion_tokenizer)
    motion = bundle.component("motion_tokenizer")
    motion.freeze_codes()
    optimizer = torch.optim.SGD([p for p in motion.parameters() if p.requires_grad], lr=0.1)
    motion.train()(torch.randn(2, 9, 145)).losses["total"].backward()
    optimizer.step()
    assert weights_hash(bundle.visual_tokenizer, motion) == before
    with torch.no_grad():
        motion.encoder.layers[0].conv.bias += 1
    assert weights_hash(bundle.visual_tokenizer, motion) != before
