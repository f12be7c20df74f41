"""Packed weights: float16 halves that lose nothing, int8 that stands for exactly the restored weights."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ar_model import Engine, Sampling, SequenceLayout, UniMoTransformer
from ar_model import quantized as quantized_module
from ar_model.blocks import Block
from ar_model.decoder import PackedDecoder
from ar_model.quantized import Int8Matrix
from ar_model.weights import FEW_ROWS, HalfMatrix, Matrix, pack

Maker = Callable[..., UniMoTransformer]
Tokens = Callable[..., torch.Tensor]
LAYOUT = SequenceLayout("v2m", 2, 2, 2, 9)
FBGEMM = torch.backends.quantized.engine in ("x86", "fbgemm")
needs_fbgemm = pytest.mark.skipif(not FBGEMM, reason="FBGEMM's float16 product is for x86 processors")


def random_parts(dtype: torch.dtype = torch.float32) -> tuple[list[Tensor], Tensor]:
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(rows, 48, generator=generator).mul(0.05).to(dtype) for rows in (30, 17)]
    return parts, torch.rand(48, generator=generator).add(0.5).to(dtype)


def exact(parts: list[Tensor], gain: Tensor, x: Tensor) -> Tensor:
    return (x.double() * gain.double()) @ torch.cat(parts).double().t()


@needs_fbgemm
@pytest.mark.parametrize("rows", [1, FEW_ROWS, FEW_ROWS + 1])
def test_two_halves_are_as_exact_as_float32(rows: int) -> None:
    parts, gain = random_parts()
    x = torch.randn(rows, 48, generator=torch.Generator().manual_seed(1))
    expected = exact(parts, gain, x)
    assert isinstance(pack(parts, gain), HalfMatrix)
    error = (pack(parts, gain)(x) - expected).abs().max()
    assert error < 3e-7 * 48**0.5 and error < 4 * (Matrix(parts, gain)(x) - expected).abs().max()


@needs_fbgemm
def test_bfloat16_weights_lose_less_than_in_bfloat16() -> None:
    parts, gain = random_parts(torch.bfloat16)
    x = torch.randn(3, 48)
    expected = exact(parts, gain, x)
    packed, plain = (layout(parts, gain)(x) - expected for layout in (HalfMatrix, Matrix))
    assert packed.abs().max() < 2e-3 < plain.abs().max() * 2


def test_weights_beyond_float16_stay_as_they_are() -> None:
    parts, gain = random_parts()
    parts[1][3, 4] = 1e5
    packed = pack(parts, gain)
    assert isinstance(packed, Matrix)
    x = torch.ones(1, 48)
    torch.testing.assert_close(packed(x).double(), exact(parts, gain, x), rtol=1e-5, atol=1e-3)


def test_a_gain_does_not_carry_weights_beyond_float16() -> None:
    parts, gain = random_parts()
    parts[0][0, 0], gain[0] = 4e4, 2.0
    x = torch.ones(1, 48)
    torch.testing.assert_close(pack(parts, gain)(x).double(), exact(parts, gain, x), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("rows", [1, quantized_module.FEW_ROWS, quantized_module.FEW_ROWS + 1])
def test_int8_product_is_that_of_the_restored_weights(rows: int) -> None:
    parts, gain = random_parts()
    matrix, x = Int8Matrix(parts, gain), torch.randn(rows, 48)
    expected = x @ matrix.restored().t()
    assert (matrix(x) - expected).abs().max() < 0.012 * expected.abs().max()
    wide = torch.cat(parts) * gain
    assert ((matrix.restored() - wide).abs() <= wide.abs().amax(1, keepdim=True) / 127 * 0.51 + 1e-6).all()
    assert matrix.weight.dtype == torch.int8 and int(matrix.weight.abs().max()) == 127


def test_int8_without_torchs_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch, "_weight_int8pack_mm")
    parts, gain = random_parts()
    matrix, x = Int8Matrix(parts, gain), torch.randn(2, 48)
    assert not matrix.packed
    torch.testing.assert_close(matrix(x), x @ matrix.restored().t())


def test_a_channel_of_zeros_stays_zero() -> None:
    matrix = Int8Matrix([torch.zeros(4, 48)])
    assert torch.equal(matrix(torch.randn(1, 48)), torch.zeros(1, 4))


def rounded_model(model: UniMoTransformer) -> UniMoTransformer:
    """The model with int8's restored weights in place of its own; norm weights that were folded in become 1."""
    rounded = copy.deepcopy(model)
    with torch.no_grad():
        for plain, packed in zip(rounded.layers, PackedDecoder(model, "int8").blocks, strict=True):
            assert isinstance(plain, Block)
            attention, ffn = plain.attention, plain.feed_forward
            for linears, matrix in [
                ((attention.wq, attention.wk, attention.wv), packed.qkv),
                ((attention.wo,), packed.out),
                ((ffn.w1, ffn.w3), packed.gate_up),
                ((ffn.w2,), packed.down),
            ]:
                _restore(linears, matrix)
            plain.attention_norm.weight.fill_(1)
            plain.ffn_norm.weight.fill_(1)
        for kind, matrix in PackedDecoder(model, "int8").heads.items():
            _restore((rounded.head(kind),), matrix)
        rounded.norm.weight.fill_(1)
    return rounded


