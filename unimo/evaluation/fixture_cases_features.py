"""Cases of the metric fixtures on features of motions: dance features, FID and diversity, text to motion, codebooks.

The contract is that of `fixture_cases_body`.
"""

from __future__ import annotations

import re
import warnings
from typing import Any

import torch
from torch import Tensor

from motion_tokenizer.config import MotionTokenizerConfig
from motion_tokenizer.quantizer import MotionQuantizer
from unimo.evaluation.fixture_cases_body import Arrays, Case, arrays, tensors
from unimo.metrics import distributions as dist
from unimo.metrics.codebook import codebook_perplexity, codebook_use
from unimo.metrics.difference_losses import l1_differences
from unimo.metrics.geometric_tests import BodyLengths
from unimo.metrics.motion_features import (
    BODY_LENGTHS,
    FINGER_BASES,
    WINDOW,
    from_first_root,
    geometric_features,
    joints24,
    kinetic_features,
)

_MOTIONGPT_EPS = 1e-7
_AVERAGED_ROWS = 60


def aist_features(inputs: Arrays, params: dict[str, Any], case: dict[str, Any]) -> Arrays:
    """Kinetic features in both forms and the field's geometric ones (always y up), of each motion by its number."""
    window, up = params.get("window", WINDOW), params.get("up", "y")
    strict, fixed = params.get("frame_time_kinetic"), params.get("frame_time_kinetic_fixed")
    defaults = zip(("hl", "sw", "hw"), BODY_LENGTHS, strict=True)
    lengths = BodyLengths(*(params.get(key, value) for key, value in defaults))
    found = {}
    for key, motion in tensors(inputs).items():
        number, upright = key.removeprefix("motion"), _y_up(motion, up)
        found[f"kinetic{number}"] = kinetic_features(upright, "strict", strict, window)
        found[f"kinetic_fixed{number}"] = kinetic_features(upright, "fixed", fixed, window)
        found[f"manual{number}"] = geometric_features(motion, "strict", params.get("frame_time_manual"), lengths)
    return arrays(found)


def _y_up(joints: Tensor, up: str) -> Tensor:
    if up not in ("y", "z"):
        raise ValueError(f'the up axis must be "y" or "z", not "{up}"')
    return joints if up == "y" else torch.stack([joints[..., 0], joints[..., 2], -joints[..., 1]], dim=-1)


def duolando_features(inputs: Arrays, params: dict[str, Any], case: dict[str, Any]) -> Arrays:
    """Duolando's way from 55 joints to the strict features, a row a sequence, of the true and of the predicted set."""
    data = tensors(inputs)
    found, sides = {}, ("left", "right")
    hands = [params.get(f"hand_idx_{side}", bases) for side, bases in zip(sides, FINGER_BASES, strict=True)]
    for side in ("gt", "pred"):
        keys = sorted(
            (key for key in inputs if re.fullmatch(rf"{side}\d+", key)), key=lambda key: int(key[len(side) :])
        )
        motions = [from_first_root(joints24(motion, hands)) for motion in (data[key] for key in keys)]
        found[f"kin_{side}"] = torch.stack([kinetic_features(motion) for motion in motions])
        found[f"man_{side}"] = torch.stack([geometric_features(motion) for motion in motions])
    return arrays(found)


