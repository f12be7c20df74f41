"""Parity of the visual tokenizers with Cosmos: the quantiser, the wavelets, the discrete and the continuous tokenizer.

In:  a `Case` (tensor names in each function). Out: its checks; sizes come from the case alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unimo.evaluation.parity_case import COEFFICIENTS, EXACT, LATENT, PIXELS, TABLE, Case
from visual_tokenizer import (
    ContinuousTokenizerConfig,
    ContinuousVisualTokenizer,
    DiscreteVisualTokenizer,
    VisualTokenizerConfig,
    haar_patch,
    haar_unpatch,
    rename_cosmos_keys,
)
from visual_tokenizer.autoencoder import CosmosAutoencoder
from visual_tokenizer.config import PATCH_SIZE
from visual_tokenizer.fsq import FSQ

_NETWORK: dict[str, Any] = dict(patch_size=PATCH_SIZE, patch_method="haar", num_groups=1, legacy_mode=False)
_NETWORK |= dict(z_factor=1, in_channels=3, out_channels=3, encoder="FACTORIZED", decoder="FACTORIZED")
_STATISTICS = frozenset({"latents_mean", "latents_std"})


def check_fsq(case: Case) -> None:
    """Checks in.z and in.z_boundary → ids and codes, in.index_list and in.index_video → codes, and bfloat16 latents."""
    fsq = FSQ(case.setting("levels"))
    case.compare("out.basis", fsq.basis, EXACT)
    case.compare("out.levels", fsq.sizes, EXACT)
    codes, ids = fsq(case.given("in.z"))
    case.compare("out.indices", ids, EXACT)
    case.compare("out.codes", codes, TABLE)

    probes = case.given("in.z_boundary")  # latents on both sides of every rounding threshold
    case.compare("out.bound_boundary", fsq.bound(probes), TABLE)
    codes, ids_of_probes = fsq(probes.movedim(-1, 1))
    case.compare("out.indices_boundary", ids_of_probes, EXACT)
    case.compare("out.codes_boundary", codes.movedim(1, -1), TABLE)

    listed = fsq.codes(case.given("in.index_list"))
    case.compare("out.codes_of_index_list", listed, TABLE)
    case.compare("out.codes_of_index_video", fsq.codes(case.given("in.index_video")), TABLE)

    codes, rounded = fsq(case.given("in.z").bfloat16())
    case.compare("out.codes_bf16_latent", codes, EXACT)
    case.compare("out.indices_bf16_latent", rounded, EXACT)
    note = "our ids: those of bfloat16 codes, which are exact"
    case.compare("out.indices_from_codes_bf16", ids, EXACT, note)
    case.compare("out.ar_token_ids", rounded, EXACT, note)


def check_haar(case: Case) -> None:
    """Checks SUB.in.x → coefficients and back, and SUB.in.coeff → video."""
    for sub in case.subcases():
        rule = case.setting(sub, case.setting("subcases"))
        side = case.setting("patch_size", rule)
        patched = haar_patch(case.given(f"{sub}.in.x"), side)
        case.compare(f"{sub}.out.patch", patched, COEFFICIENTS)
        case.compare(f"{sub}.out.roundtrip", haar_unpatch(patched, side), COEFFICIENTS)
        case.compare(f"{sub}.out.unpatch_of_random", haar_unpatch(case.given(f"{sub}.in.coeff"), side), LATENT)


@torch.inference_mode()
def check_discrete(case: Case) -> None:
    """Checks each clip: encoder, latents, ids, codes, reconstruction, and the video of SUB.in.random_indices."""
    levels = tuple(case.setting("levels", case.config))
    model = DiscreteVisualTokenizer(VisualTokenizerConfig(**_geometry(case), fsq_levels=levels)).eval()
    encodes, draws = _load(case, model)
    for sub in case.subcases():
        if encodes:
            codes, ids = model.quantizer(_encoded(case, sub, model, "pre_quant"))
            case.compare(f"{sub}.out.indices", ids, EXACT)
            case.compare(f"{sub}.out.codes", codes, TABLE)
            if draws:
                case.compare(f"{sub}.out.reconstruction", model.decode_latents(codes), PIXELS)
        if draws:
            codes = model.quantizer.codes(case.given(f"{sub}.in.random_indices"))
            case.compare(f"{sub}.out.video_of_random_indices", model.decode_latents(codes), PIXELS)


@torch.inference_mode()
def check_continuous(case: Case) -> None:
    """Checks each clip: encoder, latent, reconstruction, and the video of SUB.in.random_latent."""
    case.require({"formulation": "AE"}, case.config)
    channels = case.setting("latent_channels", case.config)
    model = ContinuousVisualTokenizer(ContinuousTokenizerConfig(**_geometry(case), latent_channels=channels)).eval()
    encodes, draws = _load(case, model, _STATISTICS)
    for sub in case.subcases():
        if encodes:
            latents = _encoded(case, sub, model, "latent")
            if draws:
                case.compare(f"{sub}.out.reconstruction", model.decode_latents(latents), PIXELS)
        if draws:
            video = model.decode_latents(case.given(f"{sub}.in.random_latent"))
            case.compare(f"{sub}.out.video_of_random_latent", video, PIXELS)


def _load(case: Case, model: CosmosAutoencoder, ours: frozenset[str] = frozenset()) -> tuple[bool, bool]:
    """Loads the weights and says whether the case encodes and whether it decodes.

    A case may be one half of a tokenizer alone (NVIDIA publishes the halves as files of their own): no weight of the
    other half, and no output that needs it.
    """
    weights = rename_cosmos_keys(case.weights())
    outputs = {name.split(".out.")[1] for name in case.tensors if ".out." in name}
    drawn = {name for name in outputs if name.startswith("video_of_random")}
    encodes = bool(outputs - drawn) or any(key.startswith("encoder.") for key in weights)
    draws = bool(outputs & (drawn | {"reconstruction"})) or any(key.startswith("decoder.") for key in weights)
    absent = (() if encodes else ("encoder.", "quant_conv.")) + (() if draws else ("decoder.", "post_quant_conv."))
    case.load(model, weights, ours | {key for key in model.state_dict() if key.startswith(absent)})
    return encodes, draws


def _geometry(case: Case) -> dict[str, Any]:
    """What both tokenizers' configurations share."""
    reference = case.config
    case.require(_NETWORK, reference)
    return {
        "channels": case.setting("channels", reference),
        "channel_multipliers": tuple(case.setting("channels_mult", reference)),
        "num_res_blocks": case.setting("num_res_blocks", reference),
        "z_channels": case.setting("z_channels", reference),
        "spatial_compression": case.setting("spatial_compression", reference),
        "temporal_compression": case.setting("temporal_compression", reference),
    }


def _encoded(case: Case, sub: str, model: CosmosAutoencoder, name: str) -> Tensor:
    """Checks the encoder and the latents of a clip, and returns the latents."""
    video = case.given(f"{sub}.in.video")
    if f"{sub}.out.encoder" in case.tensors:
        case.compare(f"{sub}.out.encoder", model.encoder(haar_patch(video)), LATENT)
    latents = model.latents(video)
    case.compare(f"{sub}.out.{name}", latents, LATENT)
    return latents
