"""Ids, codes, latents and pictures against the reference fixtures (NVIDIA's code, random weights)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from visual_tokenizer import DiscreteVisualTokenizer, VisualTokenizerConfig, rename_cosmos_keys
from visual_tokenizer.fsq import FSQ
from visual_tokenizer.haar import haar_patch, haar_unpatch

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "parity"


def _case(name: str) -> tuple[dict, dict[str, torch.Tensor]]:
    return json.loads((FIXTURES / f"{name}.json").read_text()), load_file(FIXTURES / f"{name}.safetensors")


@pytest.mark.parametrize("name", ["fsq_8x8x8x5x5x5", "fsq_8x6x5"])
def test_fsq_equals_the_reference(name: str) -> None:
    config, tensors = _case(name)
    fsq = FSQ(config["levels"])
    assert torch.equal(fsq.basis, tensors["out.basis"].long())

    codes, ids = fsq(tensors["in.z"])
    assert torch.equal(ids, tensors["out.indices"].long())
    torch.testing.assert_close(codes, tensors["out.codes"], atol=1e-6, rtol=0)

    probes = tensors["in.z_boundary"]  # latents on both sides of every rounding threshold
    torch.testing.assert_close(fsq.bound(probes), tensors["out.bound_boundary"], atol=1e-6, rtol=0)
    codes, ids = fsq(probes.movedim(-1, 1))
    assert torch.equal(ids, tensors["out.indices_boundary"].long())
    torch.testing.assert_close(codes.movedim(1, -1), tensors["out.codes_boundary"], atol=1e-6, rtol=0)

    listed = fsq.codes(tensors["in.index_list"])
    torch.testing.assert_close(listed, tensors["out.codes_of_index_list"], atol=0, rtol=0)
    video = fsq.codes(tensors["in.index_video"])
    torch.testing.assert_close(video, tensors["out.codes_of_index_video"], atol=0, rtol=0)


@pytest.mark.parametrize("name", ["fsq_8x8x8x5x5x5", "fsq_8x6x5"])
def test_fsq_of_bfloat16_latents_equals_the_reference(name: str) -> None:
    config, tensors = _case(name)
    codes, ids = FSQ(config["levels"]).bfloat16()(tensors["in.z"].bfloat16())
    assert torch.equal(ids, tensors["out.indices_bf16_latent"].long())
    assert torch.equal(codes, tensors["out.codes_bf16_latent"])


@pytest.mark.parametrize("clip", ["t9", "t1"])
def test_tokenizer_equals_the_reference(clip: str) -> None:
    case, tensors = _case("dv8x16x16_tiny")
    reference = case["config"]
    config = VisualTokenizerConfig(
        channels=reference["channels"],
        channel_multipliers=tuple(reference["channels_mult"]),
        num_res_blocks=reference["num_res_blocks"],
        z_channels=reference["z_channels"],
        fsq_levels=tuple(reference["levels"]),
    )
    model = DiscreteVisualTokenizer(config).eval()
    weights = {key.removeprefix("sd."): value for key, value in tensors.items() if key.startswith("sd.")}
    model.load_state_dict(rename_cosmos_keys(weights), strict=True)
    video = tensors[f"{clip}.in.video"]
    with torch.no_grad():
        torch.testing.assert_close(model.encoder(haar_patch(video)), tensors[f"{clip}.out.encoder"], atol=1e-4, rtol=0)
        torch.testing.assert_close(model.latents(video), tensors[f"{clip}.out.pre_quant"], atol=1e-4, rtol=0)
        reconstruction, ids = model(video)
        drawn = model.decode_codes(model.quantizer.codes(tensors[f"{clip}.in.random_indices"]))
    assert torch.equal(ids, tensors[f"{clip}.out.indices"].long())
    assert torch.equal(model.encode(video), ids)
    torch.testing.assert_close(reconstruction, tensors[f"{clip}.out.reconstruction"], atol=1e-3, rtol=0)
    torch.testing.assert_close(drawn, tensors[f"{clip}.out.video_of_random_indices"], atol=1e-3, rtol=0)


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


@pytest.mark.parametrize("clip", ["p4_t1", "p4_t9", "p4_t17"])
def test_wavelets_equal_the_reference(clip: str) -> None:
    _, tensors = _case("haar")
    patched = haar_patch(tensors[f"{clip}.in.x"])
    torch.testing.assert_close(patched, tensors[f"{clip}.out.patch"], atol=1e-6, rtol=0)
    drawn = haar_unpatch(tensors[f"{clip}.in.coeff"])
    torch.testing.assert_close(drawn, tensors[f"{clip}.out.unpatch_of_random"], atol=1e-4, rtol=0)
