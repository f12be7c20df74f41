"""Names of NVIDIA's Cosmos DV tokenizer weights -> names of `DiscreteVisualTokenizer`.

In: a state dict as published (keys such as `encoder.down.0.block.1.conv1.0.conv3d.weight`). Out: the same
tensors under our names; constants that the reference stores (wavelets, quantiser tables) are left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

_CONSTANT = re.compile(r"(^|\.)(patcher3d|unpatcher3d|quantizer)\.")
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
    """Renames a Cosmos DV state dict for `DiscreteVisualTokenizer.load_state_dict(..., strict=True)`.

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
