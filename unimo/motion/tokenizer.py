"""`MotionTokenizer`: a camera `Motion` of any length and rate ↔ ids of the motion tokenizer, window by window.

In: a Motion in camera axes with its focal length. Out: ids (N, T, 36) of N windows of T frames at the tokenizer's rate,
in the canonical camera; and back to a Motion in the source's own camera, windows blended, betas constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from motion_tokenizer import MotionVQVAE
from unimo.errors import InputError
from unimo.motion.canonical import from_canonical, square_intrinsics, to_canonical
from unimo.motion.features import features_to_motion, motion_to_features
from unimo.motion.frames import rest_pelvis_of, with_one_shape
from unimo.motion.motion import Motion
from unimo.motion.windows import MotionBlender, pad_motion, window_spans


@dataclass(frozen=True)
class MotionTokens:
    """A tokenised motion.

    Attributes:
        ids: (N, T, tokens per frame) int64, one row a window.
        spans: N (start, stop) frames of the motion at the tokenizer's rate; the last may be shorter than T.
        focal: focal length of the source camera in sides of the square picture.
    """

    ids: Tensor
    spans: tuple[tuple[int, int], ...]
    focal: float


class MotionTokenizer:
    """Wraps the leaf model with rates, windows and cameras.

    Args:
        model: trained tokenizer; its device is used, its weights stay float32.
        fps: frame rate of its tokens.
        frames: T, the window it was trained on.
        side: pixels of the square picture of the tokens' camera.
        canonical_focal: focal length of that camera, in sides.
        body: body that its betas belong to.
        overlap: frames that neighbouring windows share.
    """

    def __init__(
        self,
        model: MotionVQVAE,
        fps: float,
        frames: int,
        side: int,
        canonical_focal: float,
        body: str = "open",
        overlap: int = 4,
    ) -> None:
        self.model, self.fps, self.frames, self.side = model, fps, frames, side
        self.canonical_focal, self.body, self.overlap = canonical_focal, body, overlap

    @torch.inference_mode()
    def encode(self, motion: Motion, focal: float | None = None) -> MotionTokens:
        """Tokenises a motion of any length; another frame rate is resampled.

        Args:
            motion: camera axes, of this tokenizer's body.
            focal: focal length in sides of the square picture (pixels / the longer side of the frame); None takes it
                from the motion's intrinsics.

        Raises:
            InputError: world axes, another body, or no focal length.
        """
        if motion.body != self.body:
            what = f"the tokenizer knows the body {self.body!r}, the motion is of {motion.body!r}"
            raise InputError(what, None, "retarget it, or use a bundle of that body")
        focal = _focal_of(motion) if focal is None else focal
        motion = motion if motion.fps == self.fps else motion.resample(self.fps)
        pelvis = rest_pelvis_of(motion)
        canonical = to_canonical(motion, focal * self.side, self.side, self.canonical_focal, pelvis)
        spans = tuple(window_spans(len(motion), self.frames, self.overlap))
        features = torch.stack([motion_to_features(pad_motion(canonical[a:b], self.frames)) for a, b in spans])
        ids = self.model.encode(features.to(next(self.model.parameters()).device))
        return MotionTokens(ids, spans, focal)

    def decode(self, tokens: MotionTokens) -> Motion:
        """The motion of `encode`'s tokens: camera axes, at the tokenizer's rate, constant betas.

        Raises:
            InputError: ids of a wrong shape or out of range.
        """
        blender = MotionBlender()
        pieces = []
        for (start, stop), window in zip(tokens.spans, self.decode_windows(tokens.ids, tokens.focal), strict=True):
            pieces.append(blender.push(start, window[: stop - start]))
        return join([*pieces, blender.finish()])

    @torch.inference_mode()
    def features(self, ids: Tensor, num_samples: int = 1) -> Tensor:
        """Features of windows in the canonical camera.

        Args:
            ids: (N · num_samples, T, tokens per frame), any T.
            num_samples: how many rows, one after the other, are draws of the same window; their mean is taken.

        Returns:
            (N, T, 145).

        Raises:
            InputError: wrong shape, an id out of range, or rows that are no multiple of `num_samples`.
        """
        if len(ids) % num_samples:
            raise InputError(f"{len(ids)} rows of ids are no whole windows of {num_samples} samples each")
        try:
            features = self.model.decode(ids.to(next(self.model.parameters()).device))
        except ValueError as error:
            raise InputError(f"these are no ids of this motion tokenizer: {error}") from error
        return features.unflatten(0, (-1, num_samples)).mean(1)

    def decode_windows(self, ids: Tensor, focal: float, num_samples: int = 1) -> list[Motion]:
        """Decodes windows on their own.

        Args:
            ids, num_samples: as `features` takes them.
            focal: focal length of the source camera in sides of the square picture.

        Returns:
            N motions of T frames in the source's camera, betas constant in each, intrinsics those of the square.

        Raises:
            InputError: wrong shape, or an id out of range.
        """
        canonical = square_intrinsics(self.canonical_focal * self.side, self.side)
        motions = []
        for window in self.features(ids, num_samples):
            motion = features_to_motion(window, self.fps, body=self.body, intrinsics=canonical).with_constant_betas()
            pelvis = rest_pelvis_of(motion)
            motions.append(from_canonical(motion, focal * self.side, self.side, self.canonical_focal, pelvis))
        return motions


def join(pieces: Sequence[Motion | None]) -> Motion:
    """Puts pieces of one motion end to end and gives them one shape, the mean, without moving the pelvis.

    Raises:
        InputError: no piece is left when None is taken out.
    """
    parts = [piece for piece in pieces if piece is not None]
    if not parts:
        raise InputError("there is no motion to join")
    names = ("body_pose", "betas", "global_orient", "transl")
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return with_one_shape(replace(parts[0], **arrays))


def _focal_of(motion: Motion) -> float:
    """Focal length in longer sides of the frame, from intrinsics whose principal point is the picture's centre."""
    if motion.intrinsics is None:
        raise InputError("the motion has no intrinsics, so its focal length is unknown", None, "give focal=…")
    return float(motion.intrinsics[0, 0] / (2 * motion.intrinsics[:2, 2].max()))
