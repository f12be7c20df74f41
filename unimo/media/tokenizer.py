"""Pictures in bytes ↔ what the visual tokenizers write: `VisualTokenizer` ids, `ContinuousTokenizer` latents.

In: uint8 RGB frames (..., T, H, W, 3), T = 1 + 8n, of the letterboxed square; with a `Tiling`, of any size that the
model divides. Out: ids (..., K, h, w) int64 with K = 1 + n, h = w = side/16, or latents (..., C, K, h, w) with
h = w = side/8; and back. Long videos stream. Files, rates and letterboxing are its neighbours' (`video`, `letterbox`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from unimo.errors import InputError
from unimo.media.pixels import to_frames, to_video
from visual_tokenizer import ContinuousVisualTokenizer, DiscreteVisualTokenizer, TiledTokenizer, Tiling

STREAM_CHUNK = 33
"""Frames of a chunk where no `Tiling` says otherwise."""


class _PixelTokenizer:
    """What both have in common; "tokens" are ids or latents.

    Args:
        model: trained tokenizer; its device and floating type are used as they are.
        side: pixels of the square frames it was trained on.
        tiling: None takes frames of that side only, and clips whole; else frames may have any sides that the model
            divides, and what is larger than the tiling goes through the model in parts (see `visual_tokenizer.tiling`).

    Raises:
        InputError: the tiling does not fit the model.
    """

    tokens_are: str
    token_axes: int

    def __init__(
        self, model: DiscreteVisualTokenizer | ContinuousVisualTokenizer, side: int, tiling: Tiling | None = None
    ) -> None:
        self.side, self.tiling = side, tiling
        try:
            # without a tiling no frame is larger than `side`, so twice that is one tile
            self._parts = TiledTokenizer(model, tiling or Tiling(2 * side, side, STREAM_CHUNK))
        except ValueError as error:
            raise InputError(f"this tiling does not fit the visual tokenizer: {error}") from error
        self._model = model if tiling is None else self._parts
        self._space = model.compression[1]

    @torch.inference_mode()
    def encode(self, frames: np.ndarray) -> Tensor:
        """Tokenises clips.

        Args:
            frames: uint8 (T, H, W, 3) or (B, T, H, W, 3) RGB, T = 1 + 8n.

        Returns:
            ids (K, h, w) or (B, K, h, w) int64, or latents (C, K, h, w) or (B, C, K, h, w), on the model's device.

        Raises:
            InputError: another type, size or number of frames.
        """
        self._check(frames, frames.ndim in (4, 5))
        try:
            tokens = self._model.encode(self._video(frames.reshape(-1, *frames.shape[-4:])))
        except ValueError as error:
            raise self._refused(error) from error
        return tokens if frames.ndim == 5 else tokens[0]

    @torch.inference_mode()
    def decode(self, tokens: Tensor) -> np.ndarray:
        """Draws the frames of what `encode` gives: uint8 (T, H, W, 3) or (B, T, H, W, 3) RGB, T = 1 + 8(K-1).

        Raises:
            InputError: wrong shape, or an id out of range.
        """
        batched = tokens.ndim == self.token_axes + 1
        try:
            video = self._model.decode(tokens if batched else tokens[None])
        except ValueError as error:
            raise self._unknown(error) from error
        frames = to_frames(video)
        return frames if batched else frames[0]

    @torch.inference_mode()
    def encode_stream(self, frames: Iterable[np.ndarray]) -> Iterator[Tensor]:
        """Tokenises one video of any length while it is read; memory does not grow with it.

        Args:
            frames: uint8 (H, W, 3) RGB each. If their number is not 1 + 8n, copies of the last one follow.

        Returns:
            Iterator of ids (k, h, w), or latents (C, k, h, w): consecutive, k differs.

        Raises:
            InputError: another type, changing sizes, or no frames.
        """
        try:
            for tokens in self._parts.encode_stream(self._single(frame) for frame in frames):
                yield tokens[0]
        except ValueError as error:
            raise self._refused(error) from error

    @torch.inference_mode()
    def decode_stream(self, tokens: Iterable[Tensor], frames: int | None = None) -> Iterator[np.ndarray]:
        """Draws one video of any length while its tokens come; memory does not grow with it.

        Args:
            tokens: ids (k, h, w), or latents (C, k, h, w): consecutive, of any k.
            frames: where the video is cut: the number of frames that were encoded. None keeps all.

        Returns:
            Iterator of frames, uint8 (H, W, 3) RGB.

        Raises:
            InputError: wrong shape, an id out of range, or no tokens.
        """
        try:
            for video in self._parts.decode_stream((piece[None] for piece in tokens), frames):
                yield from to_frames(video)[0]
        except ValueError as error:
            raise self._unknown(error) from error

    def _single(self, frame: np.ndarray) -> Tensor:
        self._check(frame, frame.ndim == 3)
        return self._video(frame[None, None])

    def _video(self, frames: np.ndarray) -> Tensor:
        weight = next(self._parts.model.parameters())
        return to_video(frames, weight.device).to(weight.dtype)

    def _check(self, frames: np.ndarray, axes_fit: bool) -> None:
        sides_fit = self.tiling is not None or frames.shape[-3:-1] == (self.side, self.side)
        if frames.dtype != np.uint8 or not axes_fit or not sides_fit or frames.shape[-1] != 3:
            sides = "H, W" if self.tiling else f"{self.side}, {self.side}"
            wanted = f"uint8 (T, {sides}, 3)" + ("" if self.tiling else ", letterboxed")
            raise InputError(f"frames must be {wanted}, not {frames.dtype} {frames.shape}")

    def _refused(self, error: ValueError) -> InputError:
        fix = "1 + 8n frames" + (f" with sides that are multiples of {self._space}" if self.tiling else "")
        return InputError(f"the clip cannot be tokenised: {error}", None, fix)

    def _unknown(self, error: ValueError) -> InputError:
        return InputError(f"these are no {self.tokens_are} of this visual tokenizer: {error}")


class VisualTokenizer(_PixelTokenizer):
    """Frames ↔ ids of the discrete tokenizer; for arguments and errors see `_PixelTokenizer`."""

    tokens_are, token_axes = "ids", 3

    def __init__(self, model: DiscreteVisualTokenizer, side: int, tiling: Tiling | None = None) -> None:
        super().__init__(model, side, tiling)
        self.model = model

    @property
    def num_ids(self) -> int:
        """Number of different ids."""
        return self.model.num_ids


class ContinuousTokenizer(_PixelTokenizer):
    """Frames ↔ latents of the continuous tokenizer, not normalised; for arguments and errors see `_PixelTokenizer`."""

    tokens_are, token_axes = "latents", 4

    def __init__(self, model: ContinuousVisualTokenizer, side: int, tiling: Tiling | None = None) -> None:
        super().__init__(model, side, tiling)
        self.model = model
