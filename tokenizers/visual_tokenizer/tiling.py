"""Long and large video through either visual tokenizer: chunks of time and tiles of the picture, one at a time.

In: video (B, 3, T, H, W) in [-1, 1], whole or in pieces as it comes. Out: ids (B, K, h, w) of the discrete tokenizer or
latents (B, C, K, h, w) of the continuous one, and back. Memory depends on the tiling, not on the video's length.
What fits one chunk and one tile is exactly the plain result; beyond that:

Tiles overlap and are blended linearly, latents (before quantisation) when encoding, pixels when decoding. A tile sees
nothing beyond its border: norms and attention over the whole picture become those of the tile, so use large tiles.

Chunks overlap by `context` latent frames. Latent 0 of a chunk stands for one frame, while the same moment of the video
has a latent of eight, so the chunk's first `context` latents are dropped; the others stand for the same frames as in
one pass, but know only the chunk's past. Decoding, the 8 (context - 1) + 1 frames that two chunks share are blended,
from the earlier chunk to the later one: that spreads the jump at a seam over them instead of removing it. With the
shipped tokenizer the largest change between frames of the example clip is 3.1 of 255 away from seams, at seams 7.2 for
one latent of context and 2.8 for two; a still video has none. There is no cache that would make chunks exact: attention
over time sees the whole past, so a cache would grow with the video, and every convolution pads with copies of the first
frame it is given. The price is context / (latents of a chunk - context) more work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from visual_tokenizer.continuous import ContinuousVisualTokenizer
from visual_tokenizer.diffusion_windows import join_windows, window_starts
from visual_tokenizer.model import DiscreteVisualTokenizer


@dataclass(frozen=True)
class Tiling:
    """How much goes through the networks at once; the defaults keep the base tokenizers below 12 GB on a processor.

    Attributes:
        side: pixels of a square tile; a frame no larger goes whole.
        overlap: pixels that neighbouring tiles share at least.
        chunk: frames of a chunk, 1 + 8n; a video no longer goes whole.
        context: latent frames that a chunk begins before the first one it adds.

    Raises:
        ValueError: numbers out of range.
    """

    side: int = 288
    overlap: int = 64
    chunk: int = 65
    context: int = 2

    def __post_init__(self) -> None:
        if not 1 <= self.overlap < self.side:
            raise ValueError(f"overlap must be 1 to side - 1, got {self.overlap} and side {self.side}")
        if self.chunk < 2 or self.context < 1:
            raise ValueError(f"chunk must be at least 2 and context at least 1, got {self.chunk} and {self.context}")


class TiledTokenizer:
    """Encodes and decodes with a bounded amount of memory, without gradients.

    Args:
        model: either tokenizer.
        tiling: sizes; they must fit the model's cells.

    Raises:
        ValueError: side or overlap are no multiples of the model's cells, chunk is not 1 + 8n, or context leaves
            nothing new in a chunk.
    """

    def __init__(self, model: DiscreteVisualTokenizer | ContinuousVisualTokenizer, tiling: Tiling) -> None:
        self.model, self.tiling = model, tiling
        self._time, self._space = model.compression
        if tiling.side % self._space or tiling.overlap % self._space:
            raise ValueError(
                f"side and overlap must be multiples of {self._space}, got {tiling.side} and {tiling.overlap}"
            )
        if tiling.chunk % self._time != 1:
            raise ValueError(f"chunk must be 1 + {self._time}n frames, got {tiling.chunk}")
        self._latents = 1 + tiling.chunk // self._time
        if tiling.context >= self._latents:
            raise ValueError(f"context must be below the chunk's {self._latents} latent frames, got {tiling.context}")
        self._shared = 1 + self._time * (tiling.context - 1)  # frames that two decoded chunks have in common

    def encode(self, video: Tensor) -> Tensor:
        """Ids (B, K, h, w), or latents (B, C, K, h, w), of a video (B, 3, T, H, W), T = 1 + 8k.

        Raises:
            ValueError: wrong shape or dtype.
        """
        self.model.check_video(video)
        return torch.cat(list(self.encode_stream([video])), dim=-3)

    def decode(self, tokens: Tensor) -> Tensor:
        """Video (B, 3, 1 + 8(K-1), H, W), clipped to [-1, 1], of ids (B, K, h, w) or latents (B, C, K, h, w).

        Raises:
            ValueError: wrong shape, dtype or range.
        """
        return torch.cat(list(self.decode_stream([tokens])), dim=2)

    @torch.no_grad()
    def encode_stream(self, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
        """Encodes a video while it arrives.

        Args:
            pieces: (B, 3, t, H, W) float in [-1, 1], consecutive, of any t >= 1 (single frames will do). A video
                whose length is not 1 + 8k is filled up with copies of its last frame.

        Returns:
            Iterator of ids (B, k, h, w), or latents (B, C, k, h, w); k differs. Together 1 + ceil((T - 1) / 8).

        Raises:
            ValueError: wrong shape or dtype, or no frames at all.
        """
        drop = 0
        for video in _chunks(pieces, self.tiling.chunk, self._shared):
            video = self._filled(video)
            self.model.check_video(video)
            latents = self._tiled(self.model.latents, video, self._space, 1)[:, :, drop:]
            yield self.model.quantizer(latents)[1] if isinstance(self.model, DiscreteVisualTokenizer) else latents
            drop = self.tiling.context

    @torch.no_grad()
    def decode_stream(self, pieces: Iterable[Tensor], frames: int | None = None) -> Iterator[Tensor]:
        """Decodes a video while its ids or latents arrive.

        Args:
            pieces: (B, k, h, w) ids or (B, C, k, h, w) latents, consecutive, of any k >= 1.
            frames: where the video is cut, the length before it was filled up; None keeps all frames.

        Returns:
            Iterator of (B, 3, t, H, W) in the weights' dtype, clipped to [-1, 1]; t differs. Together 1 + 8(K-1)
            frames, or `frames`.

        Raises:
            ValueError: wrong shape, dtype or range, or no latent frames at all.
        """
        done = 0
        for video in self._joined(pieces):
            kept = video if frames is None else video[:, :, : max(0, frames - done)]
            done += kept.shape[2]
            if kept.shape[2]:
                yield kept

    def _joined(self, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
        """Holds the end of every chunk back until the next one, or none, has come."""
        held: Tensor | None = None
        for tokens in _chunks(pieces, self._latents, self.tiling.context):
            video = self._tiled(self.model.decode, tokens, 1, self._space)
            video = video if held is None else join_windows([held, video], [0, 0])
            held = video[:, :, -self._shared :].clone()  # a view would keep the chunk alive
            yield video[:, :, : -self._shared]
        if held is not None:
            yield held

    def _filled(self, video: Tensor) -> Tensor:
        """The video with copies of its last frame up to 1 + 8k frames."""
        missing = (1 - video.shape[-3]) % self._time
        return torch.cat([video, video.narrow(-3, -1, 1).repeat_interleave(missing, -3)], -3) if missing else video

    def _tiled(self, network: Callable[[Tensor], Tensor], whole: Tensor, cell: int, drawn: int) -> Tensor:
        """Runs a network tile by tile; a grid cell is `cell` samples of the input and `drawn` of the output."""
        size, overlap = self.tiling.side // self._space, self.tiling.overlap // self._space
        tops, lefts = (window_starts(length // cell, size, overlap) for length in whole.shape[-2:])
        rows = []
        for top in tops:
            strip = whole[..., top * cell : (top + size) * cell, :]
            tiles = [network(strip[..., left * cell : (left + size) * cell]) for left in lefts]
            rows.append(_join(tiles, lefts, drawn, 4))
        return _join(rows, tops, drawn, 3)


def _chunks(pieces: Iterable[Tensor], length: int, overlap: int) -> Iterator[Tensor]:
    """Cuts consecutive pieces (..., t, H, W) into chunks that overlap; the last may be shorter, with something new."""
    buffer: list[Tensor] = []
    known = 0  # frames at the buffer's start that a chunk has had
    for piece in pieces:
        if buffer and piece.shape[:-3] + piece.shape[-2:] != buffer[0].shape[:-3] + buffer[0].shape[-2:]:
            raise ValueError(f"pieces must differ in length only, got {tuple(buffer[0].shape)}, {tuple(piece.shape)}")
        buffer.append(piece)
        if sum(each.shape[-3] for each in buffer) < length:
            continue
        rest = torch.cat(buffer, -3)
        buffer.clear()
        while rest.shape[-3] >= length:
            yield rest.narrow(-3, 0, length)
            rest, known = rest.narrow(-3, length - overlap, rest.shape[-3] - length + overlap), overlap
        buffer.append(rest.clone())  # a view would keep the chunk alive
    if not buffer:
        raise ValueError("there is nothing to read: the stream is empty")
    rest = torch.cat(buffer, -3)
    if rest.shape[-3] > known:
        yield rest


def _join(pieces: list[Tensor], starts: list[int], scale: int, axis: int) -> Tensor:
    """Blends pieces (B, C, T, H, W) that begin at `starts` cells along an axis."""
    if len(pieces) == 1:
        return pieces[0]
    turned = [piece.transpose(axis, 2) for piece in pieces]
    return join_windows(turned, [scale * start for start in starts]).transpose(axis, 2)
