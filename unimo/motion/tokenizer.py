"""`MotionTokenizer`: a camera `Motion` of any length and rate ↔ ids of the motion tokenizer, window by window.

In: a Motion in camera axes with its focal length. Out: ids (N, T, 36) of N windows of T frames at the tokenizer's rate,
in the canonical camera; and back to a Motion in the source's own camera, windows blended, betas constant. Every window
has its own absolute position, so the drift of summed steps ends with it. The network sees a batch of windows at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from motion_tokenizer import MotionVQVAE
from unimo.errors import InputError
from unimo.motion.canonical import from_canonical, square_intrinsics, to_canonical
from unimo.motion.features import features_to_motion, motion_to_features, rotation_form
from unimo.motion.frames import rest_pelvis_of, with_one_shape
from unimo.motion.motion import Motion
from unimo.motion.windows import MotionBlender, pad_motion, window_spans

# windows that go through the network at once
_BATCH = 64


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


@dataclass(frozen=True)
class CodebookUsage:
    """How a set of ids uses the codebook.

    Attributes:
        counts: (B,) int64, how often each of the B ids occurs.
        share: of the ids that occur at all (the paper's n/B).
        perplexity: exp of the entropy of the counts, 1 to B: how many ids an even use would need.
    """

    counts: Tensor
    share: float
    perplexity: float


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

    def encode(self, motion: Motion, focal: float | None = None) -> MotionTokens:
        """Tokenises a motion of any length; another frame rate is resampled.

        Args:
            motion: camera axes, of this tokenizer's body.
            focal: focal length in sides of the square picture (pixels / the longer side of the frame); None takes it
                from the motion's intrinsics.

        Raises:
            InputError: world axes, another body, or no focal length.
        """
        return self.encode_batch([motion], focal)[0]

    @torch.no_grad()  # not inference_mode: ids go into training
    def encode_batch(self, motions: Sequence[Motion], focal: float | None = None) -> list[MotionTokens]:
        """`encode` for several motions, whose windows go through the network together."""
        if not motions:
            return []
        focals = [_focal_of(motion) if focal is None else focal for motion in motions]
        canonical = [self._canonical(motion, f) for motion, f in zip(motions, focals, strict=True)]
        spans = [tuple(window_spans(len(motion), self.frames, self.overlap)) for motion in canonical]
        form = rotation_form(self.model.config.feature_dim)
        device = next(self.model.parameters()).device
        windows = (
            motion_to_features(pad_motion(motion[a:b], self.frames), form)
            for motion, own in zip(canonical, spans, strict=True)
            for a, b in own
        )
        ids = torch.cat([self.model.encode(torch.stack(batch).to(device)) for batch in _batches(windows)])
        parts = ids.split([len(own) for own in spans])
        return [MotionTokens(*values) for values in zip(parts, spans, focals, strict=True)]

    def decode(self, tokens: MotionTokens) -> Motion:
        """The motion of `encode`'s tokens: camera axes, at the tokenizer's rate, constant betas.

        Raises:
            InputError: ids of a wrong shape or out of range.
        """
        return self.decode_batch([tokens])[0]

    def decode_batch(self, tokens: Sequence[MotionTokens]) -> list[Motion]:
        """`decode` for several motions, whose windows go through the network together."""
        if not tokens:
            return []
        ids = torch.cat([item.ids for item in tokens])
        features = torch.cat([self.features(batch).cpu() for batch in ids.split(_BATCH)])
        motions = []
        for item, own in zip(tokens, features.split([len(item.spans) for item in tokens]), strict=True):
            blender = MotionBlender()
            pieces = [
                blender.push(start, self._motion(window, item.focal)[: stop - start])
                for (start, stop), window in zip(item.spans, own, strict=True)
            ]
            motions.append(join([*pieces, blender.finish()]))
        return motions

    def reconstruct(self, motion: Motion, focal: float | None = None) -> Motion:
        """What is left of a motion after its tokens: `decode` of `encode`, whose arguments and errors these are."""
        return self.decode(self.encode(motion, focal))

    def codebook_usage(self, tokens: Sequence[MotionTokens]) -> CodebookUsage:
        """How these motions use the codebook, all their ids together.

        Raises:
            InputError: no tokens.
        """
        if not tokens:
            raise InputError("there are no tokens whose use of the codebook could be counted")
        ids = torch.cat([item.ids.flatten() for item in tokens]).cpu()
        counts = torch.bincount(ids, minlength=self.model.num_ids)
        shares = counts[counts > 0] / counts.sum()
        perplexity = float(torch.exp(-(shares * shares.log()).sum()))
        return CodebookUsage(counts, float((counts > 0).float().mean()), perplexity)

    @torch.no_grad()
    def features(self, ids: Tensor, num_samples: int = 1) -> Tensor:
        """Features of windows in the canonical camera.

        Args:
            ids: (N · num_samples, T, tokens per frame), any T.
            num_samples: how many rows, one after the other, are draws of the same window; their mean is taken.

        Returns:
            (N, T, D), D = 145 for 6-D rotations.

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
        return [self._motion(window, focal) for window in self.features(ids, num_samples)]

    def _canonical(self, motion: Motion, focal: float) -> Motion:
        """The motion at the tokenizer's rate in the canonical camera."""
        if motion.body != self.body:
            what = f"the tokenizer knows the body {self.body!r}, the motion is of {motion.body!r}"
            raise InputError(what, None, "retarget it, or use a bundle of that body")
        motion = motion if motion.fps == self.fps else motion.resample(self.fps)
        return to_canonical(motion, focal * self.side, self.side, self.canonical_focal, rest_pelvis_of(motion))

    def _motion(self, window: Tensor, focal: float) -> Motion:
        """(T, D) canonical features → a motion in the camera of this focal length, betas constant."""
        canonical = square_intrinsics(self.canonical_focal * self.side, self.side)
        motion = features_to_motion(window, self.fps, body=self.body, intrinsics=canonical).with_constant_betas()
        pelvis = rest_pelvis_of(motion)
        return from_canonical(motion, focal * self.side, self.side, self.canonical_focal, pelvis)


def _batches(windows: Iterator[Tensor]) -> Iterator[list[Tensor]]:
    while batch := list(islice(windows, _BATCH)):
        yield batch


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
