"""Speculation: the same codes as one by one, the same frequencies, and several positions per pass over the cache."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from ar_model import Context, Engine, Sampling, SequenceLayout, UniMoTransformer
from ar_model.sampling import NoiseSource, filtered_probabilities, race
from ar_model.sequence import MOTION
from ar_model.speculation import _Stretch

Maker = Callable[..., UniMoTransformer]
Tokens = Callable[..., torch.Tensor]
V2M = SequenceLayout("v2m", 2, 2, 2, 9)
I2VM = SequenceLayout("i2vm", 3, 2, 2, 17)
RULES = [Sampling(temperature=0), Sampling(), Sampling(top_p=None), Sampling(0.7, top_p=None, top_k=5)]
VARIANTS = [{}, {"qk_norm": False}, {"absolute_positions": False}, {"position_gain": 0.3}, {"kv_heads": 4}]


@pytest.mark.parametrize("n", [1, 4, 11])
@pytest.mark.parametrize("changes", VARIANTS, ids=str)
@torch.inference_mode()
def test_several_positions_at_once_equal_single_steps(
    small_model: Maker, random_tokens: Tokens, changes: dict, n: int
) -> None:
    model, starts, batch = small_model(**changes), torch.tensor([30, 17, 44]), 3
    decoder, tokens, given = Engine(model).decoder, random_tokens(V2M, batch), V2M.condition_length
    tables = decoder.tables(V2M)
    stepped, extended = (decoder.new_cache(batch, len(V2M)) for _ in range(2))
    for cache in (stepped, extended):
        decoder.prefill(tokens[:, :given], V2M, cache)
    states = torch.stack(
        [
            decoder.step(model.embedding(MOTION)(tokens[:, position]), position, tables, stepped)
            for position in range(given, len(V2M))
        ],
        dim=1,
    )
    for position in range(given, 44):
        decoder.step(model.embedding(MOTION)(tokens[:, position]), position, tables, extended)
    # what stands behind a sequence's start must not be seen, and is overwritten
    for row, start in enumerate(starts.tolist()):
        extended.keys[:, row * decoder.config.kv_heads : (row + 1) * decoder.config.kv_heads, start:] = 1e3
        extended.values[:, row * decoder.config.kv_heads : (row + 1) * decoder.config.kv_heads, start:] = 1e3
    places = starts[:, None] + torch.arange(n)
    hidden = decoder.extend(model.embedding(MOTION)(tokens.gather(1, places)), starts, tables, extended)
    expected = torch.stack([states[row, places[row] - given] for row in range(batch)])
    torch.testing.assert_close(hidden, expected, atol=2e-5, rtol=1e-4)
    for row, start in enumerate(starts.tolist()):
        written = slice(row * decoder.config.kv_heads, (row + 1) * decoder.config.kv_heads)
        for mine, theirs in ((extended.keys, stepped.keys), (extended.values, stepped.values)):
            torch.testing.assert_close(
                mine[:, written, : start + n], theirs[:, written, : start + n], atol=2e-5, rtol=1e-4
            )
            if start + n < len(V2M):
                assert bool((mine[:, written, start + n :] == 1e3).all())


@torch.inference_mode()
def test_a_window_may_reach_past_the_end(small_model: Maker, random_tokens: Tokens) -> None:
    model, last = small_model(), len(V2M) - 1
    decoder, tokens = Engine(model).decoder, random_tokens(V2M, 1)
    cache, tables = decoder.new_cache(1, len(V2M) + 4), decoder.tables(V2M)
    decoder.prefill(tokens[:, :last], V2M, cache)
    x = model.embedding(MOTION)(tokens[:, last])
    several = decoder.extend(x[:, None].repeat(1, 4, 1), torch.tensor([last]), tables, cache)
    torch.testing.assert_close(several[:, 0], decoder.step(x, last, tables, cache), atol=2e-5, rtol=1e-4)


# rows, window: fewer and more positions than a frame has codes, and than few rows' products take
@pytest.mark.parametrize(("batch", "window"), [(1, 2), (4, 5), (2, 40)])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_the_same_motion_as_one_by_one(small_model: Maker, rule: Sampling, batch: int, window: int) -> None:
    model = small_model()
    visual = torch.randint(0, 50, (batch, 2, 2, 2), generator=torch.Generator().manual_seed(batch))
    expected = Engine(model).generate_motion(visual, 9, rule, range(7, 7 + batch))
    assert torch.equal(Engine(model, speculate=window).generate_motion(visual, 9, rule, range(7, 7 + batch)), expected)


@pytest.mark.parametrize("rule", RULES[:2], ids=str)
def test_the_same_video_and_motion_as_one_by_one(small_model: Maker, rule: Sampling) -> None:
    model, images = small_model(), torch.randint(0, 50, (3, 2, 2), generator=torch.Generator().manual_seed(2))
    expected = Engine(model).generate_video_motion(images, 3, 17, rule, [4, 5, 6])
    fast = Engine(model, speculate=5).generate_video_motion(images, 3, 17, rule, [4, 5, 6])
    assert torch.equal(fast[0], expected[0]) and torch.equal(fast[1], expected[1])


def test_samples_contexts_and_half_written_runs(small_model: Maker, random_tokens: Tokens) -> None:
    model = small_model(context_dim=10)
    context = Context(torch.randn(2, 3, 10, generator=torch.Generator().manual_seed(1)))
    tokens, given = random_tokens(I2VM, 2), I2VM.condition_length + 4 + 50
    written = [
        engine.complete(tokens, I2VM, given, Sampling(), range(6), context=context)
        for engine in (Engine(model), Engine(model, speculate=6))
    ]
    assert torch.equal(written[0], written[1])
    assert torch.equal(written[1][:, :given], tokens[:, :given].repeat_interleave(3, dim=0))
    assert not torch.equal(written[1][0], written[1][1])


def test_passes_are_fewer_than_codes_and_progress_rises_to_the_total(small_model: Maker) -> None:
    calls: list[tuple[int, int]] = []
    # a model whose blocks add next to nothing repeats itself, so that guesses are right
    model = small_model(init_std=1e-6)
    Engine(model, speculate=12).generate_motion(
        torch.zeros(2, 2, 2, 2, dtype=torch.int64),
        9,
        Sampling(temperature=0),
        callback=lambda *call: calls.append(call),
    )
    done = [count for count, _ in calls]
    assert {total for _, total in calls} == {324} and done[-1] == 324
    assert all(earlier < later for earlier, later in zip(done, done[1:], strict=False))
    assert len(calls) < 324 / 3


def test_impossible_windows_are_refused(small_model: Maker) -> None:
    for window in (-2, 1):
        with pytest.raises(ValueError, match="speculate must be 0"):
            Engine(small_model(), speculate=window)


# ------------------------------------------------------------------ frequencies

SAMPLES, WRITTEN, IDS = 10_000, 16, 6


def frequencies(engine: Engine, first_seed: int) -> torch.Tensor:
    """(WRITTEN, IDS) counts of the last codes of a clip, over SAMPLES seeds."""
    counts = torch.zeros(WRITTEN, IDS, dtype=torch.int64)
    tokens = V2M.build(torch.zeros(1, 2, 2, 2, dtype=torch.int64), torch.zeros(1, 9, 36, dtype=torch.int64))
    for start in range(first_seed, first_seed + SAMPLES, 1000):
        written = engine.complete(tokens, V2M, len(V2M) - WRITTEN, Sampling(), range(start, start + 1000))
        counts += torch.nn.functional.one_hot(written[:, -WRITTEN:], IDS).sum(0)
    return counts


def lowest_p(counts: torch.Tensor, others: torch.Tensor) -> float:
    """The smallest p of a chi-square test of two samples at each slot, times the number of slots (Bonferroni)."""
    both = torch.stack([counts, others]).double()
    seen = both.sum(0) > 0
    expected = both.sum(0) / 2
    statistic = ((both - expected).square() / expected.clamp_min(1)).sum(dim=(0, 2))
    freedom = (seen.sum(dim=1) - 1).clamp_min(1).double()
    return float(torch.special.gammaincc(freedom / 2, statistic / 2).min()) * len(counts)


def test_frequencies_are_those_of_one_by_one(small_model: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other seeds, so equal codes do not help; the same test refuses the rule that takes one guess too many."""
    model = small_model(
        dim=16, layers=1, heads=2, kv_heads=1, ffn_hidden=16, motion_ids=IDS, embedding_std=2.0, init_std=0.5
    )
    expected = frequencies(Engine(model), 0)
    assert lowest_p(expected, frequencies(Engine(model, speculate=6), SAMPLES)) > 0.01
    advance = _Stretch._advance
    monkeypatch.setattr(_Stretch, "_advance", lambda self, right: advance(self, (right + 1).clamp(max=6)))
    assert lowest_p(expected, frequencies(Engine(model, speculate=6), SAMPLES)) < 1e-6


