"""The motion layout "frame": lengths, what sees what, the loss, and generation against the plain pass."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from ar_model import ARConfig, Engine, Sampling, SequenceLayout, UniMoTransformer
from ar_model.config import DepthConfig
from ar_model.sampling import NoiseSource, race
from ar_model.sequence import MOTION, VISUAL

Maker = Callable[..., UniMoTransformer]
Tokens = Callable[..., torch.Tensor]
DEPTH = DepthConfig(dim=24, layers=2, heads=2, ffn_hidden=32, code_dim=5)
V2M = SequenceLayout("v2m", 2, 2, 2, 9, motion_layout="frame")
I2VM = SequenceLayout("i2vm", 3, 2, 2, 17, motion_layout="frame")
LAYOUTS = pytest.mark.parametrize("layout", [V2M, I2VM], ids=lambda layout: layout.task)


@pytest.fixture
def frame_model(small_model: Maker) -> Maker:
    return lambda **changes: small_model(motion_layout="frame", depth=DEPTH, **changes)


def test_lengths_at_the_papers_size_and_at_minis() -> None:
    base, mini = (SequenceLayout("v2m", *grid, motion_layout="frame") for grid in ((9, 32, 32, 65), (3, 8, 8, 17)))
    assert (len(base), base.num_tokens) == (9283, 11558)
    assert (len(mini), mini.num_tokens) == (211, 806)


@LAYOUTS
def test_tokens_stand_as_in_the_other_layout(layout: SequenceLayout, random_tokens: Tokens) -> None:
    plain = SequenceLayout(layout.task, layout.latent_frames, 2, 2, layout.frames)
    tokens = random_tokens(layout, 2)
    assert torch.equal(tokens, random_tokens(plain, 2))
    frames = plain.motion_positions.view(-1, 36)
    assert torch.equal(layout.first_tokens[layout.motion_positions], frames[:, 0])
    assert torch.equal(layout.first_tokens[layout.visual_positions], plain.visual_positions)
    # a frame stands in the middle of its cells, in both systems of coordinates
    for name in ("rope_coordinates", "shared_coordinates"):
        mean = getattr(plain, name)[frames].mean(1)
        torch.testing.assert_close(getattr(layout, name)[layout.motion_positions], mean)


@LAYOUTS
@torch.no_grad()
def test_a_frame_changes_what_follows_it_and_nothing_before(
    frame_model: Maker, random_tokens: Tokens, layout: SequenceLayout
) -> None:
    model, tokens = frame_model(), random_tokens(layout, 1)
    frame = int(layout.motion_positions[-3])
    for code in (0, 35):
        changed = tokens.clone()
        changed[:, layout.first_tokens[frame] + code] += 1
        before, after = model(tokens, layout), model(changed, layout)
        assert torch.equal(after[:, :frame], before[:, :frame])
        assert ((after - before)[:, frame:].abs().amax(-1) > 1e-5).all()


@torch.no_grad()
def test_a_code_is_predicted_from_those_before_it_in_its_frame(frame_model: Maker) -> None:
    depth = frame_model().depth
    hidden, codes = torch.randn(1, 2, 48), torch.randint(40, (1, 2, 36))
    before = depth(hidden, codes)
    changed = codes.clone()
    changed[0, 0, 7] += 1
    difference = (depth(hidden, changed) - before).abs().amax(-1)[0]
    assert difference[0, :8].max() == 0 and difference[0, 8:].min() > 1e-6 and difference[1].max() == 0
    assert ((depth(hidden + torch.tensor([[[0.1], [0.0]]]), codes) - before).abs().amax(-1)[0, 0] > 1e-6).all()


@LAYOUTS
def test_loss_is_the_mean_over_all_targets_and_reaches_every_weight(
    frame_model: Maker, random_tokens: Tokens, layout: SequenceLayout
) -> None:
    model, tokens = frame_model().train(), random_tokens(layout, 2)
    result = model.loss(tokens, layout)
    hidden = model(tokens, layout)
    _, motion_ids = layout.invert(tokens)
    motion = F.cross_entropy(
        model.depth.output(model.depth(hidden[:, layout.motion_positions - 1], motion_ids)).flatten(0, 2),
        motion_ids.flatten(), reduction="sum",
    )  # fmt: skip
    targets = layout.targets(VISUAL)
    logits = model.output(hidden[:, targets - 1]).flatten(0, 1)
    visual = F.cross_entropy(logits, tokens[:, layout.first_tokens[targets]].flatten(), reduction="sum")
    count = tokens.shape[0] * (36 * layout.frames + len(targets))
    assert (result.motion_tokens, result.visual_tokens) == (2 * 36 * layout.frames, 2 * len(targets))
    torch.testing.assert_close(result.total, (motion + visual) / count)
    result.total.backward()
    missing = {name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()}
    assert missing <= ({"output.weight"} if layout.task == "v2m" else set())


def test_dropped_frames_are_as_if_they_had_no_loss(frame_model: Maker, random_tokens: Tokens) -> None:
    model, tokens, keep = frame_model(), random_tokens(V2M, 2), V2M.reading_positions([0])
    assert torch.equal(keep, torch.arange(V2M.condition_length))
    short = model.norm(model.residuals(tokens, V2M, keep)[-1])
    loss = model.loss_of(short, V2M, tokens, tokens, keep)
    assert loss.motion_tokens == 2 * 36
    whole = model(tokens, V2M)[:, V2M.condition_length - 1, None]
    codes = V2M.invert(tokens)[1][:, :1]
    expected = F.cross_entropy(model.depth.output(model.depth(whole, codes)).flatten(0, 2), codes.flatten())
    torch.testing.assert_close(loss.motion, expected.detach())


@LAYOUTS
@pytest.mark.parametrize("rule", [Sampling(temperature=0), Sampling(1.0, 0.8), Sampling(0.9, None, 5)], ids=str)
@torch.inference_mode()
def test_generation_equals_the_plain_pass_drawn_code_by_code(
    frame_model: Maker, random_tokens: Tokens, layout: SequenceLayout, rule: Sampling
) -> None:
    model, rows, given = frame_model(), 2, layout.condition_length
    tokens = random_tokens(layout, rows)
    written = Engine(model).complete(tokens, layout, given, rule, [3, 4])
    noise = NoiseSource([3, 4], torch.device("cpu"))
    plain = tokens.clone()
    plain[:, given:] = 0
    for position in range(given, len(layout)):
        first, modality = int(layout.first_tokens[position]), int(layout.modality[position])
        hidden = model(plain, layout)[:, position - 1]
        if modality == VISUAL:
            drawn = noise.draw(50) if rule.temperature else None
            plain[:, first] = race(model.output(hidden), rule, drawn)
            continue
        drawn = noise.draw(36 * 40).view(rows, 36, 40) if rule.temperature else None
        for code in range(36):
            frame = plain[:, first : first + 36]
            logits = model.depth.output(model.depth(hidden[:, None], frame[:, None])[:, 0, code])
            plain[:, first + code] = race(logits, rule, None if drawn is None else drawn[:, code])
    assert torch.equal(written, plain)


@torch.inference_mode()
def test_a_row_does_not_depend_on_its_neighbours_and_samples_share_a_prompt(frame_model: Maker) -> None:
    engine, clips = Engine(frame_model()), torch.randint(50, (3, 2, 2, 2))
    together = engine.generate_motion(clips, 9, seeds=[5, 6, 7, 8, 9, 10], num_samples=2)
    alone = engine.generate_motion(clips[1:2], 9, seeds=[8])
    assert torch.equal(together[3:4], alone) and not torch.equal(together[2], together[3])


@torch.inference_mode()
def test_completion_begins_between_frames(frame_model: Maker, random_tokens: Tokens) -> None:
    engine, tokens, given = Engine(frame_model()), random_tokens(V2M, 1), V2M.condition_length
    written = engine.complete(tokens, V2M, given + 72, Sampling(), [0])
    assert torch.equal(written[:, : given + 72], tokens[:, : given + 72])
    with pytest.raises(ValueError, match="between motion frames, got 47"):
        engine.complete(tokens, V2M, given + 37, Sampling(), [0])


def test_wrong_layouts_are_refused(frame_model: Maker, small_model: Maker, random_tokens: Tokens) -> None:
    plain = SequenceLayout("v2m", 2, 2, 2, 9)
    with pytest.raises(ValueError, match="motion layout 'frame', the sequence 'token'"):
        frame_model()(random_tokens(plain, 1), plain)
    with pytest.raises(ValueError, match="motion layout 'token', the sequence 'frame'"):
        Engine(small_model()).complete(random_tokens(V2M, 1), V2M, 10, Sampling(), [0])
    with pytest.raises(ValueError, match="motion_layout must be token or frame"):
        SequenceLayout("v2m", 2, 2, 2, 9, motion_layout="slot")
    with pytest.raises(ValueError, match="depth must be given exactly"):
        ARConfig(motion_layout="frame")
    with pytest.raises(ValueError, match="depth must be given exactly"):
        ARConfig(depth=DEPTH)
    with pytest.raises(ValueError, match=r"depth.heads \(5\) must divide depth.dim \(24\)"):
        DepthConfig(dim=24, heads=5)


@torch.no_grad()
def test_video_sequences_need_no_motion(frame_model: Maker, random_tokens: Tokens) -> None:
    layout = SequenceLayout("video", 3, 2, 2)
    model = frame_model()
    assert torch.isfinite(model.loss(random_tokens(layout, 1), layout).total)
    assert int(layout.modality.eq(MOTION).sum()) == 0
