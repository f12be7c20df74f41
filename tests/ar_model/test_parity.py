"""Numbers of the Cosmos-AR reference: tables, norms, sampling, logits, greedy tokens.

The committed fixtures are cut-down copies; the whole ones are read from the shared folder where there is one.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import ar_model.transformer as transformer
from ar_model import ARConfig, Engine, Sampling, SequenceLayout, UniMoTransformer
from ar_model.absolute import absolute_table
from ar_model.rope import rope_tables, rotate
from ar_model.sampling import filtered_probabilities, sample
from ar_model.transformer import RMSNorm

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests" / "fixtures" / "parity"
SHARED = Path(os.environ.get("UNIMO_SHARED", ROOT.parent / "shared")) / "parity"
WHOLE_CASES = ("ar_plain_hd20", "ar_abs_hd32", "ar_qknorm", "ar_qknorm_abs_fp32table")


def build(reference: dict, weights: dict[str, torch.Tensor]) -> UniMoTransformer:
    """Our model with the reference's weights; only ours are missing and nothing is left over."""
    config = ARConfig(
        dim=reference["dim"], layers=reference["n_layers"], heads=reference["n_heads"],
        kv_heads=reference["n_kv_heads"], head_dim=reference["head_dim"], ffn_hidden=reference["ffn_hidden_size"],
        norm_eps=reference["norm_eps"], rope_theta=reference["rope_theta"], qk_norm=reference["use_qk_normalization"],
        visual_ids=reference["vocab_size"], visual_embedding_rows=reference["embedding_rows"],
        absolute_positions=reference["apply_abs_pos_emb"],
    )  # fmt: skip
    model = UniMoTransformer(config).eval()
    found = model.load_state_dict(
        {key[3:]: value for key, value in weights.items() if key.startswith("sd.")}, strict=False
    )
    ours = {"motion_embeddings.weight", "special_embeddings.weight", "motion_output.weight"}
    assert set(found.missing_keys) == ours and not found.unexpected_keys
    return model


@torch.no_grad()
def test_logits_of_the_committed_case() -> None:
    path = FIXTURES / "ar_qknorm_abs.safetensors"
    with safe_open(path, "pt") as file:
        reference = json.loads(file.metadata()["config"])
    case = load_file(path)
    model = build(reference, case)
    logits = model.output(model(case["in.tokens"], SequenceLayout("video", *reference["video_latent_shape"])))
    torch.testing.assert_close(logits, case["out.logits_full"], atol=1e-4, rtol=0)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared folder with the whole reference fixtures is absent")
