"""`PartwiseVQVAE`: the baseline of the paper's table 1, in the manner of SOLAMI, for comparison only.

The body is divided into parts, each with an encoder, a codebook and a decoder of its own; the translation is a part
apart; time is compressed (SOLAMI: 4 frames a token). In and out as `MotionVQVAE`, but ids are (B, N, P) with
N = ceil(T / compression) rows of P parts, and part p's ids start at p x codebook_size.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import MotionTokenizerConfig
from .losses import training_losses
from .model import MotionVQVAEOutput, check_features
from .network import ExpertDecoder, MotionEncoder
from .normalization import NormalizedModel
from .quantizer import MotionQuantizer

# body joints of SMPL-X less the root, so joint 1 (left hip) is row 0: hips, knees, ankles, feet
LOWER_BODY = (0, 1, 3, 4, 6, 7, 9, 10)
PARTS = ("lower body", "upper body", "root", "translation")
_BODY_JOINTS = 21


def part_channels(expert_dims: tuple[int, ...]) -> list[list[int]]:
    """The feature channels of each of `PARTS`; "root" holds shape and orientation."""
    pose, shape, orientation, translation = expert_dims
    size = pose // _BODY_JOINTS
    of_joint = lambda joint: range(joint * size, (joint + 1) * size)  # noqa: E731
    lower = [channel for joint in LOWER_BODY for channel in of_joint(joint)]
    upper = [channel for channel in range(pose) if channel not in set(lower)]
    root = list(range(pose, pose + shape + orientation))
    return [lower, upper, root, list(range(pose + shape + orientation, sum(expert_dims)))]


class PartVQVAE(nn.Module):
    """One part: (B, T, D_part) normalised features -> the same, through its own codebook; T divides evenly."""

    def __init__(self, config: MotionTokenizerConfig, channels: int) -> None:
        super().__init__()
        self.encoder = MotionEncoder(config, channels)
        self.quantizer = MotionQuantizer(config)
        self.decoder = ExpertDecoder(config, channels, 1.0)

    def parameter_count(self) -> int:
        """Trainable numbers; the codebook counts whichever rule moves it."""
        others = sum(p.numel() for name, p in self.named_parameters() if "_codebook" not in name)
        return others + self.quantizer.codebook.numel()

    def encoded(self, features: Tensor) -> Tensor:
        """(B, T, D_part) -> (B, N, C)."""
        return self.encoder(features.transpose(1, 2)).transpose(1, 2)

    def decoded(self, codes: Tensor) -> Tensor:
        """(B, N, C) -> (B, T, D_part)."""
        return self.decoder(codes.transpose(1, 2)).transpose(1, 2)


class PartwiseVQVAE(NormalizedModel):
    """A VQ-VAE for each of `PARTS`.

    Raises:
        ValueError: a configuration that is not `partwise`.
    """

    def __init__(self, config: MotionTokenizerConfig) -> None:
        super().__init__(config.feature_dim, config.expert_dims[-1])
        if not config.partwise:
            raise ValueError("this configuration is that of MotionVQVAE: use build_motion_tokenizer")
        self.config = config
        self.channels = part_channels(config.expert_dims)
        self.parts = nn.ModuleList(PartVQVAE(config, len(channels)) for channels in self.channels)

    @property
    def num_ids(self) -> int:
        """How many different ids there are."""
        return len(PARTS) * self.config.codebook_size

    def num_tokens(self, frames: int) -> int:
        """Rows of ids of a clip of this many frames, a row having one id for each part."""
        return -(-frames // self.config.tokens_per_frame)

    def parameter_counts(self) -> dict[str, int]:
        """Trainable numbers of each part, its codebook included."""
        return {name: part.parameter_count() for name, part in zip(PARTS, self._all_parts(), strict=True)}

    def forward(self, features: Tensor, quantize: bool = True) -> MotionVQVAEOutput:
        """Encodes, quantises and decodes a batch, with losses; in, out and errors as `MotionVQVAE.forward`."""
        check_features(features, self.config)
        frames = features.shape[1]
        normalized = self.normalize(features)
        # whole tokens: the last frame is repeated, and cut off again
        missing = -frames % self.config.tokens_per_frame
        padded = F.pad(normalized.transpose(1, 2), (0, missing), mode="replicate").transpose(1, 2)
        decoded = torch.empty_like(normalized, dtype=torch.float32)
        all_ids, losses = [], {"commitment": features.new_zeros(()), "codebook": features.new_zeros(())}
        for number, (part, channels) in enumerate(zip(self._all_parts(), self.channels, strict=True)):
            codes, ids, part_losses = part.quantizer(part.encoded(padded[..., channels]), quantize)
            decoded[..., channels] = part.decoded(codes)[:, :frames].float()
            all_ids.append(ids + number * self.config.codebook_size)
            losses = {key: losses[key] + value for key, value in part_losses.items()}
        losses = training_losses(decoded, normalized, losses, self.config)
        return MotionVQVAEOutput(self.denormalize(decoded), torch.stack(all_ids, -1), losses)

    def _all_parts(self) -> Iterator[PartVQVAE]:
        return (part for part in self.parts if isinstance(part, PartVQVAE))
