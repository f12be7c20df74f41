"""The convolutional encoder and expert decoder of the motion tokenizer (paper section 3.1, supplement A).

In: channels-first sequences, (B, D, T) into the encoder, (B, C, T*s) into a decoder, with s the product of the strides
(T/s if `partwise`, whose strides compress time). Out: (B, C, T*s) from the encoder, (B, D_expert, T) from a decoder.
No normalisation layers, so any length works, and, if `causal`, frame t sees frames <= t only. Residual branches start
at zero.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import MotionTokenizerConfig


class PaddedConv(nn.Module):
    """A convolution with exactly length / stride outputs; the padding is split or, if causal, all on the left."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, *, causal: bool, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        missing = dilation * (kernel - 1) + 1 - stride
        self.padding = (missing, 0) if causal else (missing // 2, missing - missing // 2)
        self.conv = nn.Conv1d(channels_in, channels_out, kernel, stride=stride, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, self.padding))


class ExpandingConv(nn.Module):
    """A transposed convolution whose output has exactly length x stride positions; causal crops on the right only."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, *, causal: bool) -> None:
        super().__init__()
        self.stride = stride
        self.crop = 0 if causal else (kernel - stride) // 2
        self.conv = nn.ConvTranspose1d(channels_in, channels_out, kernel, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)[..., self.crop : self.crop + x.shape[-1] * self.stride]


class ResidualLayer(nn.Module):
    """x + conv(relu(conv(relu(x)))); the second convolution starts at zero."""

    def __init__(self, channels: int, kernels: tuple[int, int], dilation: int, *, causal: bool) -> None:
        super().__init__()
        self.first = PaddedConv(channels, channels, kernels[0], causal=causal, dilation=dilation)
        self.second = PaddedConv(channels, channels, kernels[1], causal=causal)
        nn.init.zeros_(self.second.conv.weight)
        nn.init.zeros_(self.second.conv.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(F.relu(x))))


def _residual_block(channels: int, config: MotionTokenizerConfig) -> list[nn.Module]:
    return [
        ResidualLayer(channels, config.residual_kernels, config.dilation_growth**index, causal=config.causal)
        for index in range(config.residual_layers)
    ]


def _resample(
    channels_in: int, channels_out: int, stride: int, config: MotionTokenizerConfig, expand: bool
) -> nn.Module:
    """One change of rate."""
    kernel = stride * config.resample_kernel_factor
    if expand:
        return ExpandingConv(channels_in, channels_out, kernel, stride, causal=config.causal)
    return PaddedConv(channels_in, channels_out, kernel, stride=stride, causal=config.causal)


class MotionEncoder(nn.Module):
    """Blocks of a (transposed) convolution and residual layers; time grows by each stride in turn.

    Args:
        config: sizes.
        channels_in: feature channels; default all of them.
    """

    def __init__(self, config: MotionTokenizerConfig, channels_in: int | None = None) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = channels_in or config.feature_dim
        for stride, width in zip(config.strides, config.widths, strict=True):
            layers.append(_resample(channels, width, stride, config, expand=not config.partwise))
            layers.extend(_residual_block(width, config))
            channels = width
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """(B, D, T) normalised features -> (B, C, T*s)."""
        return self.layers(features)


class ExpertDecoder(nn.Module):
    """The encoder's mirror for one group of channels: blocks of strided convolution and residual layers, projected."""

    def __init__(self, config: MotionTokenizerConfig, channels_out: int, scale: float) -> None:
        super().__init__()
        widths = [max(8, round(scale * width)) for width in config.widths]
        layers: list[nn.Module] = []
        channels = config.widths[-1]
        for stride, width in zip(reversed(config.strides), [*reversed(widths[:-1]), widths[0]], strict=True):
            layers.append(_resample(channels, width, stride, config, expand=config.partwise))
            layers.extend(_residual_block(width, config))
            channels = width
        self.layers = nn.Sequential(*layers, nn.ReLU(), nn.Conv1d(channels, channels_out, 1))

    def forward(self, codes: Tensor) -> Tensor:
        """(B, C, T*s) -> (B, D_expert, T) normalised features."""
        return self.layers(codes)


class ExpertDecoders(nn.ModuleList):
    """One decoder for each expert, side by side on the same codes."""

    def __init__(self, config: MotionTokenizerConfig) -> None:
        pairs = zip(config.expert_dims, config.expert_scale, strict=True)
        super().__init__(ExpertDecoder(config, channels, scale) for channels, scale in pairs)

    def forward(self, codes: Tensor) -> Tensor:
        """(B, C, T*s) -> (B, D, T), the experts' channels concatenated."""
        return torch.cat([decoder(codes) for decoder in self], dim=1)