@pytest.mark.parametrize("name", WHOLE_CASES)
@torch.no_grad()
def test_logits_and_greedy_tokens_of_whole_cases(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case, info = load_file(SHARED / f"{name}.safetensors"), json.loads((SHARED / f"{name}.json").read_text())
    if info["config"]["abs_pos_emb_dtype"] == "bfloat16":
        # the reference stores its table in bfloat16; ours takes the dtype of the model, here float32
        monkeypatch.setattr(transformer, "absolute_table", lambda *a: absolute_table(*a).bfloat16().float())
    model = build(info["config"], case)
    layout, tokens = SequenceLayout("video", 3, 4, 5), case["in.tokens"]
    torch.testing.assert_close(model.output(model(tokens, layout)), case["out.logits_full"], atol=1e-4, rtol=0)

    given = info["prompt_len"]
    engine = Engine(model)
    cache, tables = engine.decoder.new_cache(len(tokens), len(layout)), engine.decoder.tables(layout)
    hidden = engine.decoder.prefill(tokens[:, :given], layout, cache)
    for position in range(given, len(layout)):
        expected = case["out.logits_stepwise"][:, position - 1]
        torch.testing.assert_close(engine.decoder.logits(hidden, 1), expected, atol=1e-4, rtol=0)
        hidden = engine.decoder.step(model.tok_embeddings(tokens[:, position]), position, tables, cache)
    if given == layout.condition_length:
        first = case["out.greedy_tokens"][:, :given].view(-1, 4, 5)
        made = engine.generate_video(first, 3, Sampling(temperature=0))
        assert torch.equal(made.flatten(1), case["out.greedy_tokens"])


@pytest.mark.parametrize(("name", "begin"), [("hd24", False), ("hd32", False), ("hd20_bov", True)])
def test_rotary_tables_and_rotation(name: str, begin: bool) -> None:
    case = load_file(FIXTURES / "ar_positions.safetensors")
    layout = SequenceLayout("video", 3, 4, 5, begin_of_video=begin)
    width = case[f"rope.{name}.out.cos"].shape[1]
    cos, sin = rope_tables(layout.rope_coordinates, layout.has_position, width, 500000.0)
    torch.testing.assert_close(cos, case[f"rope.{name}.out.cos"][: len(layout)], atol=1e-6, rtol=0)
    torch.testing.assert_close(sin, case[f"rope.{name}.out.sin"][: len(layout)], atol=1e-6, rtol=0)
    rows = case[f"rope.{name}.in.input_pos"]
    keep = rows < len(layout)  # the reference pads its tables, and some fixture rows are padding
    cos, sin = cos[rows[keep]][:, None], sin[rows[keep]][:, None]
    for letter in ("q", "k"):
        rotated = rotate(case[f"rope.{name}.in.{letter}"][:, keep], cos, sin)
        torch.testing.assert_close(rotated, case[f"rope.{name}.out.{letter}_v2"][:, keep], atol=1e-6, rtol=0)


def test_rotary_rows_of_the_released_geometry() -> None:
    case = load_file(FIXTURES / "ar_positions.safetensors")
    layout, rows = SequenceLayout("video", 5, 40, 64), case["rope.real4b.in.rows"]
    cos, sin = rope_tables(layout.rope_coordinates[rows], layout.has_position[rows], 128, 500000.0)
    torch.testing.assert_close(cos, case["rope.real4b.out.cos"], atol=1e-6, rtol=0)
    torch.testing.assert_close(sin, case["rope.real4b.out.sin"], atol=1e-6, rtol=0)


@pytest.mark.parametrize(("name", "begin"), [("d96", False), ("d128_bov", True)])
def test_absolute_tables(name: str, begin: bool) -> None:
    expected = load_file(FIXTURES / "ar_positions.safetensors")[f"absolute.{name}"]
    layout = SequenceLayout("video", 3, 4, 5, begin_of_video=begin)
    table = absolute_table(layout.shared_coordinates, layout.has_position, expected.shape[1])
    torch.testing.assert_close(table, expected[: len(layout)], atol=1e-6, rtol=0)


def test_rmsnorm() -> None:
    case = load_file(FIXTURES / "ar_positions.safetensors")
    norm = RMSNorm(24, 1e-5)
    norm.weight.data = case["rmsnorm.sd.weight"]
    x = case["rmsnorm.in.x"]
    torch.testing.assert_close(norm(x), case["rmsnorm.out.y"], atol=1e-6, rtol=0)
    assert torch.equal(norm.bfloat16()(x.bfloat16()), case["rmsnorm.out.y_bf16"])


@pytest.mark.parametrize("name", ["p08_t1", "p09_t06", "p01_t1", "p1_t13", "k10_t1", "knone_t07", "greedy"])
def test_sampling_draws_the_reference_token(name: str) -> None:
    path = FIXTURES / "ar_sampling.safetensors"
    with safe_open(path, "pt") as file:
        rule = json.loads(file.metadata()["subcases"])[name]
    case = load_file(path)
    sampling = Sampling(rule["temperature"], rule.get("top_p"), rule.get("top_k"))
    drawn = sample(case["in.logits"], sampling, case[f"{name}.in.noise"])
    assert torch.equal(drawn, case[f"{name}.out.token"][:, 0].long())
    if sampling.temperature > 0:
        probabilities, order = filtered_probabilities(case["in.logits"], sampling)
        if order is not None:
            probabilities = torch.zeros_like(probabilities).scatter(1, order, probabilities)
        torch.testing.assert_close(probabilities, case[f"{name}.out.probs"], atol=1e-6, rtol=0)
