"""How well a transformer reads motion from visual ids that are there already: no frames, no bundle.

In: a transformer, the motion tokenizer whose codes it writes, a `TokenPack`. Out: the errors of capture, units in keys.
Cameras are canonical, so root-aligned errors are those of the clips, translations those of a camera that is not theirs.
"""

from __future__ import annotations

import time

import numpy as np
import torch

from ar_model import Engine, UniMoTransformer
from unimo.data.tokens import TokenPack
from unimo.evaluation.pose_errors import pose_errors
from unimo.motion.features import from_features
from unimo.motion.tokenizer import MotionTokenizer

SAMPLES = 4
_BATCH = 8


@torch.inference_mode()
def capture_from_tokens(
    model: UniMoTransformer, tokenizer: MotionTokenizer, pack: TokenPack, clips: int, seed: int = 0
) -> dict[str, float]:
    """Captures the first clips of a pack, each as the mean of `SAMPLES` motions, as `unimo capture` does.

    Args:
        model: the transformer.
        tokenizer: whose codes it writes.
        pack: visual ids and true features.
        clips: how many of them.
        seed: of the first sample; the others count on from it.

    Returns:
        `mpjpe_mm`, `pa_mpjpe_mm`, `accel_mm_per_frame2`, `root_orientation_deg`, `root_translation_m`: means over the
        clips; `seconds`: CPU time of the transformer a clip, eight clips at a time.
    """
    engine, frames = Engine(model), pack.motion_ids.shape[1]
    visual = torch.from_numpy(pack.visual_ids[:clips].astype(np.int64))
    started, drawn = time.process_time(), []
    for batch in visual.split(_BATCH):
        first = seed + sum(map(len, drawn))
        seeds = range(first, first + SAMPLES * len(batch))
        drawn.append(engine.generate_motion(batch, frames, seeds=seeds, num_samples=SAMPLES).cpu())
    seconds = (time.process_time() - started) / len(visual)
    parts = from_features(tokenizer.features(torch.cat(drawn), SAMPLES).float().cpu())
    parts["betas"] = parts["betas"].mean(1, keepdim=True).expand_as(parts["betas"])
    truth = from_features(torch.from_numpy(pack.features[: len(visual)]))
    errors = pose_errors(parts, truth, tokenizer.body)
    return {key: float(value.mean()) for key, value in errors.items()} | {"seconds": seconds}
