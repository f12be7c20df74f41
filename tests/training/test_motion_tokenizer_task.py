"""Training of the motion tokenizer: variations stay bodies of the pool, batches depend on the step alone, it learns."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from motion_tokenizer import MotionTokenizerConfig
from unimo.body import load_body
from unimo.evaluation.reconstruction import reconstruction_metrics
from unimo.motion.features import FEATURE_SLICES, from_features, with_rotation_form
from unimo.motion.motion import Motion
from unimo.synth.scene import SceneConfig
from unimo.training.body_losses import BODY_LOSSES, BodyLosses
from unimo.training.config import OptimizationConfig
from unimo.training.loop import Trainer
from unimo.training.motion_pool import MotionDataConfig, MotionPool, MotionWindows, scene_features
from unimo.training.motion_tokenizer import MotionLossConfig, MotionTokenizerTask, MotionTokenizerTrainingConfig

SCENE = SceneConfig(frames=5, fps=15, side=32)
DATA = MotionDataConfig(windows=6, validation_windows=4)


@dataclass(frozen=True)
class Named:
    name: str
    subject: str
    motion: Motion
    text: str = ""


@pytest.fixture(scope="module")
def library() -> list[Named]:
    rng = np.random.default_rng(0)
    motions = []
    for index in range(2):
        sway = 0.3 * rng.normal(size=(1, 21, 3)) * np.sin(np.linspace(0, 6, 60))[:, None, None]
        path = np.linspace([0, 1, 0], [0.3, 1, 1], 60)
        motion = Motion(sway, np.zeros(10), np.zeros((60, 3)), path, fps=30, axes="world")
        motions.append(Named(f"m{index}", f"s{index}", motion))
    return motions


def training_config(**loss) -> MotionTokenizerTrainingConfig:
    model = MotionTokenizerConfig(
        widths=(32, 24, 16, 16), residual_layers=1, codebook_size=32, codebook_dim=4, codebook_cosine=True
    )
    optimization = OptimizationConfig(
        steps=6, batch_size=4, learning_rate=2e-3, warmup_steps=1, validate_every=100, checkpoint_every=3
    )
    return MotionTokenizerTrainingConfig(model, optimization, DATA, MotionLossConfig(**loss))


def task_of(library, **loss) -> MotionTokenizerTask:
    return MotionTokenizerTask(training_config(**loss), MotionWindows.draw(library, library, SCENE, 1.2, DATA))


def test_without_variation_the_pool_gives_back_its_windows_or_their_mirror_images(library):
    plain = MotionDataConfig(windows=1, swap=0, turn=0, shift=0, speed=SCENE.speed, rarity=SCENE.rarity)
    pool = MotionPool(library, replace(SCENE, shape_scale=0), 1.2, plain)
    batch = pool.batch(8, torch.Generator().manual_seed(0))
    source = scene_features(library, replace(SCENE, shape_scale=0), [0], 1.2)
    same = torch.tensor([torch.allclose(clip, source[0], atol=1e-5) for clip in batch])
    assert 0 < same.sum() < 8
    joints = [joints_of(clip[None])[0] for clip in (batch[~same][0], source[0])]
    flipped = joints[0] * torch.tensor([-1.0, 1.0, 1.0])
    # the open body is symmetric to a few millimetres: pelvis, then left and right wrists changed over
    for mine, other in ((0, 0), (20, 21), (21, 20), (7, 8)):
        assert (flipped[:, mine] - joints[1][:, other]).norm(dim=-1).max() < 0.02


def joints_of(features: torch.Tensor) -> torch.Tensor:
    parts = from_features(features)
    flat = [parts[key].flatten(0, 1) for key in ("rotations", "betas", "transl")]
    return load_body().joints(*flat).unflatten(0, features.shape[:2])


def test_exchanged_limbs_come_from_the_pool_and_leave_the_root_alone(library):
    data = MotionDataConfig(windows=4, swap=1, turn=0, shift=0)
    pool = MotionPool(library, SCENE, 1.2, data)
    elbow = slice(6 * 17, 6 * 18)
    seen, roots = set(), set()
    for seed in range(4):
        batch = pool.batch(8, torch.Generator().manual_seed(seed))
        assert torch.isfinite(batch).all()
        seen |= {round(float(clip[0, elbow].abs().sum()), 3) for clip in batch}
        roots |= {round(float(clip[0, FEATURE_SLICES["orientation"]].abs().sum()), 3) for clip in batch}
    # each of the four windows gives two right elbows, its own and its mirrored left one
    assert len(roots) <= 4 and 1 < len(seen) <= 8


def test_a_batch_depends_on_the_step_alone(library):
    task = task_of(library)
    first, other = task.batch(3)["features"], task.batch(4)["features"]
    assert torch.equal(first, task.batch(3)["features"]) and not torch.equal(first, other)


def test_metrics_of_a_perfect_and_of_a_shifted_reconstruction(library):
    features = task_of(library).validation
    perfect = reconstruction_metrics(features, features)
    assert max(perfect[key] for key in ("mpjpe_mm", "root_drift_mm", "root_translation_m")) < 1e-2
    shifted = features.clone()
    shifted[:, 0, 142] += 0.1
    metrics = reconstruction_metrics(shifted, features)
    assert metrics["root_translation_m"] == pytest.approx(0.1, abs=1e-4)
    assert metrics["mpjpe_mm"] < 1e-2 and metrics["root_drift_mm"] < 1e-2
    drifting = features.clone()
    drifting[:, 1:, 142] += 0.01
    numbers = reconstruction_metrics(drifting, features)
    assert numbers["root_drift_mm"] == pytest.approx(40, abs=0.1)
    assert numbers["pve_low_poly_mm"] < 1e-2 and numbers["accel_mm_per_frame2"] < 1e-2


def test_a_bent_elbow_moves_the_vertices_of_the_arm(library):
    features = task_of(library).validation
    bent = features.clone()
    bent[..., 6 * 17 : 6 * 18] = torch.tensor([0.0, 1, 0, -1, 0, 0])
    numbers = reconstruction_metrics(bent, features)
    assert numbers["pve_low_poly_mm"] > 5 and numbers["mpjpe_mm"] > 5 and numbers["root_drift_mm"] < 1e-2


def test_windows_may_have_a_length_of_their_own(library):
    windows = MotionWindows.draw(library, library, SCENE, 1.2, replace(DATA, frames=8))
    assert windows.validation.shape[1:] == (8, 145)
    assert windows.pool.batch(2, torch.Generator().manual_seed(0)).shape == (2, 8, 145)


@pytest.mark.parametrize("form", ["sixd", "matrix", "axis_angle"])
def test_body_losses_are_zero_for_the_truth_and_know_what_they_are_for(library, form):
    features = with_rotation_form(task_of(library).validation, form)
    losses = BodyLosses("open")
    assert all(float(value) < 1e-3 for value in losses(features, features, BODY_LOSSES).values())
    assert list(losses(features, features, {"drift": 1.0})) == ["drift"]
    drifting = features.clone()
    drifting[:, 1:, -3] += 0.01
    numbers = losses(drifting, features, BODY_LOSSES)
    assert float(numbers["joints"]) < 1e-3 and float(numbers["vertices"]) < 1e-3
    # a third of 0, 1, 2, 3, 4 cm on average, in units of 10 cm
    assert float(numbers["drift"]) == pytest.approx(0.02 / 3 / 0.1, rel=1e-3)


def test_contact_counts_standing_feet_only(library):
    still = task_of(library).validation[:1]
    still = still[:, :1].expand(-1, 5, -1).clone()
    still[:, 1:, 142:] = 0
    sliding = still.clone()
    sliding[:, 1:, 142] += 0.03
    losses = BodyLosses("open")
    # every foot stands in truth: 3 cm a frame on one of three axes, in units of 1 cm
    assert float(losses(sliding, still, {"contact"})["contact"]) == pytest.approx(1, rel=1e-3)
    # in truth every foot moves: nothing to hold
    assert float(losses(still, sliding, {"contact"})["contact"]) == 0


@pytest.mark.parametrize("form", ["matrix", "axis_angle"])
def test_other_forms_of_rotations_train(library, form, tmp_path):
    dims = {"matrix": (189, 10, 9, 3), "axis_angle": (63, 10, 3, 3)}[form]
    config = training_config(joints=1.0, drift=1.0, contact=0.1, vertices=0.1)
    config = replace(config, model=replace(config.model, expert_dims=dims))
    task = MotionTokenizerTask(config, MotionWindows.draw(library, library, SCENE, 1.2, DATA))
    metrics = Trainer(task, config.optimization, tmp_path).run()
    assert np.isfinite(metrics["mpjpe_mm"]) and metrics["mpjpe_mm"] < 1000


def test_the_step_that_starts_the_codebook_sees_enough_vectors(library):
    task = task_of(library, quantize_after=2)
    # 32 codes x 8 vectors fit into 2 windows of 5 frames x 36: the batch of 4 will do
    assert len(task.batch(2)["features"]) == 4
    few = replace(task.config, model=replace(task.config.model, strides=(1, 1, 1, 1)))
    task = MotionTokenizerTask(few, MotionWindows.draw(library, library, SCENE, 1.2, DATA))
    assert [len(task.batch(step)["features"]) for step in (1, 2, 3)] == [4, 52, 4]


def test_a_run_starts_the_codebook_when_told_and_resumes_to_the_same_numbers(library, tmp_path):
    losses = dict(joints=1.0, drift=1.0, quantize_after=2)
    # a constant rate: the decay follows `steps`, which differ between the two halves and the whole
    constant = replace(training_config(**losses).optimization, final_rate=1.0)
    whole = task_of(library, **losses)
    initted = whole.model.quantizer.vq._codebook.initted  # type: ignore[union-attr]
    assert not bool(initted)
    Trainer(whole, constant, tmp_path / "whole").run()
    assert bool(initted)
    Trainer(task_of(library, **losses), replace(constant, steps=3), tmp_path / "halves").run()
    resumed = task_of(library, **losses)
    trainer = Trainer(resumed, constant, tmp_path / "halves", resume=True)
    assert trainer.step == 3
    trainer.run()
    files = [load_file(tmp_path / way / "step_00000006.safetensors") for way in ("whole", "halves")]
    assert files[0].keys() == files[1].keys() and any(key.startswith("optimizer.") for key in files[0])
    assert all(torch.equal(value, files[1][key]) for key, value in files[0].items())


@pytest.mark.parametrize("dims", [(126, 10, 6, 4), (120, 16, 6, 3)])
def test_experts_that_do_not_fit_the_features_are_refused(dims):
    config = training_config()
    with pytest.raises(ValueError, match="features a frame|expert_dims must be"):
        replace(config, model=replace(config.model, expert_dims=dims))
