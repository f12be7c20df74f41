"""What sweeps compare: the motion tokenizer, and the transformer.

In: data, or what draws it. Out: a `Study`, which `unimo.training.sweep` runs.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from unimo.data.tokens import TokenPack
from unimo.evaluation.token_capture import capture_from_tokens
from unimo.motion.tokenizer import MotionTokenizer
from unimo.training.ar import ArTask, ArTrainingConfig
from unimo.training.motion_pool import MotionDataConfig, MotionWindows
from unimo.training.motion_tokenizer import MotionTokenizerTask, MotionTokenizerTrainingConfig
from unimo.training.sweep import Study

MOTION_COLUMNS = (
    ("mpjpe_mm", "MPJPE, mm", 1),
    ("pa_mpjpe_mm", "PA-MPJPE, mm", 1),
    ("pve_low_poly_mm", "PVE (low-poly), mm", 1),
    ("accel_mm_per_frame2", "Accel, mm/frame²", 1),
    ("root_translation_m", "root, m", 3),
    ("root_drift_mm", "drift, mm", 0),
    ("foot_slide_mm_per_frame", "foot slide (camera frame), mm/frame", 1),
    ("codebook_use", "codes in use", 2),
)
AR_COLUMNS = (
    ("capture.mpjpe_mm", "capture MPJPE, mm", 0),
    ("capture.root_orientation_deg", "orientation, degrees", 1),
    ("v2m.motion_loss", "V2M, nats a motion code", 3),
    ("v2m.read_loss", "the same, codes before it random", 3),
    ("i2vm.motion_loss", "I2VM, nats a motion code", 3),
    ("i2vm.visual_loss", "nats a visual code", 3),
    ("video.visual_loss", "video alone, nats a visual code", 3),
    ("capture.seconds", "capture, CPU s a clip", 2),
)


def motion_study(draw: Callable[[MotionDataConfig], MotionWindows], device: str = "cpu") -> Study:
    """The motion tokenizer on windows that `draw` makes, anew when a configuration asks for others."""
    drawn: dict[MotionDataConfig, MotionWindows] = {}

    def task(config: MotionTokenizerTrainingConfig) -> MotionTokenizerTask:
        if config.data not in drawn:
            drawn.clear()
            drawn[config.data] = draw(config.data)
        return MotionTokenizerTask(config, drawn[config.data], device)

    def measure(task: MotionTokenizerTask) -> dict[str, float]:
        return {"parameters": sum(task.parameter_counts.values())}

    return Study(MotionTokenizerTrainingConfig, MOTION_COLUMNS, task, measure)


def ar_study(
    train: TokenPack,
    validation: TokenPack,
    tokenizer: MotionTokenizer,
    canonical_focal: float,
    codes: tuple[Tensor, Tensor],
    device: str = "cpu",
) -> Study:
    """The transformer on tokens; those that learn video-to-motion capture the validation clips."""

    def task(config: ArTrainingConfig) -> ArTask:
        return ArTask(config, train, validation, device=device, canonical_focal=canonical_focal, codes=codes)

    def measure(task: ArTask) -> dict[str, float]:
        model = task.shipped.eval()
        numbers: dict[str, float] = {"parameters": sum(value.numel() for value in model.parameters())}
        if "v2m" in task.config.data.tasks:
            clips = task.config.data.validation_clips
            found = capture_from_tokens(model, tokenizer, validation, clips, task.config.optimization.seed)
            numbers |= {f"capture.{key}": value for key, value in found.items()}
        return numbers

    return Study(ArTrainingConfig, AR_COLUMNS, task, measure, f"{len(train)} clips, tokens {train.tokenizers}")
