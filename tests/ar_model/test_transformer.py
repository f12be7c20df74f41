"""The transformer: causality, the loss, switches, learning."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

import ar_model.blocks as blocks
import ar_model.transformer as transformer
from ar_model import ARConfig, SequenceLayout, UniMoTransformer
from ar_model.attention import prefix_mask
from ar_model.sequence import MOTION, VISUAL

Maker = Callable[..., UniMoTransformer]
Tokens = Callable[..., torch.Tensor]
V2M = SequenceLayout("v2m", 2, 2, 2, 9)
I2VM = SequenceLayout("i2vm", 2, 2, 2, 9)
VIDEO = SequenceLayout("video", 3, 2, 2)


@pytest.mark.parametrize("layout", [V2M, I2VM, VIDEO], ids=lambda layout: layout.task)
@torch.no_grad()
def test_a_later_target_changes_nothing_before_it(small_model: Maker, random_tokens: Tokens, layout) -> None:
    model, tokens = small_model(), random_tokens(layout, 1)
    position = len(layout) - 3
    changed = tokens.clone()
    changed[:, position] += 1
    before, after = model(tokens, layout), model(changed, layout)
    torch.testing.assert_close(after[:, :position], before[:, :position], atol=1e-6, rtol=1e-6)
    assert ((after - before)[:, position:].abs().amax(-1) > 1e-4).all()


@pytest.mark.parametrize("layout", [V2M, I2VM], ids=lambda layout: layout.task)
@torch.no_grad()
def test_any_condition_token_changes_everything(small_model: Maker, random_tokens: Tokens, layout) -> None:
    model, tokens = small_model(), random_tokens(layout, 1)
    before = model(tokens, layout)
    for position in (1, layout.condition_length - 2):
        changed = tokens.clone()
        changed[:, position] = (changed[:, position] + 1) % 40
        assert ((model(changed, layout) - before).abs().amax(-1) > 1e-6).all()


@torch.no_grad()
def test_video_is_causal_from_its_first_token(small_model: Maker, random_tokens: Tokens) -> None:
    model, tokens = small_model(), random_tokens(VIDEO, 1)
    changed = tokens.clone()
    changed[:, 2] = (changed[:, 2] + 1) % 40
    torch.testing.assert_close(model(changed, VIDEO)[:, :2], model(tokens, VIDEO)[:, :2], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("layout", [V2M, I2VM, VIDEO], ids=lambda layout: layout.task)
def test_loss_is_the_next_token_in_its_own_vocabulary(small_model: Maker, random_tokens: Tokens, layout) -> None:
    model, tokens = small_model(), random_tokens(layout, 2)
    result = model.loss(tokens, layout)
    with torch.no_grad():
        hidden = model(tokens, layout)
    sums = {VISUAL: [], MOTION: []}
    for position in range(layout.condition_length, len(layout)):
        modality = int(layout.modality[position])
        logits = model.head(modality)(hidden[:, position - 1])
        sums[modality].append(F.cross_entropy(logits, tokens[:, position], reduction="none"))
    everything = torch.cat(sums[VISUAL] + sums[MOTION])
    torch.testing.assert_close(result.total, everything.mean())
    for value, modality in ((result.visual, VISUAL), (result.motion, MOTION)):
        if sums[modality]:
            torch.testing.assert_close(value, torch.cat(sums[modality]).mean())
        else:
            assert value == 0
    assert result.visual_tokens + result.motion_tokens == len(everything)


def test_chunked_loss_equals_whole_loss(small_model: Maker, random_tokens: Tokens, monkeypatch) -> None:
    model, tokens = small_model(), random_tokens(V2M, 2)
    whole = model.loss(tokens, V2M)
    whole_gradient = torch.autograd.grad(whole.total, model.motion_output.weight)[0]
    monkeypatch.setattr(transformer, "MAX_LOGITS", 40 * 37)
    parts = model.loss(tokens, V2M)
    torch.testing.assert_close(parts.total, whole.total)
    torch.testing.assert_close(parts.motion_accuracy, whole.motion_accuracy)
    torch.testing.assert_close(torch.autograd.grad(parts.total, model.motion_output.weight)[0], whole_gradient)


@pytest.mark.parametrize("layout", [V2M, I2VM, VIDEO], ids=lambda layout: layout.task)
@pytest.mark.parametrize("backend", ["sdpa", "blocked", "flex"])
@torch.no_grad()
def test_attention_backends_give_the_same_hidden_states(
    small_model: Maker, random_tokens: Tokens, backend: str, layout
) -> None:
    tokens = random_tokens(layout, 2)
    fast, plain = small_model(attention=backend), small_model(attention="mask")
    torch.testing.assert_close(fast(tokens, layout), plain(tokens, layout), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_absolute_positions_enter_every_layer_and_can_be_off(small_model: Maker, random_tokens: Tokens) -> None:
    tokens = random_tokens(V2M, 1)
    on, off, gained = small_model(), small_model(absolute_positions=False), small_model(position_gain=0.0)
    assert not torch.allclose(on(tokens, V2M), off(tokens, V2M), atol=1e-3)
    torch.testing.assert_close(gained(tokens, V2M), off(tokens, V2M))
    assert gained.position_gain is not None
    gained.position_gain.fill_(1.0)
    torch.testing.assert_close(gained(tokens, V2M), on(tokens, V2M))
    gained.position_gain[1] = 0.0
    assert not torch.allclose(gained(tokens, V2M), on(tokens, V2M), atol=1e-3)


def test_dropout_acts_only_in_training(small_model: Maker, random_tokens: Tokens) -> None:
    model, tokens = small_model(dropout=0.3), random_tokens(V2M, 1)
    with torch.no_grad():
        assert torch.equal(model(tokens, V2M), model(tokens, V2M))
        model.train()
        assert not torch.equal(model(tokens, V2M), model(tokens, V2M))


def test_state_dict_holds_weights_only_under_cosmos_names(small_model: Maker) -> None:
    names = set(small_model().state_dict())
    layer = {f"attention.{name}.weight" for name in ("wq", "wk", "wv", "wo", "q_norm", "k_norm")}
    layer |= {f"feed_forward.{name}.weight" for name in ("w1", "w2", "w3")}
    layer |= {"attention_norm.weight", "ffn_norm.weight"}
    cosmos = {"tok_embeddings.weight", "norm.weight", "output.weight"}
    cosmos |= {f"layers.{index}.{name}" for index in range(2) for name in layer}
    assert names - cosmos == {"motion_embeddings.weight", "special_embeddings.weight", "motion_output.weight"}
    assert cosmos <= names


def test_one_batch_is_learnt_by_heart(random_tokens: Tokens) -> None:
    torch.manual_seed(0)
    model = UniMoTransformer(
        ARConfig(dim=64, layers=2, heads=2, kv_heads=1, ffn_hidden=128, visual_ids=40, motion_ids=40, init_std=0.1)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    batches = [(layout, random_tokens(layout, 1, seed)) for seed, layout in enumerate((V2M, I2VM))]
    for _ in range(80):
        losses = [model.loss(tokens, layout) for layout, tokens in batches]
        torch.stack([loss.total for loss in losses]).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    for layout, tokens in batches:
        result = model.loss(tokens, layout)
        assert result.total < 0.1 and result.motion_accuracy > 0.99


def test_wrong_tokens_are_refused(small_model: Maker, random_tokens: Tokens) -> None:
    with pytest.raises(ValueError, match="tokens must be"):
        small_model()(random_tokens(V2M, 1)[:, :-1], V2M)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kv_heads": 3}, "kv_heads .3. must divide heads"),
        ({"dim": 50}, "must divide dim"),
        ({"head_dim": 7}, "head width must be even"),
        ({"attention": "magic"}, "attention must be one of sdpa, blocked, flex, flash, mask"),
        ({"visual_embedding_rows": 10}, "below visual_ids"),
        ({"dropout": 1.0}, "dropout must be in"),
        ({"absolute_positions": False, "position_gain": 0.0}, "position_gain needs absolute_positions"),
        ({"layers": 0}, "layers must be at least 1"),
    ],
)
def test_impossible_configs_are_refused(changes: dict, message: str) -> None:
    fields = dict(dim=48, layers=1, heads=4, kv_heads=2, ffn_hidden=64, visual_ids=50)
    with pytest.raises(ValueError, match=message):
        ARConfig(**{**fields, **changes})


def test_dropped_positions_are_as_if_masked_and_the_others_keep_their_places(
    small_model: Maker, random_tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, layout = small_model(), SequenceLayout("v2m", 2, 2, 2, 9)
    tokens, keep = random_tokens(layout, 2), layout.reading_positions([2, 5])
    short = model.norm(model.residuals(tokens, layout, keep)[-1])
    loss = model.loss_of(short, layout, tokens, tokens, keep=keep)
    assert loss.visual_tokens == 0 and loss.motion_tokens == 2 * 73  # [STG] predicts the first code of all

    seen = torch.zeros(len(layout), dtype=torch.bool)
    seen[keep] = True

    def masked(query, key, value, prefix, backend):
        mask = prefix_mask(len(layout), prefix) & seen
        return F.scaled_dot_product_attention(query, key, value, mask | torch.eye(len(layout)).bool(), enable_gqa=True)

    assert not torch.allclose(model(tokens, layout)[:, keep], short, atol=1e-3)
    monkeypatch.setattr(blocks, "attend", masked)
    assert torch.allclose(model(tokens, layout)[:, keep], short, atol=1e-5)
