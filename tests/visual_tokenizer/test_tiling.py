"""Chunks and tiles: exact where they need not cut, the right latents where they do, bounded memory, small seams."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from unimo.bundle import load_bundle
from unimo.media.video import read_video
from visual_tokenizer import (
    ContinuousTokenizerConfig,
    ContinuousVisualTokenizer,
    DiscreteVisualTokenizer,
    TiledTokenizer,
    Tiling,
    VisualTokenizerConfig,
)

EXAMPLE = Path(__file__).resolve().parents[2] / "assets/examples/clip.mp4"
SIZES: dict = dict(channels=8, channel_multipliers=(1, 2, 2), num_res_blocks=1)
TILING = Tiling(side=32, overlap=16, chunk=17, context=1)


@pytest.fixture(scope="module", params=["ids", "latents"])
def model(request: pytest.FixtureRequest) -> DiscreteVisualTokenizer | ContinuousVisualTokenizer:
    torch.manual_seed(0)
    if request.param == "ids":
        model = DiscreteVisualTokenizer(VisualTokenizerConfig(**SIZES, fsq_levels=(8, 8, 8))).eval()
    else:
        model = ContinuousVisualTokenizer(ContinuousTokenizerConfig(**SIZES)).eval()
    with torch.no_grad():  # fresh weights hardly tell one clip from another
        latents = torch.cat([model.latents(video(17, seed=seed)) for seed in range(8)])
        scale = 2 / latents.std(0).mean((1, 2, 3))
        mean = latents.mean((0, 2, 3, 4))
        model.quant_conv.weight.mul_(scale.view(-1, 1, 1, 1, 1))
        model.quant_conv.bias.sub_(mean).mul_(scale)  # type: ignore[union-attr]
        assert len(model.encode(video(17)).unique()) > 6
    return model


@pytest.fixture(scope="module")
def mini() -> DiscreteVisualTokenizer:
    return load_bundle("mini").visual_tokenizer.float().eval()


def video(frames: int, height: int = 32, width: int = 32, batch: int = 1, seed: int = 9) -> torch.Tensor:
    """Large random blocks that change every few frames."""
    sizes = (batch, 3, frames // 4 + 1, height // 16 + 1, width // 16 + 1)
    blocks = torch.rand(sizes, generator=torch.Generator().manual_seed(seed)).round() * 2 - 1
    for axis, length in ((2, 4), (3, 16), (4, 16)):
        blocks = blocks.repeat_interleave(length, axis)
    return blocks[:, :, :frames, :height, :width]


@pytest.mark.parametrize("frames", [1, 9, 17])
@torch.no_grad()
def test_what_fits_is_the_plain_result(model, frames: int) -> None:
    clip, tiled = video(frames, batch=2), TiledTokenizer(model, TILING)
    tokens = model.encode(clip)
    assert torch.equal(tiled.encode(clip), tokens)
    assert torch.equal(tiled.decode(tokens), model.decode(tokens))
    pieces = list(tiled.encode_stream(clip[:, :, frame : frame + 1] for frame in range(frames)))
    assert torch.equal(torch.cat(pieces, -3), tokens)


@pytest.mark.parametrize("context", [1, 2])
@pytest.mark.parametrize(("frames", "latents"), [(1, 1), (2, 2), (8, 2), (17, 3), (18, 4), (32, 5), (33, 5), (41, 6)])
def test_every_length_has_its_latents_and_its_frames_back(model, frames: int, latents: int, context: int) -> None:
    tiled = TiledTokenizer(model, Tiling(32, 16, 17, context))
    clip = video(frames)
    tokens = torch.cat(list(tiled.encode_stream(clip.split(5, dim=2))), -3)
    assert tokens.shape[-3] == latents
    filled = torch.cat([clip, clip[:, :, -1:].expand(-1, -1, 8 * (latents - 1) + 1 - frames, -1, -1)], 2)
    assert torch.equal(tiled.encode(filled), tokens)
    whole = tiled.decode(tokens)
    assert whole.shape == filled.shape and whole.abs().max() <= 1
    cut = list(tiled.decode_stream(tokens.split(2, dim=-3), frames))
    assert all(piece.shape[2] for piece in cut) and torch.equal(torch.cat(cut, 2), whole[:, :, :frames])


@torch.no_grad()
def test_later_chunks_drop_the_latents_of_their_context(model) -> None:
    """With 17-frame chunks and context 1, latents 3 and 4 come from frames 16..32, as a clip of its own."""
    clip = video(33)
    tokens = TiledTokenizer(model, TILING).encode(clip)
    first, second = model.encode(clip[:, :, :17]), model.encode(clip[:, :, 16:33])
    assert torch.equal(tokens, torch.cat([first, second.narrow(-3, 1, 2)], -3))
    two = TiledTokenizer(model, Tiling(32, 16, 17, 2)).encode(clip)
    windows = [model.encode(clip[:, :, start : start + 17]).narrow(-3, 2, 1) for start in (8, 16)]
    assert torch.equal(two, torch.cat([first, *windows], -3))


@torch.no_grad()
def test_shared_frames_go_from_one_chunk_to_the_next(model) -> None:
    clip = video(25)
    tokens = model.encode(clip)
    drawn = TiledTokenizer(model, Tiling(32, 16, 17, 2)).decode(tokens)
    early, late = model.decode(tokens.narrow(-3, 0, 3)), model.decode(tokens.narrow(-3, 1, 3))
    assert (early[:, :, 8:] - late[:, :, :9]).abs().max() > 1e-3
    ramp = torch.linspace(0, 1, 9).view(-1, 1, 1)
    expected = torch.cat([early[:, :, :8], early[:, :, 8:] * (1 - ramp) + late[:, :, :9] * ramp, late[:, :, 9:]], 2)
    torch.testing.assert_close(drawn, expected, atol=1e-6, rtol=0)


@torch.no_grad()
def test_tiles_are_blended_in_latents_and_in_pixels(model) -> None:
    clip = video(9, 32, 48)
    tiled = TiledTokenizer(model, TILING)
    left, right = model.latents(clip[..., :32]), model.latents(clip[..., 16:])
    cells = 16 // model.compression[1]  # that the two tiles share
    ramp = torch.linspace(0, 1, cells)
    middle = left[..., cells:] * (1 - ramp) + right[..., :cells] * ramp
    latents = torch.cat([left[..., :cells], middle, right[..., cells:]], -1)
    tokens = tiled.encode(clip)
    if isinstance(model, DiscreteVisualTokenizer):
        assert torch.equal(tokens, model.quantizer(latents)[1])
    else:
        torch.testing.assert_close(tokens, latents, atol=1e-6, rtol=0)
    one, two = model.decode(tokens[..., : 2 * cells]), model.decode(tokens[..., cells:])
    pixels = torch.linspace(0, 1, 16)
    expected = torch.cat([one[..., :16], one[..., 16:] * (1 - pixels) + two[..., :16] * pixels, two[..., 16:]], -1)
    torch.testing.assert_close(tiled.decode(tokens), expected, atol=1e-6, rtol=0)


def test_large_long_video_has_its_shape(model) -> None:
    clip, tiled = video(25, 64, 80), TiledTokenizer(model, TILING)
    tokens = tiled.encode(clip)
    cell = model.compression[1]
    assert tokens.shape[-3:] == (4, 64 // cell, 80 // cell)
    assert tiled.decode(tokens).shape == clip.shape
    assert not tokens.requires_grad


class Alive:
    """Counts tensors that are still held by somebody."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def watch(self, tensor: torch.Tensor) -> torch.Tensor:
        self.now += 1
        self.most = max(self.most, self.now)
        weakref.finalize(tensor, self._gone)
        return tensor

    def _gone(self) -> None:
        self.now -= 1


