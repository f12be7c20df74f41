"""Steps of fixed shape: equal to the plain step, wherever a bucket of keys ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from ar_model import Context, Engine, Sampling, SequenceLayout, UniMoTransformer
from ar_model.graphs import StaticDecoder

Maker = Callable[..., UniMoTransformer]
Tokens = Callable[..., torch.Tensor]
LAYOUT = SequenceLayout("i2vm", 2, 2, 2, 9)


@pytest.mark.parametrize("bucket", [1, 7, 64, 4096])
@pytest.mark.parametrize("changes", [{}, {"position_gain": 0.3}, {"position_form": "query_key"}], ids=str)
@torch.inference_mode()
def test_static_step_equals_step(small_model: Maker, random_tokens: Tokens, bucket: int, changes: dict) -> None:
    model, tokens, given = small_model(**changes), random_tokens(LAYOUT, 2), LAYOUT.condition_length
    decoder = Engine(model).decoder
    tables, caches = decoder.tables(LAYOUT), [decoder.new_cache(2, len(LAYOUT)) for _ in range(2)]
    for cache in caches:
        decoder.prefill(tokens[:, :given], LAYOUT, cache)
    static = StaticDecoder(decoder, tables, caches[1], bucket)
    for position in range(given, given + 40):
        x = model.embedding(int(LAYOUT.modality[position]))(tokens[:, position])
        expected = decoder.step(x, position, tables, caches[0])
        torch.testing.assert_close(static.step(x, position), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(caches[1].keys, caches[0].keys)


@torch.inference_mode()
def test_static_step_reads_no_key_behind_its_position(small_model: Maker, random_tokens: Tokens) -> None:
    model, tokens, given = small_model(), random_tokens(LAYOUT, 1), LAYOUT.condition_length
    decoder = Engine(model).decoder
    x, results = model.embedding(1)(tokens[:, given]), []
    for noise in (0.0, 1e3):
        cache = decoder.new_cache(1, len(LAYOUT))
        decoder.prefill(tokens[:, :given], LAYOUT, cache)
        cache.keys[:, :, given + 1 :] = noise
        cache.values[:, :, given + 1 :] = noise
        results.append(StaticDecoder(decoder, decoder.tables(LAYOUT), cache).step(x, given))
    assert torch.equal(*results)


@torch.inference_mode()
def test_static_step_reads_the_context(small_model: Maker, random_tokens: Tokens) -> None:
    model, tokens, given = small_model(context_dim=24), random_tokens(LAYOUT, 2), LAYOUT.condition_length
    decoder, context = Engine(model).decoder, Context(torch.randn(2, 5, 24))
    tables, caches = decoder.tables(LAYOUT), [decoder.new_cache(2, len(LAYOUT), context) for _ in range(2)]
    for cache in caches:
        decoder.prefill(tokens[:, :given], LAYOUT, cache)
    x = model.embedding(1)(tokens[:, given])
    expected = decoder.step(x, given, tables, caches[0])
    torch.testing.assert_close(StaticDecoder(decoder, tables, caches[1]).step(x, given), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a graphics card")
def test_graphs_generate_what_the_cpu_generates(small_model: Maker) -> None:
    visual, greedy = torch.randint(0, 50, (2, 2, 2, 2)), Sampling(temperature=0)
    expected = Engine(small_model()).generate_motion(visual, 9, greedy)
    found = Engine(small_model().cuda()).generate_motion(visual.cuda(), 9, greedy)
    assert (found.cpu() == expected).float().mean() > 0.99
