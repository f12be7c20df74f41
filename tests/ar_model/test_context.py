"""Attention to a text context: what it sees, the cached path against the plain one, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from ar_model import ARConfig, Context, Engine, Sampling, SequenceLayout, UniMoTransformer

Maker = Callable[..., UniMoTransformer]
Tokens = Callable[..., torch.Tensor]
LAYOUT = SequenceLayout("video", 3, 2, 2)
MASK = torch.tensor([[True, True, True, False, False], [True, False, True, True, True]])


def text(rows: int = 2, channels: int = 10, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, 5, channels, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("layout", [LAYOUT, SequenceLayout("i2vm", 2, 2, 2, 9)], ids=lambda layout: layout.task)
@pytest.mark.parametrize("mask", [None, MASK], ids=["all", "masked"])
@pytest.mark.parametrize("qk_norm", [True, False])
@torch.inference_mode()
def test_cached_logits_equal_uncached(
    small_model: Maker, random_tokens: Tokens, layout: SequenceLayout, mask: torch.Tensor | None, qk_norm: bool
) -> None:
    model, tokens = small_model(context_dim=10, qk_norm=qk_norm), random_tokens(layout, 2)
    context = Context(text(), mask)
    plain = model(tokens, layout, context)
    assert (plain - model(tokens, layout, Context(text(seed=1), mask))).abs().amax(-1).min() > 1e-3
    decoder, given = Engine(model).decoder, layout.condition_length
    cache, tables = decoder.new_cache(2, len(layout), context), decoder.tables(layout)
    hidden = decoder.prefill(tokens[:, :given], layout, cache)
    for position in range(given, len(layout)):
        modality = int(layout.modality[position])
        expected = model.head(modality)(plain[:, position - 1])
        torch.testing.assert_close(decoder.logits(hidden, modality), expected, atol=2e-5, rtol=1e-4)
        hidden = decoder.step(model.embedding(modality)(tokens[:, position]), position, tables, cache)


@torch.inference_mode()
def test_a_hidden_state_is_as_if_it_were_not_there(small_model: Maker, random_tokens: Tokens) -> None:
    model, tokens, states = small_model(context_dim=10), random_tokens(LAYOUT, 2), text()
    masked = model(tokens, LAYOUT, Context(states, MASK))
    for row in range(2):
        short = Context(states[row : row + 1, MASK[row]])
        torch.testing.assert_close(masked[row : row + 1], model(tokens[row : row + 1], LAYOUT, short))
    assert not torch.allclose(masked, model(tokens, LAYOUT, Context(states)), atol=1e-3)


def test_the_order_of_the_text_does_not_matter_and_its_place_in_the_batch_does(
    small_model: Maker, random_tokens: Tokens
) -> None:
    model, tokens, states = small_model(context_dim=10), random_tokens(LAYOUT, 1).expand(2, -1), text()
    with torch.no_grad():
        out = model(tokens, LAYOUT, Context(states))
        torch.testing.assert_close(model(tokens, LAYOUT, Context(states.flip(1))), out)
        torch.testing.assert_close(model(tokens, LAYOUT, Context(states.flip(0))), out.flip(0))


def test_samples_of_a_prompt_share_its_context(small_model: Maker, random_tokens: Tokens) -> None:
    engine, tokens, states = Engine(small_model(context_dim=10)), random_tokens(LAYOUT, 2), text()
    many = engine.complete(tokens, LAYOUT, 3, Sampling(), [1, 2, 3, 4], context=Context(states, MASK))
    assert torch.equal(many[:, :3], tokens[:, :3].repeat_interleave(2, dim=0)) and not torch.equal(many[2], many[3])
    alone = engine.complete(tokens[1:], LAYOUT, 3, Sampling(), [4], context=Context(states[1:], MASK[1:]))
    assert torch.equal(many[3:], alone)


def test_completing_does_not_read_what_it_writes_nor_change_its_input(
    small_model: Maker, random_tokens: Tokens
) -> None:
    engine, tokens = Engine(small_model()), random_tokens(LAYOUT, 2)
    other = tokens.clone()
    other[:, 5:] = 0
    before = tokens.clone()
    written = engine.complete(tokens, LAYOUT, 5, Sampling(), [0, 1])
    assert torch.equal(tokens, before) and torch.equal(written, engine.complete(other, LAYOUT, 5, Sampling(), [0, 1]))


def test_a_model_without_text_has_no_weights_for_it() -> None:
    sizes: dict[str, Any] = dict(dim=48, layers=2, heads=4, kv_heads=2, ffn_hidden=64, visual_ids=50, motion_ids=40)
    plain = set(UniMoTransformer(ARConfig(**sizes)).state_dict())
    reading = set(UniMoTransformer(ARConfig(**sizes, context_dim=10)).state_dict())
    parts = ["wq", "wk", "wv", "wo", "q_norm", "k_norm"]
    names = [f"cross_attention.{part}.weight" for part in parts] + ["cross_attention_norm.weight"]
    assert reading - plain == {f"layers.{layer}.{name}" for layer in range(2) for name in names}
    assert plain < reading


def test_wrong_contexts_are_refused(small_model: Maker, random_tokens: Tokens) -> None:
    plain, reading, tokens = small_model(), small_model(context_dim=10), random_tokens(LAYOUT, 2)
    with pytest.raises(ValueError, match="needs a context of 10 channels"):
        reading(tokens, LAYOUT)
    with pytest.raises(ValueError, match="needs a context of 10 channels"):
        Engine(reading).generate_video(torch.zeros(1, 2, 2, dtype=torch.int64), 3)
    with pytest.raises(ValueError, match="reads no context"):
        plain(tokens, LAYOUT, Context(text()))
    with pytest.raises(ValueError, match=r"must be \(2, M, 10\), got \(1, 5, 10\)"):
        reading(tokens, LAYOUT, Context(text(rows=1)))
    with pytest.raises(ValueError, match=r"must be \(2, M, 10\), got \(2, 5, 9\)"):
        reading(tokens, LAYOUT, Context(text(channels=9)))
    with pytest.raises(ValueError, match=r"states must be \(B, M, context_dim\)"):
        Context(text()[0])
    with pytest.raises(ValueError, match=r"mask must be \(2, 5\) bool"):
        Context(text(), MASK.long())
    with pytest.raises(ValueError, match="hides every state"):
        Context(text(), MASK & False)
    with pytest.raises(ValueError, match="context_dim must be at least 1"):
        ARConfig(context_dim=0)


def test_wrong_completions_are_refused(small_model: Maker, random_tokens: Tokens) -> None:
    engine, tokens = Engine(small_model()), random_tokens(LAYOUT, 2)
    for given in (0, 13):
        with pytest.raises(ValueError, match=rf"given must be in 1\.\.12, got {given}"):
            engine.complete(tokens, LAYOUT, given, Sampling(), [0, 1])
    with pytest.raises(ValueError, match="3 seeds are not a multiple of 2 rows"):
        engine.complete(tokens, LAYOUT, 4, Sampling(), [0, 1, 2])


def test_one_text_is_shared_with_its_mask() -> None:
    shared = Context(text(rows=1), MASK[:1]).shared_by(3)
    assert shared.states.shape == (3, 5, 10) and shared.mask is not None and torch.equal(shared.mask, MASK[[0, 0, 0]])
    with pytest.raises(ValueError, match="one row can be shared, this has 2"):
        Context(text()).shared_by(3)