def test_memory_does_not_grow_with_the_video(model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither frames that came in, nor what the networks made of them, are kept; nor do longer parts go through."""
    tiled, longest = TiledTokenizer(model, TILING), 0

    def held(frames: int) -> tuple[int, int]:
        nonlocal longest
        came, made = Alive(), Alive()
        decode, latents = model.decode, model.latents

        def watched(network, part: torch.Tensor) -> torch.Tensor:
            nonlocal longest
            longest = max(longest, part.shape[-3])
            return made.watch(network(part))

        with monkeypatch.context() as patch:
            patch.setattr(model, "latents", lambda part: watched(latents, part))
            patch.setattr(model, "decode", lambda part: watched(decode, part))
            frame = video(1)
            stream = tiled.encode_stream(came.watch(frame.clone()) for _ in range(frames))
            total = sum(piece.shape[2] for piece in tiled.decode_stream(stream, frames))
        assert total == frames
        return came.most, made.most

    short, long = held(33), held(161)
    assert longest == 17 and long == short and long[0] <= 17 and long[1] <= 4


def moving_clip(frames: int) -> torch.Tensor:
    clip = torch.from_numpy(read_video(EXAMPLE, max_frames=61)).permute(0, 3, 1, 2).float() / 127.5 - 1
    clip = F.interpolate(clip, size=(128, 128), mode="area").transpose(0, 1)[None]
    return torch.cat([clip, clip.flip(2)[:, :, 1:]], 2)[:, :, :frames]


@torch.no_grad()
def test_a_still_video_has_no_seam(mini: DiscreteVisualTokenizer) -> None:
    """Measured: steps of at most 0.29 of 255 anywhere, and the seam's are no larger."""
    still = moving_clip(1).expand(-1, -1, 65, -1, -1)
    drawn = TiledTokenizer(mini, Tiling(128, 16, 33, 2)).decode(mini.encode(still))
    steps = (drawn[:, :, 1:] - drawn[:, :, :-1]).abs().mean((0, 1, 3, 4)) * 127.5
    assert steps[23:34].max() <= steps[8:23].max() + 0.05 < 0.6


def seam_steps(mini: DiscreteVisualTokenizer, clip: torch.Tensor, context: int) -> tuple[float, float]:
    """Largest change from frame to frame, of 255, at the seams and elsewhere."""
    tiled = TiledTokenizer(mini, Tiling(128, 16, 33, context))
    drawn = tiled.decode(tiled.encode(clip))
    steps = (drawn[:, :, 1:] - drawn[:, :, :-1]).abs().mean((0, 1, 3, 4)) * 127.5
    start = 8 * (5 - context)
    return float(steps[start - 1 : 33].max()), float(steps[: start - 1].max())


def test_a_moving_video_jumps_no_more_at_a_seam_than_elsewhere(mini: DiscreteVisualTokenizer) -> None:
    """Measured on the example clip: 7.2 of 255 with one latent of context, 2.8 with two, up to 3.1 away from seams."""
    clip = moving_clip(57)
    (short, _), (seam, elsewhere) = seam_steps(mini, clip, 1), seam_steps(mini, clip, 2)
    assert seam < 1.2 * elsewhere and seam < 0.6 * short


@torch.no_grad()
def test_tiles_of_a_picture_leave_no_edge(mini: DiscreteVisualTokenizer) -> None:
    """Measured: 25.1 dB from four tiles of 96 pixels, 25.9 dB in one pass of 128."""
    picture = moving_clip(1)
    tiled = TiledTokenizer(mini, Tiling(96, 64, 33, 2))
    drawn, plain = tiled.decode(tiled.encode(picture)), mini.decode(mini.encode(picture))
    errors = [10 * torch.log10(4 / (each - picture).square().mean()) for each in (drawn, plain)]
    assert errors[0] > errors[1] - 1.2


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((32, 32, 17, 1), "overlap must be 1 to side - 1"),
        ((32, 0, 17, 1), "overlap must be 1 to side - 1"),
        ((32, 16, 1, 1), "chunk must be at least 2"),
        ((32, 16, 17, 0), "context at least 1"),
        ((40, 16, 17, 1), "multiples of 16"),
        ((32, 24, 17, 1), "multiples of 16"),
        ((32, 16, 16, 1), r"1 \+ 8n frames, got 16"),
        ((32, 16, 17, 3), "below the chunk's 3 latent frames"),
    ],
)
def test_tilings_that_cannot_be(sizes: tuple[int, int, int, int], message: str) -> None:
    model = DiscreteVisualTokenizer(VisualTokenizerConfig(**SIZES, fsq_levels=(8, 8)))
    with pytest.raises(ValueError, match=message):
        TiledTokenizer(model, Tiling(*sizes))


def test_bad_input_is_refused(model) -> None:
    tiled = TiledTokenizer(model, TILING)
    with pytest.raises(ValueError, match="1 \\+ 8k"):
        tiled.encode(video(16))
    with pytest.raises(ValueError, match="multiples of"):
        tiled.encode(video(9, 32, 44))
    with pytest.raises(ValueError, match="stream is empty"):
        list(tiled.encode_stream([]))
    with pytest.raises(ValueError, match="float in"):
        list(tiled.encode_stream([torch.zeros(1, 3, 1, 32, 32, dtype=torch.uint8)]))
    with pytest.raises(ValueError, match="differ in length only"):
        list(tiled.encode_stream([video(1), video(1, 48)]))
    with pytest.raises(ValueError, match="differ in length only"):
        list(tiled.encode_stream(_pieces()))
    with pytest.raises(ValueError, match="must be \\(B, "):
        tiled.decode(torch.zeros(2, 2, 2))


def _pieces() -> Iterator[torch.Tensor]:
    yield video(1)
    yield video(1, batch=2)
