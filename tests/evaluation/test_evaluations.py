"""The three evaluations on the debug bundle: known predictions score what they must, and numbers are what users get."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from ar_model.sampling import Sampling
from unimo.bundle import Bundle, load_bundle
from unimo.data.clips import ClipSet
from unimo.errors import InputError
from unimo.evaluation import capture as capture_module
from unimo.evaluation import generate as generate_module
from unimo.evaluation.capture import evaluate_capture
from unimo.evaluation.clip_motions import decoded_parts, true_parts
from unimo.evaluation.constant_pose import ConstantPose
from unimo.evaluation.generate import Generated, evaluate_generate
from unimo.evaluation.pose_errors import clip_joints
from unimo.evaluation.tokenizer import evaluate_tokenizer
from unimo.pipeline import UniMoPipeline

CONSTANT = ConstantPose(torch.eye(3).expand(22, 3, 3), torch.zeros(10), torch.eye(3), torch.tensor([0.0, 0.0, 3.0]))


@pytest.fixture
def bundle() -> Bundle:
    debug = load_bundle("debug")
    return Bundle(None, replace(debug.info, training={"constant_pose": CONSTANT.to_json()}))


def test_decoding_many_cameras_is_decoding_each_by_itself(clips: ClipSet, bundle: Bundle) -> None:
    tokenizer = UniMoPipeline(bundle).motion_tokenizer
    ids = torch.randint(512, (len(clips), 9, 36), generator=torch.Generator().manual_seed(0))
    joints = clip_joints(decoded_parts(tokenizer, ids, clips.intrinsics))
    for i in range(len(clips)):
        motion = tokenizer.decode_windows(ids[i : i + 1], float(clips.intrinsics[i, 0, 0]) / 32)[0]
        parts = {
            "rotations": torch.from_numpy(motion.rotations())[None],
            "betas": torch.from_numpy(motion.betas)[None],
            "transl": torch.from_numpy(motion.transl)[None],
        }
        torch.testing.assert_close(clip_joints(parts)[0], joints[i], rtol=1e-3, atol=1e-3)


def test_capture_of_a_clip_is_what_the_pipeline_gives_the_user(clips: ClipSet, bundle: Bundle) -> None:
    pipeline = UniMoPipeline(bundle)
    ids, nats = capture_module.capture_ids(pipeline, clips.frames, (3, 5), batch_size=4, num_samples=2)
    assert nats.shape == (len(ids),)
    parts = decoded_parts(pipeline.motion_tokenizer, ids, clips.intrinsics.repeat(2, axis=0), num_samples=2)
    focal = float(clips.intrinsics[1, 0, 0])
    result = pipeline.capture(clips.frames[1], fps=clips.fps, focal=focal, seed=5, num_samples=2)
    pelvis = torch.from_numpy(result.motion.transl)
    # the pipeline resamples and blends in float64 and through axis-angle
    torch.testing.assert_close(parts["transl"][3], pelvis, rtol=1e-2, atol=1e-2)


def test_perfect_capture_scores_zero_and_a_metre_of_offset_one_metre(
    clips: ClipSet, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = true_parts(clips)
    given = {key: value.repeat_interleave(2, 0) for key, value in truth.items()}
    monkeypatch.setattr(capture_module, "decoded_parts", lambda *_, **__: given)
    numbers = evaluate_capture(clips, bundle, seeds=(0, 1)).numbers
    for key in ("mpjpe_mm", "pa_mpjpe_mm", "accel_mm_per_frame2", "root_orientation_deg", "root_translation_m"):
        assert numbers[key] == pytest.approx(0, abs=0.05)
    assert numbers["ratio_to_constant_pose.mpjpe"] < 1e-3
    offset = torch.zeros(2 * len(clips), 1, 3)
    offset[1::2, :, 0] = 1.0
    given["transl"] = given["transl"] + offset
    numbers = evaluate_capture(clips, bundle, seeds=(0, 1)).numbers
    assert numbers["root_translation_m"] == pytest.approx(0.5, abs=1e-3)
    assert numbers["per_seed.root_translation_m"] == pytest.approx([0, 1], abs=1e-3)
    assert numbers["mpjpe_mm"] == pytest.approx(0, abs=0.05)


def test_one_sample_beside_the_mean_of_all_is_what_one_sample_alone_gives(clips: ClipSet, bundle: Bundle) -> None:
    mean, alone = (evaluate_capture(clips, bundle, (0, 1), num_samples=count).numbers for count in (2, 1))
    assert (mean["num_samples"], alone["num_samples"]) == (2, 1)
    assert mean["one_sample.mpjpe_mm"] == pytest.approx(alone["mpjpe_mm"], rel=1e-4)
    assert mean["mpjpe_mm"] != pytest.approx(alone["mpjpe_mm"], rel=1e-4)
    greedy = evaluate_capture(clips, bundle, (0,), temperature=0.0).numbers
    assert greedy["num_samples"] == 1


def test_capture_numbers_do_not_depend_on_the_batch_size(clips: ClipSet, bundle: Bundle) -> None:
    one, many = (evaluate_capture(clips, bundle, (0, 1), batch_size=size).numbers for size in (2, 8))
    assert one["mpjpe_mm"] == pytest.approx(many["mpjpe_mm"], rel=1e-3)
    assert one["fps"] == 15.0 and one["accel_m_per_s2"] == pytest.approx(one["accel_mm_per_frame2"] * 0.225)
    assert one["constant_pose.fitted_to"] == "training clips"


def test_the_constant_pose_is_measured_in_each_clips_own_camera(clips: ClipSet, bundle: Bundle) -> None:
    numbers = evaluate_capture(clips, bundle).numbers
    pelvis = clip_joints(true_parts(clips))[:, :, 0].numpy()
    depth = 3.0 * clips.intrinsics[:, 0, 0] / (1.2 * 32)
    own = np.stack([0 * depth, 0 * depth, depth], -1)[:, None]
    assert numbers["constant_pose.root_translation_m"] == pytest.approx(
        np.linalg.norm(pelvis - own, axis=-1).mean(), 1e-4
    )


def test_without_a_stored_constant_the_best_for_these_clips_is_fitted(clips: ClipSet) -> None:
    debug = load_bundle("debug")
    numbers = evaluate_capture(clips, debug).numbers
    assert numbers["constant_pose.fitted_to"] == "evaluated clips"
    arbitrary = evaluate_capture(
        clips, Bundle(None, replace(debug.info, training={"constant_pose": CONSTANT.to_json()}))
    ).numbers
    assert numbers["constant_pose.mpjpe_mm"] < arbitrary["constant_pose.mpjpe_mm"]


def test_tokenizer_numbers_are_complete_and_json(clips: ClipSet, bundle: Bundle) -> None:
    numbers = evaluate_tokenizer(clips, bundle, batch_size=3).numbers
    json.dumps(numbers, allow_nan=False)
    assert 0 < numbers["codebook_use"] <= 1 and 0 < numbers["visual_codebook_use"] <= 1
    assert 1 <= numbers["codebook_perplexity"] <= 512 and numbers["visual_codebook_perplexity"] >= 1
    assert "continuous.psnr_db" in numbers and numbers["first_frame_pose.mpjpe_mm"] > 0
    assert numbers["constant_pose.mpjpe_mm"] > 0 and numbers["constant_pose.fitted_to"] == "training clips"
    assert numbers["per_clip"]["constant_pose.mpjpe_mm"] == evaluate_capture(clips, bundle).numbers["per_clip"][
        "constant_pose.mpjpe_mm"
    ]
    plain = evaluate_tokenizer(clips, bundle, batch_size=3, decoders=("direct",)).numbers
    assert plain["psnr_db"] == pytest.approx(numbers["psnr_db"]) and "continuous.psnr_db" not in plain
    gain = numbers["psnr_in_mask_db"] - numbers["downsampled_16x.psnr_in_mask_db"]
    assert numbers["gain_over_downsampled_16x_in_mask_db"] == pytest.approx(gain)
    low, high = numbers["interval95.mpjpe_mm"]
    assert low <= numbers["mpjpe_mm"] <= high


def test_an_empty_mask_leaves_the_number_out(clips: ClipSet, bundle: Bundle) -> None:
    masks = np.zeros(clips.frames.shape[:4], bool)
    masks[0] = True
    numbers = evaluate_tokenizer(replace(clips, _masks=masks), bundle).numbers
    assert np.isfinite(numbers["psnr_in_mask_db"])
    numbers = evaluate_tokenizer(replace(clips, _masks=np.zeros_like(masks)), bundle).numbers
    assert numbers["psnr_in_mask_db"] is None and numbers["interval95.psnr_in_mask_db"] is None


def test_the_true_clips_as_generated_ones_score_as_the_data(
    clips: ClipSet, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Generated(clips.frames, true_parts(clips), clips.frames[:, 0], torch.ones(len(clips)))
    monkeypatch.setattr(generate_module, "generate_clips", lambda *_: made)
    numbers = evaluate_generate(clips, bundle, seeds=(0,)).numbers
    assert numbers["ratio_to_data.joint_speed"] == pytest.approx(1.0)
    assert numbers["first_frame_psnr_db"] > 100 and numbers["tokenizer.first_frame_psnr_db"] > 100
    key = "joint_color_difference_8bit"
    assert numbers[key] == pytest.approx(numbers[f"data.{key}"])


def test_generate_numbers_are_complete_and_the_first_frame_is_the_tokenizers(clips: ClipSet, bundle: Bundle) -> None:
    numbers = evaluate_generate(clips, bundle, seeds=(0, 1), batch_size=4).numbers
    json.dumps(numbers, allow_nan=False)
    assert numbers["first_frame_psnr_db"] == pytest.approx(numbers["tokenizer.first_frame_psnr_db"], abs=0.05)
    assert numbers["joint_speed_m_per_s"] > 0 and numbers["consistency.mpjpe_mm"] > 0
    for key in ("joint_speed_m_per_s", "consistency.mpjpe_mm", "joint_color_difference_8bit"):
        assert np.mean(numbers[f"per_seed.{key}"]) == pytest.approx(numbers[key])
    speeds = [numbers["per_clip"][f"{name}joint_speed_m_per_s"] for name in ("", "data.")]
    assert numbers["ratio_to_data.joint_speed"] == pytest.approx(np.sum(speeds[0]) / np.sum(speeds[1]))


def test_the_noise_of_a_clips_video_is_its_own_and_depends_on_no_other_seed_or_batch(
    clips: ClipSet, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []

    def draw(visual: torch.Tensor, seeds: list[int], decoding: dict) -> np.ndarray:
        drawn.extend(seeds)
        return np.zeros((len(visual), 9, 32, 32, 3), np.uint8)

    pipeline = UniMoPipeline(bundle)
    monkeypatch.setattr(pipeline, "draw", draw)
    generate_module.generate_clips(pipeline, clips, (1,), 1, Sampling())
    generate_module.generate_clips(pipeline, clips, (0, 1), 8, Sampling())
    alone, among = drawn[:4], drawn[4:]
    assert among[1::2] == alone and len({*among}) == 8


@pytest.mark.parametrize("change", [{"frames": 17}, {"side": 48}, {"fps": 30.0}])
def test_clips_of_another_kind_are_refused(bundle: Bundle, make_clips, change: dict) -> None:
    with pytest.raises(InputError, match=next(iter(change)) + " of the clips is"):
        evaluate_capture(make_clips(count=1, **change), bundle)
