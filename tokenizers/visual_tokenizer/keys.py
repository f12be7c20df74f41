"""Names of NVIDIA's Cosmos tokenizer weights, DV and CV -> names of `CosmosAutoencoder`, and what their shapes tell.

In: a state dict as published (keys such as `encoder.down.0.block.1.conv1.0.conv3d.weight`). Out: the same
tensors under our names; constants that the reference stores (wavelets, quantiser tables) are left out. The halves
that NVIDIA publishes as `encoder.jit` and `decoder.jit` have the names of the whole, but for the quantiser's tables.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

_CONSTANT = re.compile(r"(^|\.)(patcher3d|unpatcher3d|quantizer)\.")
_LEVELS = re.compile(r"(^|\.)quantizer\._levels$")
_LEVEL_WIDTH = re.compile(r"^encoder\.down_blocks\.(\d+)\.resnets\.0\.conv1\.conv_s\.weight$")
_RES_BLOCK = re.compile(r"^encoder\.down_blocks\.0\.resnets\.(\d+)\.")
_UP_LEVEL = re.compile(r"\.up\.(\d+)\.")
_RULES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\.conv3d\.", "."),
        (r"\.nin_shortcut\.", ".conv_shortcut."),
        (r"\.(conv1|conv2|conv_in|conv_out)\.0\.", r".\1.conv_s."),
        (r"\.(conv1|conv2|conv_in|conv_out)\.1\.", r".\1.conv_t."),
        (r"\.down\.(\d+)\.", r".down_blocks.\1."),
        (r"\.block\.(\d+)\.", r".resnets.\1."),
        (r"\.downsample\.", ".downsamplers.0."),
        (r"\.upsample\.", ".upsamplers.0."),
        (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
        (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
        (r"\.mid\.attn_1\.0\.", ".mid_block.attentions.0."),
        (r"\.mid\.attn_1\.1\.", ".mid_block.temp_attentions.0."),
        (r"\.(q|k|v)\.(weight|bias)$", r".to_\1.\2"),
        (r"\.proj_out\.", ".to_out.0."),
    )
)


def rename_cosmos_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames a Cosmos DV or CV state dict for `CosmosAutoencoder.load_state_dict(..., strict=True)`.

    Args:
        state: weights under NVIDIA's names, encoder and decoder together.

    Returns:
        The same tensors under our names, without the stored constants.

    Raises:
        ValueError: two keys get the same name.
    """
    top_level = max((int(match.group(1)) for key in state if (match := _UP_LEVEL.search(key))), default=0)
    renamed: dict[str, Tensor] = {}
    for key, tensor in state.items():
        if _CONSTANT.search(key):
            continue
        # The reference counts decoder levels from the finest, diffusers in the order they run.
        name = _UP_LEVEL.sub(lambda match: f".up_blocks.{top_level - int(match.group(1))}.", key)
        for pattern, replacement in _RULES:
            name = pattern.sub(replacement, name)
        if name in renamed:
            raise ValueError(f"two weights are called {name} after renaming; the second is {key}")
        renamed[name] = tensor
    return renamed


def stored_fsq_levels(state: Mapping[str, Tensor]) -> tuple[int, ...] | None:
    """The quantiser's levels, where a state dict under NVIDIA's names records them."""
    found = next((tensor for key, tensor in state.items() if _LEVELS.search(key)), None)
    return None if found is None else tuple(int(level) for level in found.flatten())


def autoencoder_sizes(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Sizes of an `AutoencoderConfig` that the shapes of renamed weights tell.

    The two compressions are not among them: older releases carry unused convolutions where nothing is halved.

    Args:
        weights: under our names; sizes whose weights are not there are left out.

    Raises:
        ValueError: a convolution's weight is none, or a level's width is no multiple of the first layer's.
    """
    sizes: dict[str, Any] = {}
    if (first := weights.get("encoder.conv_in.conv_s.weight")) is not None:
        channels = sizes["channels"] = _outputs(first)
        found = {int(match[1]): _outputs(weights[key]) for key in weights if (match := _LEVEL_WIDTH.match(key))}
        widths = [width for _, width in sorted(found.items())]
        if any(width % channels for width in widths):
            raise ValueError(f"the encoder's levels are {widths} wide: no multiples of its first layer's {channels}")
        if widths:
            sizes["channel_multipliers"] = tuple(width // channels for width in widths)
    if blocks := {match[1] for key in weights if (match := _RES_BLOCK.match(key))}:
        sizes["num_res_blocks"] = len(blocks)
    if (last := weights.get("encoder.conv_out.conv_s.weight")) is not None:
        sizes["z_channels"] = _outputs(last)
    return sizes


def _outputs(weight: Tensor) -> int:
    """Output channels of a 3-D convolution."""
    if weight.ndim != 5 or 0 in weight.shape:
        raise ValueError(f"the weight of a 3-D convolution must have 5 axes, got {tuple(weight.shape)}")
    return len(weight)
