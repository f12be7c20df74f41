"""Switches of the paper's ablations and of training: what each changes, and that it changes nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

import ar_model.transformer as transformer
from ar_model import ARConfig, SequenceLayout, UniMoTransformer
from ar_model.absolute import absolute_table
from ar_model.config import DepthConfig
from ar_model.rope import rotate
from ar_model.sequence import MOTION, VISUAL

Maker = Callable[..., UniMoTransformer]
Tokens = Callable[..., torch.Tensor]
I2VM = SequenceLayout("i2vm", 2, 2, 2, 9)
FRAME = SequenceLayout("i2vm", 2, 2, 2, 9, motion_layout="frame")
DEPTH = DepthConfig(dim=24, layers=1, heads=2, ffn_hidden=32, code_dim=5)


def test_unified_rope_puts_a_motion_cell_where_the_pixels_are(small_model: Maker) -> None:
    plain, unified = (small_model(unified_rope=flag).positions(I2VM, "cpu") for flag in (False, True))
    visual, motion = I2VM.visual_positions, I2VM.motion_positions
    assert torch.equal(plain.cos[visual], unified.cos[visual])
    # frame 8 stands at latent frame 1; its cells lie inside the picture of 2x2
    time = slice(0, 2)
    assert torch.equal(unified.cos[motion[8 * 36], time], unified.cos[visual[4], time])
    assert not torch.allclose(plain.cos[motion[8 * 36], time], plain.cos[visual[4], time])


def test_unified_vocabulary_is_one_softmax_over_both(small_model: Maker, random_tokens: Tokens) -> None:
    model, tokens = small_model(unified_vocabulary=True), random_tokens(I2VM, 2)
    result, hidden = model.loss(tokens, I2VM), model(tokens, I2VM)
    logits = torch.cat([model.output(hidden), model.motion_output(hidden)], dim=-1)
    for modality, offset, value in ((VISUAL, 0, result.visual), (MOTION, 50, result.motion)):
        targets = I2VM.targets(modality)
        wanted = tokens[:, targets].flatten() + offset
        torch.testing.assert_close(value, F.cross_entropy(logits[:, targets - 1].flatten(0, 1), wanted).detach())
    assert result.motion > small_model().loss(tokens, I2VM).motion  # the other modality's ids take their share
    with pytest.raises(ValueError, match="unified_vocabulary needs motion_layout token"):
        ARConfig(unified_vocabulary=True, motion_layout="frame", depth=DEPTH)


@torch.no_grad()
def test_equations_3_and_4_add_the_table_to_rotated_queries_and_keys(
    small_model: Maker, random_tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokens, seen = small_model(position_form="query_key", layers=1), random_tokens(I2VM, 1), []
    import ar_model.blocks as blocks

    plain = blocks.attend
    monkeypatch.setattr(blocks, "attend", lambda q, k, *rest: seen.append((q, k)) or plain(q, k, *rest))
    model(tokens, I2VM)
    tables, attention = model.positions(I2VM, "cpu"), model.layers[0].attention
    expected = absolute_table(I2VM.shared_coordinates, I2VM.has_position, 12)
    assert torch.equal(tables.absolute, expected)
    x = model.layers[0].attention_norm(model.embed(tokens, I2VM))  # nothing is added to the stream
    query = rotate(attention.queries(x), tables.cos[:, None], tables.sin[:, None]) + expected[:, None]
    torch.testing.assert_close(seen[0][0], query.transpose(1, 2))
    key = rotate(attention.keys_and_values(x)[0], tables.cos[:, None], tables.sin[:, None]) + expected[:, None]
    torch.testing.assert_close(seen[0][1], key.transpose(1, 2))
    with pytest.raises(ValueError, match="position_form must be residual or query_key"):
        ARConfig(position_form="both")


@pytest.mark.parametrize("chunk", [2**26, 100])
def test_z_loss_adds_squared_log_partitions_to_the_total_alone(
    small_model: Maker, random_tokens: Tokens, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformer, "MAX_LOGITS", chunk)
    model, tokens = small_model(), random_tokens(I2VM, 2)
    plain, weighted = model.loss(tokens, I2VM), model.loss(tokens, I2VM, z_loss=0.5)
    hidden = model(tokens, I2VM)
    squares = [
        torch.logsumexp(model.head(modality)(hidden[:, I2VM.targets(modality) - 1]), -1).square().flatten()
        for modality in (VISUAL, MOTION)
    ]
    torch.testing.assert_close(weighted.total, plain.total + 0.5 * torch.cat(squares).mean())
    torch.testing.assert_close((weighted.visual, weighted.motion), (plain.visual, plain.motion))


@pytest.mark.parametrize(("layout", "changes"), [(I2VM, {}), (FRAME, {"motion_layout": "frame", "depth": DEPTH})])
def test_activation_checkpointing_keeps_less_and_gives_the_same_gradients(
    small_model: Maker, random_tokens: Tokens, layout: SequenceLayout, changes: dict
) -> None:
    results, kept = [], []
    for again in (False, True):
        model = small_model(dropout=0.1, position_gain=0.3, **changes).train()
        model.activation_checkpointing = again
        sizes: list[int] = []
        torch.manual_seed(0)
        with torch.autograd.graph.saved_tensors_hooks(lambda x, s=sizes: s.append(x.numel()) or x, lambda x: x):
            loss = model.loss(random_tokens(layout, 2), layout).total
        loss.backward()
        kept.append(sum(sizes))
        results.append([loss.detach(), *(value.grad for _, value in sorted(model.named_parameters()))])
    assert kept[1] < 0.7 * kept[0]
    torch.testing.assert_close(results[1], results[0])
