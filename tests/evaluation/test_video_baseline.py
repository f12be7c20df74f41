"""The comparison with video alone: likelihoods as trained, videos from one picture, measures of known videos."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ar_model import ARConfig, SequenceLayout, UniMoTransformer
from ar_model.config import DepthConfig
from unimo.bundle import load_bundle
from unimo.data.clips import ClipSet
from unimo.errors import InputError
from unimo.evaluation.video_baseline import (
    Row,
    clip_ids,
    evaluate_video_baseline,
    video_numbers,
    visual_nats,
    write_video_ids,
)
from unimo.pipeline import UniMoPipeline

TOKEN = ARConfig(dim=24, layers=2, heads=2, kv_heads=1, ffn_hidden=48, visual_ids=64)
FRAME = replace(TOKEN, motion_layout="frame", depth=DepthConfig(dim=16, layers=1, heads=2, ffn_hidden=32, code_dim=4))


def model_of(config: ARConfig, seed: int = 0) -> UniMoTransformer:
    torch.manual_seed(seed)
    return UniMoTransformer(config).eval()


@pytest.mark.parametrize("config", [TOKEN, FRAME, replace(TOKEN, visual_embedding_rows=66)])
@pytest.mark.parametrize("task", ["video", "i2vm"])
@torch.no_grad()
def test_nats_are_those_of_training(config: ARConfig, task: str) -> None:
    model, generator = model_of(config), torch.Generator().manual_seed(1)
    visual = torch.randint(64, (9, 3, 2, 2), generator=generator)
    motion = torch.randint(512, (9, 17, 36), generator=generator)
    nats = visual_nats(model, visual, motion if task == "i2vm" else None)
    assert nats.shape == (9, 2)
    if task == "i2vm":
        layout = SequenceLayout("i2vm", 3, 2, 2, 17, motion_layout=config.motion_layout)
        tokens = layout.build(visual, motion)
    else:
        begins = config.visual_embedding_rows is not None
        layout = SequenceLayout("video", 3, 2, 2, begin_of_video=begins)
        tokens = layout.build(visual, begin_id=64 if begins else None)
    assert float(nats.mean()) == pytest.approx(float(model.loss(tokens, layout).visual), rel=1e-5)
    # only the second latent frame stands behind its motion
    other = visual.clone()
    other[:, 2] = (other[:, 2] + 1) % 64
    changed = visual_nats(model, other, motion if task == "i2vm" else None)
    assert torch.allclose(changed[:, 0], nats[:, 0], atol=1e-5) and not torch.allclose(changed[:, 1], nats[:, 1])


@pytest.mark.parametrize("task", ["video", "i2vm"])
def test_a_video_goes_on_from_its_picture_the_same_every_time(task: str) -> None:
    model, first = model_of(FRAME), torch.randint(64, (2, 2, 2), generator=torch.Generator().manual_seed(0))
    videos = [write_video_ids(model, task, first, 3, seed) for seed in (3, 3, 4)]
    assert videos[0].shape == (2, 3, 2, 2) and torch.equal(videos[0][:, 0], first)
    assert torch.equal(videos[0], videos[1]) and not torch.equal(videos[0], videos[2])


def test_known_videos_score_what_they_must(clips: ClipSet) -> None:
    pipeline, real = UniMoPipeline(load_bundle("debug")), np.asarray(clips.frames)
    still = np.broadcast_to(real[:, :1], real.shape)
    true, held = (video_numbers(pipeline, clips, frames, num_samples=1) for frames in (real, still))
    assert true["later_ssim"] == pytest.approx(1) and true["later_psnr_db"] > 90 and held["later_psnr_db"] < 12
    assert held["temporal_flickering"] == 1 and held["change_from_first_8bit"] == 0
    assert held["first_frame_psnr_db"] == true["first_frame_psnr_db"] > 90
    assert true["change_from_first_8bit"] == pytest.approx(85, abs=3)  # of independent even noise, 255 / 3
    assert true["captured.joint_speed_m_per_s"] > 0 and "captured.strict.fid_k" in true


def test_rows_stand_beside_the_truth_and_repeat(clips: ClipSet) -> None:
    bundle = load_bundle("debug")
    rows = {"alone": Row(model_of(FRAME), "video", {"minutes": 5}), "own": Row(bundle.component("ar_model"), "i2vm")}
    found, again = (evaluate_video_baseline(clips, bundle, rows, batch_size=3, num_samples=1) for _ in range(2))
    assert list(found.numbers["rows"]) == list(found.videos) == ["data", "tokenizer", "still_picture", "alone", "own"]
    alone = found.numbers["rows"]["alone"]
    assert (alone["task"], alone["minutes"]) == ("video", 5)
    visual, motion = clip_ids(UniMoPipeline(bundle), clips)
    assert alone["visual_nats"] == pytest.approx(float(visual_nats(rows["alone"].model, visual, None).mean()), rel=1e-5)
    own = found.numbers["rows"]["own"]["visual_nats"]
    assert own == pytest.approx(float(visual_nats(rows["own"].model, visual, motion).mean()), rel=1e-5)
    assert all(np.array_equal(found.videos[name], again.videos[name]) for name in found.videos)
    assert "visual_nats" not in found.numbers["rows"]["data"]


def test_a_transformer_of_other_ids_is_refused(clips: ClipSet) -> None:
    other = model_of(replace(TOKEN, visual_ids=65))
    with pytest.raises(InputError, match="'other' has other visual ids"):
        evaluate_video_baseline(clips, load_bundle("debug"), {"other": Row(other, "video")})