def duolando_scores(inputs: Arrays, params: dict[str, Any], case: dict[str, Any]) -> Arrays:
    """FID and diversity of kinetic (k) and geometric (m) features, z-scored with the true set, strictly."""
    data, eps, found = tensors(inputs), params.get("eps_std", dist.STD_EPS), {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a constant feature is what one of the fixtures is about
        for kind in ("k", "m"):
            true = data[f"gt_{kind}"]
            ours, own = (dist.z_scores(side, true, eps) for side in (data[f"pred_{kind}"], true))
            found[f"fid_{kind}"] = dist.frechet_distance(ours, own)
            found[f"div_{kind}"] = dist.mean_pairwise_distance(ours)
            found[f"div_{kind}_gt"] = dist.mean_pairwise_distance(own)
    return arrays(found)


def frechet_and_average(inputs: Arrays, params: dict[str, Any], case: dict[str, Any]) -> Arrays:
    """FID as it is, and the mean distance of all pairs of the first rows of a (60 by the description)."""
    data = tensors(inputs)
    distance = dist.frechet_distance(data["a"], data["b"])
    rows = params.get("avg_distance_rows", _AVERAGED_ROWS)
    average = dist.mean_pairwise_distance(data["a"][:rows])
    return arrays({"fid_duolando": distance, "fid_t2m": distance, "avg_distance": average})


def text_to_motion(inputs: Arrays, params: dict[str, Any], case: dict[str, Any]) -> Arrays:
    """HumanML3D's scores; pairs come as indices."""
    data = tensors(inputs)
    text, motion = data["text_emb"], data["motion_emb"]
    found = {
        "r_precision": dist.r_precision(text, motion, batch=params["batch"]),
        "matching_score": dist.matching_distance(text, motion),
        "diversity": dist.pair_distance(motion, data["div_idx1"], data["div_idx2"]),
        "multimodality": dist.multimodality(data["mm_emb"], data["mm_idx1"], data["mm_idx2"]),
    }
    return arrays(found)


def codebook_numbers(inputs: Arrays, params: dict[str, Any], case: dict[str, Any]) -> Arrays:
    """Use, and perplexity with the small number that MotionGPT has in its logarithm."""
    ids, size = tensors(inputs)["indices"], params["codebook_size"]
    perplexity = codebook_perplexity(ids, size, params.get("eps", _MOTIONGPT_EPS))
    return arrays({"utilisation": codebook_use(ids, size), "perplexity": perplexity})


def quantizer_step(inputs: Arrays, params: dict[str, Any], case: dict[str, Any]) -> Arrays:
    """One training step of the motion tokenizer's quantiser.

    Once without replacing rare codes, for the moving averages, and once with: the codes that differ were replaced. The
    commitment is to the codes that stood before the step.
    """
    data, decay = tensors(inputs), params["decay"]
    rows = data["x_NCT"].transpose(1, 2)
    steady, reviving = (_quantizer(data, decay, threshold) for threshold in (0.0, params["threshold"]))
    _, ids, losses = steady.eval()(rows)
    for quantizer in (steady, reviving):
        quantizer.train()(rows)
    state: Any = steady.vq._codebook
    found = {
        "indices": ids.flatten(),
        "commit_loss": losses["commitment"],
        "new_codebook": steady.codebook,
        "reset_mask": (steady.codebook != reviving.codebook).any(dim=-1),
        "ema_count_after": state.cluster_size[0],
    }
    return arrays(found)


def _quantizer(data: dict[str, Tensor], decay: float, threshold: float) -> MotionQuantizer:
    size, dim = data["codebook"].shape
    config = MotionTokenizerConfig(
        strides=(1,), widths=(dim,), codebook_size=size, codebook_decay=decay, dead_code_threshold=threshold,
        kmeans_init=False,
    )  # fmt: skip
    quantizer = MotionQuantizer(config)
    state: Any = quantizer.vq._codebook
    with torch.no_grad():
        state.embed.copy_(data["codebook"][None])
        state.embed_avg.copy_(data["ema_sum"][None])
        state.cluster_size.copy_(data["ema_count"][None])
    return quantizer


def duolando_losses(inputs: Arrays, params: dict[str, Any], case: dict[str, Any]) -> Arrays:
    """L1 on values, velocities and accelerations, and their weighted sum."""
    data = tensors(inputs)
    values, velocity, acceleration = l1_differences(data["out"], data["target"])
    total = values + params["vel"] * velocity + params["acc"] * acceleration
    parts = {"recons": values, "velocity": velocity, "acceleration": acceleration}
    return arrays({**parts, "total_without_commit": total})


CASES: dict[str, Case] = {
    "AIST++ kinetic (72) and manual/geometric (32) features": aist_features,
    "Duolando feature pipeline": duolando_features,
    "Duolando FID_k, FID_g(=fid_m), DIV_k, DIV_g": duolando_scores,
    "Frechet distance, average pairwise distance": frechet_and_average,
    "HumanML3D R-precision top1-3, matching score (MM-Dist), Diversity, MultiModality": text_to_motion,
    "codebook utilisation and perplexity": codebook_numbers,
    "Jukebox/Duolando EMA codebook step": quantizer_step,
    "Duolando reconstruction losses": duolando_losses,
}
"""Metric of the index → case."""
