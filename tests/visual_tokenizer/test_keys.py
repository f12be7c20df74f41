"""Renaming of the reference's weights; that every weight finds its place is held by tests/evaluation/test_parity.py."""

from __future__ import annotations

import torch

from visual_tokenizer import rename_cosmos_keys


def test_stored_constants_are_left_out() -> None:
    one = torch.zeros(1)
    state = {
        "encoder.patcher3d.wavelets": one,
        "inv_quant.quantizer._levels": one,
        "decoder.up.2.block.0.norm1.norm.weight": one,
        "decoder.up.0.block.1.conv2.1.conv3d.bias": one,
    }
    assert sorted(rename_cosmos_keys(state)) == [
        "decoder.up_blocks.0.resnets.0.norm1.norm.weight",
        "decoder.up_blocks.2.resnets.1.conv2.conv_t.bias",
    ]
