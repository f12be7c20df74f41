"""The settings of the motion tokenizer: sizes, strides, codebook rule and loss weights, checked at construction.

In: numbers and names (from a YAML file through `unimo.config`, or by hand).
Out: a frozen `MotionTokenizerConfig`; a bad value raises `ValueError` that names the field.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

EXPERTS = ("pose", "shape", "orientation", "translation")


@dataclass(frozen=True)
class MotionTokenizerConfig:
    """Sizes of the motion VQ-VAE; the defaults are the paper's (section 3.1, supplement A).

    Attributes:
        expert_dims: feature channels of each expert, in the order of `EXPERTS`; their sum is D (145 for 6-D rotations).
        strides: time expansion of each encoder block; the product is the number of tokens a frame.
        widths: channels of each encoder block, lowest rate first; decoders use them in reverse.
        expert_scale: width of each expert decoder as a fraction of `widths`.
        residual_layers: residual layers in each block.
        residual_kernels: kernel sizes of the two convolutions of a residual layer.
        dilation_growth: dilation of residual layer i is `dilation_growth ** i`.
        resample_kernel_factor: kernel of the (transposed) strided convolutions = factor x stride.
        causal: pad on the left only, so that frame t depends on frames <= t in the encoder and in the decoders.
        codebook_size: number of ids.
        codebook_dim: dimension in which codes are compared; 0 = the last encoder block's width, without projection.
        codebook_cosine: compare directions (normalised codes) instead of Euclidean distances.
        codebook_update: "ema" (moving averages) or "gradient" (the codebook term of eq. 5).
        codebook_decay: decay of the moving averages.
        dead_code_threshold: a code whose moving count is below this is replaced by a random encoder output; 0 = never.
        kmeans_init: start the codebook by k-means on the first quantised training batch.
        commitment_weight: lambda of eq. 5 (the distance is squared, as in every VQ-VAE that the paper follows).
        codebook_weight: weight of eq. 5's codebook term ("gradient" only).
        expert_weights: weight of each expert's L1 term on values, in the order of `EXPERTS`.
        velocity_weight: weight of the L1 term on first differences.
        acceleration_weight: weight of the L1 term on second differences.
        neighbour_code_noise: fraction of training ids replaced by one of the eight nearest codes before decoding.
        random_code_noise: fraction of training ids replaced by any code before decoding.
        partwise: not the paper's network but the baseline of its table 1, in SOLAMI's manner: lower body, upper body,
            root and translation have an encoder, a codebook and a decoder each, and `strides` *compress* time. Built by
            `build_motion_tokenizer` only.
    """

    expert_dims: tuple[int, ...] = (126, 10, 6, 3)
    strides: tuple[int, ...] = (2, 2, 3, 3)
    widths: tuple[int, ...] = (512, 512, 512, 512)
    expert_scale: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
    residual_layers: int = 3
    residual_kernels: tuple[int, int] = (3, 3)
    dilation_growth: int = 3
    resample_kernel_factor: int = 2
    causal: bool = False
    codebook_size: int = 512
    codebook_dim: int = 0
    codebook_cosine: bool = False
    codebook_update: str = "ema"
    codebook_decay: float = 0.99
    dead_code_threshold: float = 1.0
    kmeans_init: bool = True
    commitment_weight: float = 0.02
    codebook_weight: float = 1.0
    expert_weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
    velocity_weight: float = 1.0
    acceleration_weight: float = 1.0
    neighbour_code_noise: float = 0.0
    random_code_noise: float = 0.0
    partwise: bool = False

    def __post_init__(self) -> None:
        if {len(self.expert_dims), len(self.expert_scale), len(self.expert_weights)} != {len(EXPERTS)}:
            what = "expert_dims, expert_scale and expert_weights need one value for each of"
            raise ValueError(f"{what} {', '.join(EXPERTS)}")
        if not self.strides or len(self.strides) != len(self.widths):
            raise ValueError(f"strides and widths need the same length: {len(self.strides)} and {len(self.widths)}")
        sizes = (*self.expert_dims, *self.strides, *self.widths, *self.residual_kernels, self.codebook_size)
        if min(*sizes, self.residual_layers, self.dilation_growth, self.resample_kernel_factor) < 1:
            raise ValueError("dimensions, strides, widths, kernels and layer counts must be at least 1")
        if min(self.expert_scale) <= 0 or min(self.expert_weights) < 0:
            raise ValueError("expert_scale must be positive and expert_weights not negative")
        if not self.causal and any(kernel % 2 == 0 for kernel in self.residual_kernels):
            raise ValueError("residual_kernels must be odd unless causal")
        if self.codebook_dim < 0:
            raise ValueError("codebook_dim must be 0 (the encoder's width) or positive")
        if self.codebook_update not in ("ema", "gradient"):
            raise ValueError(f'codebook_update must be "ema" or "gradient", not "{self.codebook_update}"')
        if self.codebook_cosine and self.codebook_update == "gradient":
            raise ValueError('codebook_cosine needs codebook_update "ema"')
        noise = (self.neighbour_code_noise, self.random_code_noise)
        if min(noise) < 0 or sum(noise) > 1:
            raise ValueError("neighbour_code_noise and random_code_noise are fractions that add up to at most 1")

    @property
    def feature_dim(self) -> int:
        """Channels D of one frame of features."""
        return sum(self.expert_dims)

    @property
    def tokens_per_frame(self) -> int:
        """Ids written for each frame (36 in the paper)."""
        return math.prod(self.strides)

    @property
    def code_dim(self) -> int:
        """Dimension of one codebook entry."""
        return self.codebook_dim or self.widths[-1]
