"""Sizes of the diffusion decoder.

In: numbers from a YAML file or a bundle's config.json. Out: a frozen, checked `DiffusionDecoderConfig`.
The defaults are Cosmos's 7B decoder from DV8x16x16 ids to CV8x8x8 latents.
"""

from __future__ import annotations

from dataclasses import dataclass

MIN_HEAD_DIM = 12  # below it the height and width axes of RoPE have a single frequency, and its scaling divides by 0


@dataclass(frozen=True)
class DiffusionDecoderConfig:
    """Geometry of `DiffusionDecoder`. Axes of three numbers are time, height, width.

    Attributes:
        num_blocks: transformer blocks.
        num_heads: attention heads; the width is `num_heads * head_dim`.
        head_dim: channels of a head, even and at least 12.
        latent_channels: channels of the continuous tokenizer's latents.
        num_ids: ids of the discrete tokenizer.
        token_dim: channels an id is embedded into.
        text_dim: channels of the text states; None builds no cross-attention (of text zeros it would add exactly 0).
        prompt_tokens: text states kept with the weights, for clips without text; 0 for none.
        adaln_lora_dim: rank of each block's modulation by the noise level.
        mlp_ratio: hidden width of an MLP over the width.
        max_size: most latent frames, rows and columns.
        patch_size: latent cells that form one token of the transformer.
        rope_scale: factor by which each axis of RoPE is stretched (NTK).
        base_fps: frame rate at which temporal positions are whole numbers.
        sigma_data: standard deviation of the diffusion state; the state is `sigma_data` times normalised latents.
        token_upsample: latent cells an id covers, each way.
        window: latent frames of one sampling window.
        overlap: latent frames that two windows share, at least.

    Raises:
        ValueError: a size that the network cannot have.
    """

    num_blocks: int = 28
    num_heads: int = 32
    head_dim: int = 128
    latent_channels: int = 16
    num_ids: int = 64000
    token_dim: int = 32
    text_dim: int | None = 1024
    prompt_tokens: int = 0
    adaln_lora_dim: int = 256
    mlp_ratio: float = 4.0
    max_size: tuple[int, int, int] = (128, 240, 240)
    patch_size: tuple[int, int, int] = (1, 2, 2)
    rope_scale: tuple[float, float, float] = (1.0, 1.5, 1.5)
    base_fps: float = 24.0
    sigma_data: float = 0.5
    token_upsample: int = 2
    window: int = 8
    overlap: int = 2

    def __post_init__(self) -> None:
        for name in ("max_size", "patch_size", "rope_scale"):  # JSON gives lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
            if len(getattr(self, name)) != 3:
                raise ValueError(f"{name} must have three numbers (time, height, width), got {getattr(self, name)}")
        for name in ("num_blocks", "num_heads", "latent_channels", "num_ids", "token_dim", "adaln_lora_dim", "window"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.text_dim is not None and self.text_dim < 1:
            raise ValueError(f"text_dim must be at least 1, or None for no text, got {self.text_dim}")
        if self.prompt_tokens < 0 or (self.prompt_tokens and self.text_dim is None):
            raise ValueError(f"prompt_tokens must be 0 or more, and 0 without text, got {self.prompt_tokens}")
        if self.head_dim < MIN_HEAD_DIM or self.head_dim % 2:
            raise ValueError(f"head_dim must be even and at least {MIN_HEAD_DIM}, got {self.head_dim}")
        if min(*self.max_size, *self.patch_size, self.token_upsample) < 1:
            raise ValueError("max_size, patch_size and token_upsample must be at least 1")
        if self.patch_size[0] != 1:
            raise ValueError(f"patch_size must be 1 in time, got {self.patch_size}")
        if min(self.mlp_ratio, self.base_fps, self.sigma_data, *self.rope_scale) <= 0:
            raise ValueError("mlp_ratio, base_fps, sigma_data and rope_scale must be positive")
        if not 1 <= self.overlap < self.window:
            raise ValueError(f"overlap must be at least 1 and below window {self.window}, got {self.overlap}")

    @property
    def width(self) -> int:
        """Channels of the transformer."""
        return self.num_heads * self.head_dim

    @property
    def in_channels(self) -> int:
        """Channels of the transformer's input: noisy latent, token condition, padding mask (zeros)."""
        return self.latent_channels + self.token_dim + 1
