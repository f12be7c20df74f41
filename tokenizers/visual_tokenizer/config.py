"""Sizes of the two visual tokenizers.

In: numbers from a YAML file or a bundle's config.json. Out: frozen, checked configurations.
The defaults are Cosmos's: DV8x16x16 (8x in time, 16x in height and width, 64 000 ids, 110.9 M parameters) and
CV8x8x8 (8x in time, height and width, 16 channels, 105.7 M parameters).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

PATCH_SIZE = 4  # two Haar levels, the only patching Cosmos released


@dataclass(frozen=True)
class AutoencoderConfig:
    """Geometry that both tokenizers share.

    Attributes:
        channels: width of the encoder's first layer; every level's width is a multiple of it.
        channel_multipliers: width of level i is `channels * channel_multipliers[i]`; level 0 has H/4 x W/4 cells.
        num_res_blocks: residual blocks of an encoder level (the decoder has one more).
        z_channels: channels between the networks and the 1x1x1 convolutions around the latent.
        spatial_compression: pixels per latent cell, each way (a power of two, at least 8).
        temporal_compression: frames per latent frame (a power of two, at least 4).

    Raises:
        ValueError: a size that the network cannot have.
    """

    channels: int = 128
    channel_multipliers: tuple[int, ...] = (2, 4, 4)
    num_res_blocks: int = 2
    z_channels: int = 16
    spatial_compression: int = 16
    temporal_compression: int = 8

    def __post_init__(self) -> None:
        multipliers = tuple(int(value) for value in self.channel_multipliers)  # JSON gives lists
        object.__setattr__(self, "channel_multipliers", multipliers)
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
        if len(multipliers) < levels:
            raise ValueError(
                f"channel_multipliers needs at least {levels} entries for {self.spatial_compression}x compression, "
                f"got {len(multipliers)}"
            )
        if min(self.channels, self.num_res_blocks, self.z_channels, *multipliers) < 1:
            raise ValueError("channels, channel_multipliers, num_res_blocks and z_channels must be at least 1")

    @property
    def encoder_widths(self) -> tuple[int, ...]:
        """Width of the encoder's first layer, then of each level from fine to coarse."""
        return (self.channels, *(self.channels * multiplier for multiplier in self.channel_multipliers))

    @property
    def decoder_widths(self) -> tuple[int, ...]:
        """Width of each decoder level from fine to coarse, then of its middle."""
        widths = self.encoder_widths[1:]
        return (*widths, widths[-1])


@dataclass(frozen=True)
class VisualTokenizerConfig(AutoencoderConfig):
    """Geometry of `DiscreteVisualTokenizer`.

    Attributes:
        fsq_levels: values per quantised channel; their product is the number of ids.
    """

    fsq_levels: tuple[int, ...] = (8, 8, 8, 5, 5, 5)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "fsq_levels", tuple(int(value) for value in self.fsq_levels))
        if not self.fsq_levels or min(self.fsq_levels) < 2:
            raise ValueError(f"fsq_levels must hold numbers of at least 2, got {self.fsq_levels}")

    @property
    def num_ids(self) -> int:
        """Number of different ids."""
        return math.prod(self.fsq_levels)


@dataclass(frozen=True)
class ContinuousTokenizerConfig(AutoencoderConfig):
    """Geometry of `ContinuousVisualTokenizer`.

    Attributes:
        latent_channels: channels of the latent.
        statistics_frames: latent frames that have a mean and a deviation of their own, counted from the clip's start.
    """

    spatial_compression: int = 8
    latent_channels: int = 16
    statistics_frames: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.latent_channels, self.statistics_frames) < 1:
            raise ValueError("latent_channels and statistics_frames must be at least 1")
