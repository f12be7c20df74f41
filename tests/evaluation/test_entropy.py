"""The engine shows its logits and draws what it drew before; their entropies are those of the plain model."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from ar_model import ARConfig, Engine, UniMoTransformer
from ar_model.config import DepthConfig
from ar_model.sampling import Sampling
from ar_model.sequence import MOTION, VISUAL, SequenceLayout
from unimo.evaluation.entropy import EntropyMeter, watched

SIZES: dict[str, Any] = dict(
    dim=32, layers=2, heads=2, kv_heads=1, ffn_hidden=48, visual_ids=40, motion_ids=24, init_std=0.2
)


def engine(motion_layout: str, speculate: int = 0) -> Engine:
    torch.manual_seed(0)
    depth = DepthConfig(dim=16, layers=1, heads=2, ffn_hidden=24, code_dim=4) if motion_layout == "frame" else None
    config = ARConfig(**SIZES, motion_layout=motion_layout, depth=depth)
    return Engine(UniMoTransformer(config).eval(), speculate=speculate)


@pytest.mark.parametrize("motion_layout", ["token", "frame"])
def test_watching_changes_nothing_and_sees_every_draw_in_order(motion_layout: str) -> None:
    plain = engine(motion_layout)
    ids = torch.randint(40, (2, 2, 1, 1), generator=torch.Generator().manual_seed(1))
    alone = plain.generate_motion(ids, 9, Sampling(0.7, 0.9), seeds=[5, 6])
    shown = []
    plain.watch = lambda modality, logits: shown.append((modality, logits.clone()))
    assert torch.equal(plain.generate_motion(ids, 9, Sampling(0.7, 0.9), seeds=[5, 6]), alone)
    assert len(shown) == 9 * 36 and {modality for modality, _ in shown} == {MOTION}
    assert all(logits.shape == (2, 24) for _, logits in shown)
    # the most likely token of what is shown is what is drawn without chance
    shown.clear()
    greedy = plain.generate_motion(ids, 9, Sampling(temperature=0), seeds=[0, 0])
    assert torch.equal(torch.stack([logits.argmax(-1) for _, logits in shown], 1), greedy.flatten(1))
    visual, _ = plain.generate_video_motion(ids[:, 0], 2, 9, Sampling(), seeds=[1, 2])
    assert sum(modality == VISUAL for modality, _ in shown[9 * 36 :]) == visual[:, 1:].shape[1:].numel()


def test_entropies_are_those_of_the_models_own_logits() -> None:
    plain = engine("token")
    ids = torch.randint(40, (3, 2, 1, 1), generator=torch.Generator().manual_seed(1))
    with watched(plain, 0.5) as meter:
        motion = plain.generate_motion(ids, 9, Sampling(0.5, 0.9), seeds=[1, 2, 3])
        meter.end_batch()
    assert plain.watch is None
    with pytest.raises(KeyboardInterrupt), watched(plain, 0.5):
        raise KeyboardInterrupt
    assert plain.watch is None  # nor after an interrupt
    layout = SequenceLayout("v2m", 2, 1, 1, 9)
    tokens = layout.build(ids, motion)
    with torch.no_grad():
        hidden = plain.model(tokens, layout)
        before = (layout.modality == MOTION).nonzero()[:, 0] - 1
        logits = plain.model.head(MOTION)(hidden[:, before])
    mass = torch.softmax(logits / 0.5, -1)
    expected = -(mass * (mass + 1e-30).log()).sum(-1).mean(-1)
    torch.testing.assert_close(meter.nats, expected, rtol=1e-4, atol=1e-4)


def test_a_coin_has_the_entropy_of_a_coin() -> None:
    meter = EntropyMeter()
    meter(MOTION, torch.tensor([[0.0, 0.0, -torch.inf], [5.0, -torch.inf, -torch.inf]]))
    meter(VISUAL, torch.zeros(2, 3))
    meter(MOTION, torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, -torch.inf]]))
    meter.end_batch()
    expected = torch.tensor([(math.log(2) + math.log(3)) / 2, math.log(2) / 2])
    torch.testing.assert_close(meter.nats, expected)


def test_speculation_and_watching_exclude_each_other() -> None:
    fast = engine("token", speculate=4)
    fast.watch = EntropyMeter()
    with pytest.raises(ValueError, match="logits cannot be watched"):
        fast.generate_motion(torch.zeros(1, 2, 1, 1, dtype=torch.int64), 9)
