"""Sampling rules and generation: the cached path against the plain one, seeds, batches."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from ar_model import Engine, Sampling, SequenceLayout, UniMoTransformer
from ar_model.sampling import NoiseSource, filtered_probabilities, sample

Maker = Callable[..., UniMoTransformer]
Tokens = Callable[..., torch.Tensor]
LAYOUTS = [
    SequenceLayout("v2m", 2, 2, 2, 9),
    SequenceLayout("i2vm", 2, 2, 2, 9),
    SequenceLayout("video", 3, 2, 2),
]
VARIANTS = [
    {},
    {"qk_norm": False},
    {"absolute_positions": False},
    {"position_gain": 0.3},
    {"kv_heads": 4},
    {"position_form": "query_key", "qk_norm": False},
    {"unified_rope": True},
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.task)
@pytest.mark.parametrize("changes", VARIANTS, ids=str)
@torch.inference_mode()
def test_cached_logits_equal_uncached(small_model: Maker, random_tokens: Tokens, layout, changes: dict) -> None:
    model, tokens = small_model(**changes), random_tokens(layout, 2)
    plain = model(tokens, layout)
    decoder, given = Engine(model).decoder, layout.condition_length
    cache, tables = decoder.new_cache(2, len(layout)), decoder.tables(layout)
    hidden = decoder.prefill(tokens[:, :given], layout, cache)
    for position in range(given, len(layout)):
        modality = int(layout.modality[position])
        expected = model.head(modality)(plain[:, position - 1])
        torch.testing.assert_close(decoder.logits(hidden, modality), expected, atol=2e-5, rtol=1e-4)
        x = model.embedding(modality)(tokens[:, position])
        hidden = decoder.step(x, position, tables, cache)


def test_greedy_generation_is_the_argmax_of_the_plain_model(small_model: Maker) -> None:
    model = small_model()
    visual = torch.randint(0, 50, (2, 2, 2, 2))
    motion = Engine(model).generate_motion(visual, 9, Sampling(temperature=0))
    layout = LAYOUTS[0]
    tokens = layout.build(visual, motion)
    with torch.no_grad():
        logits = model.motion_output(model(tokens, layout))
    positions = layout.motion_positions
    assert torch.equal(logits[:, positions - 1].argmax(-1), tokens[:, positions])


def test_a_sample_does_not_depend_on_its_batch(small_model: Maker) -> None:
    engine = Engine(small_model())
    images = torch.randint(0, 50, (3, 2, 2))
    together = engine.generate_video_motion(images, 2, 9, seeds=[5, 6, 7])
    alone = engine.generate_video_motion(images[1:2], 2, 9, seeds=[6])
    swapped = engine.generate_video_motion(images.flip(0), 2, 9, seeds=[7, 6, 5])
    for batch, single, mirrored in zip(together, alone, swapped, strict=True):
        assert torch.equal(batch[1:2], single)
        assert torch.equal(batch, mirrored.flip(0))
    assert torch.equal(together[0][:, 0], images)


def test_samples_share_a_prefill_and_differ_by_seed(small_model: Maker) -> None:
    engine = Engine(small_model())
    visual = torch.randint(0, 50, (2, 2, 2, 2))
    many = engine.generate_motion(visual, 9, seeds=[1, 2, 3, 4], num_samples=2)
    assert many.shape == (4, 9, 36) and not torch.equal(many[0], many[1])
    assert torch.equal(many[3:], engine.generate_motion(visual[1:], 9, seeds=[4]))
    assert torch.equal(many, engine.generate_motion(visual, 9, seeds=[1, 2, 3, 4], num_samples=2))


def test_every_id_lies_in_its_own_vocabulary_and_progress_ends_at_the_total(small_model: Maker) -> None:
    calls: list[tuple[int, int]] = []
    engine = Engine(small_model(visual_ids=7, motion_ids=5))
    visual, motion = engine.generate_video_motion(
        torch.zeros(1, 2, 2, dtype=torch.int64), 3, 17, Sampling(top_p=None), callback=lambda *call: calls.append(call)
    )
    assert visual.shape == (1, 3, 2, 2) and motion.shape == (1, 17, 36)
    assert int(visual.max()) < 7 and int(motion.max()) < 5
    total = 2 * 4 + 17 * 36
    assert calls == [(done, total) for done in range(1, total + 1)]


def test_bfloat16_logits_stay_near_float32(small_model: Maker, random_tokens: Tokens) -> None:
    layout, model = LAYOUTS[0], small_model()
    given, tokens = layout.condition_length, random_tokens(layout, 2)
    results = []
    for dtype in (torch.float32, torch.bfloat16):
        decoder = Engine(model.to(dtype)).decoder
        with torch.inference_mode():
            hidden = decoder.prefill(tokens[:, :given], layout, decoder.new_cache(2, given))
            results.append(decoder.logits(hidden, 2))
    assert results[1].dtype == torch.float32
    assert (results[0] - results[1]).abs().max() < 0.1 * results[0].abs().max()


def test_wrong_requests_are_refused(small_model: Maker) -> None:
    engine, visual = Engine(small_model()), torch.zeros(1, 2, 2, 2, dtype=torch.int64)
    with pytest.raises(ValueError, match="go with 9 motion frames"):
        engine.generate_motion(visual, 17)
    with pytest.raises(ValueError, match="2 rows need 2 seeds, got 1"):
        engine.generate_motion(visual, 9, seeds=[1], num_samples=2)
    with pytest.raises(ValueError, match=r"must be in 0\.\.49, found 0\.\.50"):
        engine.generate_motion(torch.tensor([0, 50]).repeat(4).view(1, 2, 2, 2), 9)
    with pytest.raises(ValueError, match=r"visual_ids must be \(B, K, h, w\)"):
        engine.generate_motion(visual[0], 9)
    with pytest.raises(ValueError, match="num_samples must be at least 1"):
        engine.generate_motion(visual, 9, num_samples=0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temperature": -1.0}, "temperature must be 0 or more"),
        ({"top_p": 0.0}, r"top_p must be in \(0, 1\]"),
        ({"top_k": 5}, "exclude each other"),
        ({"top_p": None, "top_k": 0}, "top_k must be at least 1"),
    ],
)
def test_impossible_sampling_is_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampling(**fields)


def test_top_p_keeps_the_entry_that_crosses() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()[:, [2, 0, 3, 1]]
    probabilities, order = filtered_probabilities(logits, Sampling(top_p=0.6))
    assert order is not None
    torch.testing.assert_close(probabilities, torch.tensor([[0.625, 0.375, 0.0, 0.0]]))
    assert order[0, :2].tolist() == [1, 3]


def test_race_draws_in_proportion() -> None:
    logits = torch.tensor([0.6, 0.3, 0.1]).log().expand(20000, 3)
    noise = torch.empty(20000, 3).exponential_(generator=torch.Generator().manual_seed(0))
    counts = torch.bincount(sample(logits, Sampling(top_p=None), noise), minlength=3) / 20000
    torch.testing.assert_close(counts, torch.tensor([0.6, 0.3, 0.1]), atol=0.015, rtol=0)


def test_noise_of_a_row_depends_on_its_seed_only() -> None:
    device = torch.device("cpu")
    pair, single = NoiseSource([3, 4], device), NoiseSource([4], device)
    for size in (5, 9):
        assert torch.equal(pair.draw(size)[1:], single.draw(size))