# ------------------------------------------------------------------ the race


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.8, 1.0])
def test_the_race_draws_from_the_filtered_distribution_with_noise_by_id(top_p: float) -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(300, 64, generator=generator) * 2
    logits[:100] = logits[:100].round()  # with equal probabilities
    noise = torch.empty(300, 64).exponential_(generator=generator)
    sampling = Sampling(temperature=0.9, top_p=top_p)
    wide = torch.softmax(logits / 0.9, dim=-1)
    ranked, order = torch.sort(wide, dim=-1, descending=True, stable=True)
    kept = torch.zeros_like(wide).scatter(1, order, ranked.masked_fill(ranked.cumsum(-1) - ranked > top_p, 0.0))
    assert torch.equal(race(logits, sampling, noise), (kept / noise).argmax(-1))
    probabilities, columns = filtered_probabilities(logits[100:], sampling)
    assert columns is not None
    torch.testing.assert_close(
        torch.zeros_like(probabilities).scatter(1, columns, probabilities),
        kept[100:] / kept[100:].sum(-1, keepdim=True),
    )


def test_similar_logits_draw_the_same_id_from_the_same_noise() -> None:
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(2000, 200, generator=generator)
    near = logits + 0.05 * torch.randn(2000, 200, generator=generator)
    noise = torch.empty(2000, 200).exponential_(generator=generator)
    assert (race(logits, Sampling(), noise) == race(near, Sampling(), noise)).float().mean() > 0.9


def test_the_race_needs_noise() -> None:
    with pytest.raises(ValueError, match="needs noise"):
        race(torch.zeros(1, 4), Sampling(), None)


def test_rows_that_draw_at_their_own_pace_get_the_same_noise() -> None:
    device = torch.device("cpu")
    together, apart = NoiseSource([3, 4], device), NoiseSource([3, 4], device)
    expected = torch.stack([together.draw(5) for _ in range(3)], dim=1)
    noise = torch.empty(2, 3, 5)
    for row, place in ((1, 0), (1, 1), (0, 0), (1, 2), (0, 1), (0, 2)):
        apart.fill(row, noise[row, place])
    assert torch.equal(noise, expected)
