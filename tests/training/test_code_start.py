"""Weights that start from codes, or from a transformer of the other motion layout."""

from __future__ import annotations

import pytest
import torch

from ar_model import ARConfig, UniMoTransformer
from ar_model.config import DepthConfig
from unimo.training.code_start import fitting_state, start_from_codes
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


SIZES = {"dim": 48, "layers": 1, "heads": 2, "kv_heads": 1, "ffn_hidden": 32, "visual_ids": 512, "motion_ids": 32}
DEPTH = DepthConfig(dim=24, layers=1, heads=2, ffn_hidden=32, code_dim=8)
FRAME = ARConfig(**SIZES, motion_layout="frame", depth=DEPTH)


def test_every_table_of_motion_codes_starts_from_them_in_the_frame_layout() -> None:
    torch.manual_seed(0)
    codes, model = torch.nn.functional.normalize(torch.randn(32, 4), dim=-1), UniMoTransformer(FRAME)
    tables = [model.motion_embeddings.codes.weight, model.depth.codes.weight, model.depth.output.weight]
    spreads = [float(table.detach().std()) for table in tables]
    start_from_codes(model, torch.randn(512, 3), codes)
    for table, spread in zip(tables, spreads, strict=True):
        distances = torch.stack([torch.cdist(x, x).flatten() for x in (codes, table)])
        assert torch.corrcoef(distances)[0, 1] > 0.6 and abs(float(table.detach().std()) / spread - 1) < 0.15


def test_the_other_layouts_weights_are_taken_but_for_what_writes_motion() -> None:
    earlier, model = UniMoTransformer(ARConfig(**SIZES)), UniMoTransformer(FRAME)
    fresh = {key: value.clone() for key, value in model.state_dict().items()}
    model.load_state_dict(fitting_state(model, earlier))
    for key, value in model.state_dict().items():
        motion = key.startswith(("motion_embeddings", "depth"))
        assert torch.equal(value, fresh[key] if motion else earlier.state_dict()[key]), key
    assert fitting_state(earlier, earlier).keys() == earlier.state_dict().keys()


def test_a_transformer_that_means_something_else_by_its_weights_is_refused() -> None:
    earlier = UniMoTransformer(ARConfig(**SIZES, unified_rope=True, rope_theta=100.0))
    with pytest.raises(ValueError, match="other values of rope_theta, unified_rope"):
        fitting_state(UniMoTransformer(ARConfig(**SIZES)), earlier)
