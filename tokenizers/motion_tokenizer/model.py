"""`MotionVQVAE`: motion features <-> 36 ids a frame, one codebook, four expert decoders.

In: raw motion features (B, T, D): body pose 6-D 126 | betas 10 | global orientation 6-D 6 | translation 3, where row 0
of the translation is a position and later rows are differences to the row before.
Out: ids (B, T, 36) int64 in 0..codebook_size-1, or features of the same layout. Buffers hold the normalisation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .chunks import in_chunks, receptive_frames
from .config import EXPERTS, MotionTokenizerConfig
from .losses import training_losses
from .network import ExpertDecoders, MotionEncoder
from .normalization import NormalizedModel
from .quantizer import MotionQuantizer


@dataclass(frozen=True)
class MotionVQVAEOutput:
    """What one forward pass gives.

    Attributes:
        features: (B, T, D) reconstruction in raw units.
        ids: (B, T, tokens_per_frame) int64.
        losses: scalars; "total" is the weighted sum to minimise.
    """

    features: Tensor
    ids: Tensor
    losses: dict[str, Tensor]


class MotionVQVAE(NormalizedModel):
    """The paper's motion tokenizer (section 3.1).

    The paper gives 123.13 M parameters but neither kernels nor depth. `base` takes what lands nearest, 120.24 M:
    constant width 512, resampling kernels 4, 4, 6, 6, and in each block three residual layers of two 3-wide
    convolutions, the first dilated by 1, 3, 9; see `parameter_counts`.

    Raises:
        ValueError: a `partwise` configuration, which is another model's.
    """

    def __init__(self, config: MotionTokenizerConfig) -> None:
        super().__init__(config.feature_dim, config.expert_dims[-1])
        if config.partwise:
            raise ValueError("partwise is the baseline PartwiseVQVAE: use build_motion_tokenizer")
        self.config = config
        self.encoder = MotionEncoder(config)
        self.quantizer = MotionQuantizer(config)
        self.decoders = ExpertDecoders(config)

    @property
    def num_ids(self) -> int:
        """How many different ids there are."""
        return self.config.codebook_size

    def num_tokens(self, frames: int) -> int:
        """Ids of a clip of this many frames."""
        return frames * self.config.tokens_per_frame

    def parameter_counts(self) -> dict[str, int]:
        """Trainable numbers of each part; the codebook counts whichever rule moves it."""
        counts = {"encoder": sum(p.numel() for p in self.encoder.parameters())}
        projections = [p for n, p in self.quantizer.named_parameters() if n.startswith("project_")]
        counts["codebook"] = self.quantizer.codebook.numel() + sum(p.numel() for p in projections)
        for name, decoder in zip(EXPERTS, self.decoders, strict=True):
            counts[f"{name} decoder"] = sum(p.numel() for p in decoder.parameters())
        return counts

    def freeze_codes(self) -> None:
        """From now on only what lies behind the codebook trains, so that ids made before keep their meaning."""
        self.encoder.requires_grad_(False)
        self.quantizer.freeze_codes()

    @torch.no_grad()
    def encode(self, features: Tensor) -> Tensor:
        """(B, T, D) raw features -> (B, T, tokens_per_frame) int64 ids; any T, in bounded memory, no gradient.

        Raises:
            ValueError: a wrong shape.
        """
        check_features(features, self.config)
        read = lambda part: self.quantizer.encode(self._encoded(part))  # noqa: E731
        ids = in_chunks(read, self.normalize(features), 1, receptive_frames(self.config))
        return ids.unflatten(1, (features.shape[1], self.config.tokens_per_frame))

    @torch.no_grad()
    def decode(self, ids: Tensor) -> Tensor:
        """(B, T, tokens_per_frame) ids -> (B, T, D) raw features; any T, in bounded memory, no gradient.

        Raises:
            ValueError: a wrong shape or type, or an id outside 0..codebook_size-1.
        """
        check_ids(ids, self.config)
        write = lambda part: self._decoded(self.quantizer.decode(part))  # noqa: E731
        halo = receptive_frames(self.config)
        return self.denormalize(in_chunks(write, ids.flatten(1), self.config.tokens_per_frame, halo))

    def forward(self, features: Tensor, quantize: bool = True) -> MotionVQVAEOutput:
        """Encodes, quantises and decodes a batch, with losses.

        Args:
            features: (B, T, D) raw features.
            quantize: False skips the codebook (a warm-up before k-means).

        Returns:
            Reconstruction, ids and losses: `reconstruction_losses`, "commitment", "codebook", and "total", weighted.

        Raises:
            ValueError: a wrong shape.
        """
        check_features(features, self.config)
        normalized = self.normalize(features)
        codes, ids, losses = self.quantizer(self._encoded(normalized), quantize)
        decoded = self._decoded(codes).float()  # half precision stops here: the losses want all digits
        losses = training_losses(decoded, normalized, losses, self.config)
        shape = (features.shape[1], self.config.tokens_per_frame)
        return MotionVQVAEOutput(self.denormalize(decoded), ids.unflatten(1, shape), losses)

    def _encoded(self, normalized: Tensor) -> Tensor:
        return self.encoder(normalized.transpose(1, 2)).transpose(1, 2)

    def _decoded(self, codes: Tensor) -> Tensor:
        return self.decoders(codes.transpose(1, 2)).transpose(1, 2)


def check_features(features: Tensor, config: MotionTokenizerConfig) -> None:
    """Raises ValueError unless features are (B, T, D) with T of at least 1."""
    if features.ndim != 3 or features.shape[2] != config.feature_dim or features.shape[1] == 0:
        raise ValueError(f"features must have shape (B, T, {config.feature_dim}), not {tuple(features.shape)}")


def check_ids(ids: Tensor, config: MotionTokenizerConfig) -> None:
    """Raises ValueError unless ids are (B, T, tokens_per_frame) integers of the codebook with T of at least 1."""
    if ids.ndim != 3 or ids.shape[2] != config.tokens_per_frame or ids.shape[1] == 0:
        raise ValueError(f"ids must have shape (B, T, {config.tokens_per_frame}), not {tuple(ids.shape)}")
    if ids.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"ids must be int64, not {ids.dtype}")
    if ids.numel() and (int(ids.min()) < 0 or int(ids.max()) >= config.codebook_size):
        raise ValueError(f"ids must lie in 0..{config.codebook_size - 1}")
