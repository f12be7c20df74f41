"""Sizes of the discrete visual tokenizer.

In: numbers from a YAML file or a bundle's config.json. Out: a frozen, checked `VisualTokenizerConfig`.
The defaults are Cosmos DV8x16x16: 8x in time, 16x in height and width, 64 000 ids, 110.9 M parameters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

PATCH_SIZE = 4  # two Haar levels, the only patching Cosmos released


@dataclass(frozen=True)
class VisualTokenizerConfig:
    """Geometry of `DiscreteVisualTokenizer`.

    Attributes:
        channels: width of the encoder's first layer; every level's width is a multiple of it.
        channel_multipliers: width of level i is `channels * channel_multipliers[i]`; level 0 has H/4 x W/4 cells.
        num_res_blocks: residual blocks of an encoder level (the decoder has one more).
        z_channels: channels between the networks and the 1x1x1 convolutions around the quantiser.
        fsq_levels: values per quantised channel; their product is the number of ids.
        spatial_compression: pixels per latent cell, each way (a power of two, at least 8).
        temporal_compression: frames per latent frame (a power of two, at least 4).

    Raises:
        ValueError: a size that the network cannot have.
    """

    channels: int = 128
    channel_multipliers: tuple[int, ...] = (2, 4, 4)
    num_res_blocks: int = 2
    z_channels: int = 16
    fsq_levels: tuple[int, ...] = (8, 8, 8, 5, 5, 5)
    spatial_compression: int = 16
    temporal_compression: int = 8

    def __post_init__(self) -> None:
        for name in ("channel_multipliers", "fsq_levels"):  # JSON gives lists
            object.__setattr__(self, name, tuple(int(value) for value in getattr(self, name)))
        for name in ("spatial_compression", "temporal_compression"):
            value = getattr(self, name)
            if value < PATCH_SIZE or value & (value - 1):
                raise ValueError(f"{name} must be a power of two of at least {PATCH_SIZE}, got {value}")
        if self.spatial_compression < self.temporal_compression or self.spatial_compression == PATCH_SIZE:
            raise ValueError(
                f"spatial_compression {self.spatial_compression} must be at least 8 and no less than "
                f"temporal_compression {self.temporal_compression}"
            )
        levels = int(math.log2(self.spatial_compression // PATCH_SIZE)) + 1
        if len(self.channel_multipliers) < levels:
            raise ValueError(
                f"channel_multipliers needs at least {levels} entries for {self.spatial_compression}x compression, "
                f"got {len(self.channel_multipliers)}"
            )
        if min(self.channels, self.num_res_blocks, self.z_channels, *self.channel_multipliers) < 1:
            raise ValueError("channels, channel_multipliers, num_res_blocks and z_channels must be at least 1")
        if not self.fsq_levels or min(self.fsq_levels) < 2:
            raise ValueError(f"fsq_levels must hold numbers of at least 2, got {self.fsq_levels}")

    @property
    def num_ids(self) -> int:
        """Number of different ids."""
        return math.prod(self.fsq_levels)

    @property
    def encoder_widths(self) -> tuple[int, ...]:
        """Width of the encoder's first layer, then of each level from fine to coarse."""
        return (self.channels, *(self.channels * multiplier for multiplier in self.channel_multipliers))

    @property
    def decoder_widths(self) -> tuple[int, ...]:
        """Width of each decoder level from fine to coarse, then of its middle."""
        widths = self.encoder_widths[1:]
        return (*widths, widths[-1])
