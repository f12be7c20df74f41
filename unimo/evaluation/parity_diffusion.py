"""Parity of the diffusion decoder with Cosmos: the network, its conditioning, the sampler and the windows.

In:  a `Case` (tensor names in each function). Out: its checks; sizes come from the case alone.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from unimo.evaluation.parity_case import DIT, EXACT, TABLE, Case
from visual_tokenizer import DiffusionDecoder, DiffusionDecoderConfig, rename_diffusion_decoder_keys
from visual_tokenizer.diffusion_sampler import RHO, SIGMA_MAX, SIGMA_MIN, DiffusionSampler, noise_levels
from visual_tokenizer.diffusion_windows import reference_blend, reference_split

_SAMPLER = {"sigma_max": SIGMA_MAX, "sigma_min": SIGMA_MIN, "rho": RHO}
_LEVELS = re.compile(r"(sigmas|timesteps)(?:_(\d+))?")
_SPLIT = re.compile(r"split_T(\d+)_chunk(\d+)")
_BLEND = re.compile(r"blend_D(\d+)")


@torch.inference_mode()
def check_diffusion(case: Case) -> None:
    """Checks one forward pass with and without condition, a guided sample, and every table, split and blend."""
    case.require(_SAMPLER, case.config)
    model = _build(case)
    ids, text, fps = case.given("in.tokens")[:, 0], case.given("in.context"), float(case.given("in.fps")[0])
    latents, time = case.given("in.x"), case.given("in.timestep")
    case.compare("out.net_cond", model(latents, time, ids, text, fps), DIT)
    nothing = model(latents, time, torch.zeros_like(ids), torch.zeros_like(text), fps)
    case.compare("out.net_uncond", nothing, DIT, "text zeros and ids 0")

    steps, guidance = case.setting("steps", case.config), case.setting("guidance", case.config)
    sampled = DiffusionSampler(model).sample(ids, case.given("in.unit_noise"), text, fps, steps, guidance)
    case.compare("out.sample", model.config.sigma_data * sampled, DIT)

    for name in case.expected():
        if name == "token_condition_TCHW":
            case.compare(f"out.{name}", model.condition(ids)[0].transpose(0, 1), TABLE)
        elif name == "rope_freqs":
            _compare_rope(case, model, latents, fps)
        elif match := _LEVELS.fullmatch(name):
            levels = noise_levels(int(match[2] or steps))
            case.compare(f"out.{name}", levels if match[1] == "sigmas" else 0.25 * levels[:-1].log(), TABLE)
        elif match := _SPLIT.fullmatch(name):
            _compare_split(case, name, int(match[1]), int(match[2]))
        elif match := _BLEND.fullmatch(name):
            count = sum(key.startswith("in.blend_video") for key in case.tensors)
            videos = [case.given(f"in.blend_video{index}") for index in range(count)]
            case.compare(f"out.{name}", reference_blend(videos, int(match[1])), TABLE)


def _build(case: Case) -> DiffusionDecoder:
    reference = case.config
    heads, side = case.setting("num_heads", reference), case.setting("max_img", reference)
    patch, rope = case.setting("patch_spatial", reference), case.setting("rope_hwt_ratio", reference)
    config = DiffusionDecoderConfig(
        num_blocks=case.setting("num_blocks", reference),
        num_heads=heads,
        head_dim=case.setting("model_channels", reference) // heads,
        latent_channels=case.setting("latent_ch", reference),
        num_ids=case.setting("voc", reference),
        token_dim=case.setting("tok_dim", reference),
        text_dim=case.setting("ctx_dim", reference),
        adaln_lora_dim=case.setting("lora", reference),
        mlp_ratio=case.setting("mlp_ratio", reference),
        max_size=(max(128, case.given("in.x").shape[2]), side, side),
        patch_size=(1, patch, patch),
        rope_scale=(rope[2], rope[0], rope[1]),
        base_fps=case.setting("base_fps", reference),
        sigma_data=case.setting("sigma_data", reference),
    )
    model = DiffusionDecoder(config).eval()
    case.load(model, rename_diffusion_decoder_keys(case.weights()))
    return model


def _compare_rope(case: Case, model: DiffusionDecoder, latents: Tensor, fps: float) -> None:
    """Compares cosines and sines, because angles are not kept."""
    angles = case.given("out.rope_freqs")
    found = torch.stack(model.transformer.rope(latents, fps=fps))  # pyright: ignore[reportCallIssue]
    note = "cos and sin of the angles"
    case.compare("out.rope_freqs", found, TABLE, note, expected=torch.stack([angles.cos(), angles.sin()]))


def _compare_split(case: Case, name: str, frames: int, chunk: int) -> None:
    """The reference split a clip that counts 0, 1, 2, ... over (frames, rows, columns)."""
    batch, channels, window, *cell = case.given(f"out.{name}").shape
    counted = torch.arange(batch * channels * frames * cell[0] * cell[1]).view(batch, channels, frames, *cell)
    parts = reference_split(counted, window)
    case.compare(f"out.{name}", parts[chunk], EXACT, f"chunk {chunk} of {len(parts)} of a counting clip")