def _restore(linears: tuple[nn.Linear, ...], matrix: object) -> None:
    assert isinstance(matrix, Int8Matrix)
    for linear, rows in zip(linears, matrix.restored().split([linear.out_features for linear in linears]), strict=True):
        linear.weight.copy_(rows)


@torch.inference_mode()
def test_int8_logits_are_those_of_the_restored_model_and_near_float32(
    small_model: Maker, random_tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokens, given = small_model(), random_tokens(LAYOUT, 2), LAYOUT.condition_length

    def logits(decoder: PackedDecoder) -> Tensor:
        cache, tables, found = decoder.new_cache(2, len(LAYOUT)), decoder.tables(LAYOUT), []
        hidden = decoder.prefill(tokens[:, :given], LAYOUT, cache)
        for position in range(given, given + 30):
            found.append(decoder.logits(hidden, 2))
            hidden = decoder.step(model.motion_embeddings(tokens[:, position]), position, tables, cache)
        return torch.stack(found)

    plain, int8 = logits(PackedDecoder(model)), logits(PackedDecoder(model, "int8"))
    restored = logits(PackedDecoder(rounded_model(model)))
    size = float(plain.square().mean().sqrt())
    assert (int8 - restored).square().mean().sqrt() < 0.01 * size
    assert 1e-4 * size < (restored - plain).square().mean().sqrt() < 0.03 * size
    monkeypatch.delattr(torch, "_weight_int8pack_mm")
    torch.testing.assert_close(logits(PackedDecoder(model, "int8")), restored, atol=1e-4, rtol=1e-4)


@needs_fbgemm
@torch.inference_mode()
def test_bfloat16_steps_are_those_of_the_same_weights_in_float32(small_model: Maker, random_tokens: Tokens) -> None:
    model, tokens, given = small_model().bfloat16(), random_tokens(LAYOUT, 2), LAYOUT.condition_length
    expected = copy.deepcopy(model).float()(tokens, LAYOUT)[:, given : given + 20]
    decoder = PackedDecoder(model)
    cache, tables = decoder.new_cache(2, len(LAYOUT)), decoder.tables(LAYOUT)
    decoder.prefill(tokens[:, :given], LAYOUT, cache)
    steps = range(given, given + 20)
    hidden = [decoder.step(model.motion_embeddings(tokens[:, place]), place, tables, cache) for place in steps]
    found = torch.stack(hidden, dim=1) * model.norm.weight.float()
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 0.01 * expected.abs().max()


def test_engine_generates_with_int8_and_refuses_other_weights(small_model: Maker) -> None:
    model, visual = small_model(), torch.randint(0, 50, (1, 2, 2, 2))
    exact_codes = Engine(model).generate_motion(visual, 9, Sampling(temperature=0))
    codes = Engine(model, weights="int8").generate_motion(visual, 9, Sampling(temperature=0))
    assert codes.shape == exact_codes.shape and (codes[:, 0, :4] == exact_codes[:, 0, :4]).all()
    with pytest.raises(ValueError, match="weights must be None or \"int8\", got 'int4'"):
        Engine(model, weights="int4")
