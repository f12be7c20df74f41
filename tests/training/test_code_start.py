"""Embeddings and heads that start from codes."""

from __future__ import annotations

import torch

from ar_model import ARConfig, UniMoTransformer
from unimo.training.code_start import start_from_codes
from visual_tokenizer.fsq import FSQ


def test_ids_with_near_codes_start_with_near_embeddings() -> None:
    quantizer = FSQ([8, 8, 8])
    ids = torch.arange(quantizer.num_ids)
    codes = quantizer.codes(ids[None])[0].T
    motion_codes = torch.nn.functional.normalize(torch.randn(32, 4, generator=torch.Generator().manual_seed(0)), dim=-1)
    config = ARConfig(dim=48, layers=1, heads=2, kv_heads=1, ffn_hidden=32, visual_ids=512, motion_ids=32)
    model = UniMoTransformer(config)
    spreads = [model.output.weight.std(), model.motion_output.weight.std()]
    start_from_codes(model, codes, motion_codes)
    rows = model.tok_embeddings.weight
    near, far = (rows[0] - rows[1]).norm(), (rows[0] - rows[511]).norm()
    assert near < 0.5 * far and abs(rows.square().mean().sqrt().item() - 0.1) < 1e-3
    distances = [torch.cdist(x, x).flatten() for x in (motion_codes, model.motion_output.weight)]
    likeness = torch.corrcoef(torch.stack(distances))[0, 1]
    assert likeness > 0.7
    for head, spread in zip((model.output.weight, model.motion_output.weight), spreads, strict=True):
        assert abs(head.square().mean().sqrt() / spread - 1) < 0.1
    assert torch.allclose(model.output.weight / rows[:512], model.output.weight[0, 0] / rows[0, 0], rtol=1e-3)
