"""Names of NVIDIA's diffusion decoder weights -> names of `DiffusionDecoder`, and what their shapes tell.

In: a state dict as published (keys such as `net.blocks.block0.blocks.0.block.attn.to_q.0.weight`). Out: the same
tensors under our names; the unused `logvar.*` and the stored constant `pos_embedder.seq` are left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

_UNUSED = re.compile(r"^logvar\.|^pos_embedder\.seq$|_extra_state$")
_PARTS = {"0": ("norm1", "attn1"), "1": ("norm2", "attn2"), "2": ("norm3", "ff")}
_BLOCK = re.compile(r"^blocks\.block(\d+)\.blocks\.([012])\.(.+)$")
_INSIDE_BLOCK = {
    "adaLN_modulation.1.weight": "{norm}.linear_1.weight",
    "adaLN_modulation.2.weight": "{norm}.linear_2.weight",
    "block.attn.to_q.0.weight": "{branch}.to_q.weight",
    "block.attn.to_k.0.weight": "{branch}.to_k.weight",
    "block.attn.to_v.0.weight": "{branch}.to_v.weight",
    "block.attn.to_q.1.weight": "{branch}.norm_q.weight",
    "block.attn.to_k.1.weight": "{branch}.norm_k.weight",
    "block.attn.to_out.0.weight": "{branch}.to_out.0.weight",
    "block.layer1.weight": "{branch}.net.0.proj.weight",
    "block.layer2.weight": "{branch}.net.2.weight",
}
_BLOCK_NUMBER = re.compile(r"^transformer\.transformer_blocks\.(\d+)\.")
_OUTSIDE = {
    "token_embedder.weight": "token_embedder.weight",
    "x_embedder.proj.1.weight": "transformer.patch_embed.proj.weight",
    "t_embedder.1.linear_1.weight": "transformer.time_embed.t_embedder.linear_1.weight",
    "t_embedder.1.linear_2.weight": "transformer.time_embed.t_embedder.linear_2.weight",
    "affline_norm.weight": "transformer.time_embed.norm.weight",
    "final_layer.adaLN_modulation.1.weight": "transformer.norm_out.linear_1.weight",
    "final_layer.adaLN_modulation.2.weight": "transformer.norm_out.linear_2.weight",
    "final_layer.linear.weight": "transformer.proj_out.weight",
}


def rename_diffusion_decoder_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames a Cosmos decoder's state dict for `DiffusionDecoder.load_state_dict(..., strict=True)`.

    Args:
        state: weights under NVIDIA's names, with or without the leading `net.`.

    Returns:
        The same tensors under our names.

    Raises:
        ValueError: a key that no part of the decoder has.
    """
    stripped = {key.removeprefix("net."): tensor for key, tensor in state.items()}
    return {_renamed(key): tensor for key, tensor in stripped.items() if not _UNUSED.search(key)}


def diffusion_decoder_sizes(weights: Mapping[str, Tensor], patch_size: Sequence[int]) -> dict[str, Any]:
    """Sizes of a `DiffusionDecoderConfig` that the shapes of renamed weights tell.

    Args:
        weights: under our names; sizes whose weights are not there are left out.
        patch_size: latent cells of a token.

    Raises:
        ValueError: matrices where something else stands, or a width that heads do not divide.
    """
    shapes = {key: tuple(weight.shape) for key, weight in weights.items()}

    def shape(key: str, axes: int = 2) -> tuple[int, ...] | None:
        if key in shapes and (len(shapes[key]) != axes or 0 in shapes[key]):
            raise ValueError(f"{key} must have {axes} axes, got {shapes[key]}")
        return shapes.get(key)

    sizes: dict[str, Any] = {}
    first = "transformer.transformer_blocks.0."
    if embedded := shape("token_embedder.weight"):
        sizes["num_ids"], sizes["token_dim"] = embedded
    if out := shape("transformer.proj_out.weight"):
        sizes["latent_channels"] = out[0] // math.prod(patch_size)
    if lora := shape(first + "norm1.linear_1.weight"):
        sizes["adaln_lora_dim"] = lora[0]
    if (query := shape(first + "attn1.to_q.weight")) and (norm := shape(first + "attn1.norm_q.weight", 1)):
        if query[0] % norm[0]:
            raise ValueError(f"the width {query[0]} is no multiple of the heads' {norm[0]} channels")
        sizes["num_heads"], sizes["head_dim"] = query[0] // norm[0], norm[0]
    if hidden := shape(first + "ff.net.0.proj.weight"):
        sizes["mlp_ratio"] = hidden[0] / hidden[1]
    if blocks := {match[1] for key in weights if (match := _BLOCK_NUMBER.match(key))}:
        sizes["num_blocks"] = len(blocks)
        text = shape(first + "attn2.to_k.weight")
        sizes["text_dim"] = text[1] if text else None
    return sizes


def _renamed(key: str) -> str:
    if key in _OUTSIDE:
        return _OUTSIDE[key]
    match = _BLOCK.match(key)
    if match is None or match.group(3) not in _INSIDE_BLOCK:
        raise ValueError(f"the diffusion decoder has no weight called {key}")
    norm, branch = _PARTS[match.group(2)]
    return f"transformer.transformer_blocks.{match.group(1)}." + _INSIDE_BLOCK[match.group(3)].format(
        norm=norm, branch=branch
    )
