"""Starting weights for short trainings: a tokenizer begins as a copy of the video, 16 (or 8) times smaller.

In: a fresh tokenizer. Out: the same module with new weights: residual branches start at zero, three channels of the
trunk carry the mean colour of a cell to the first three latent channels and back, and the other channels are random
features. Training then only has to add detail, instead of finding the colours first.
"""

from __future__ import annotations

import math

import torch
from diffusers.models.autoencoders.autoencoder_kl_cosmos import CosmosConvProjection3d
from torch import Tensor, nn

from visual_tokenizer.autoencoder import CosmosAutoencoder
from visual_tokenizer.model import DiscreteVisualTokenizer

_SIGNALS = 6  # mean colour in opponent axes, then its negative: silu(x) - silu(-x) = x
_BIAS = 2.0  # of the random channels, so that the norm before each output divides all frames alike
_LIGHTNESS_GAIN, _CHROMA_GAIN = 1.2, 2.5  # spread natural colours over the quantiser's range
_CODE_SCALE = 1.4  # brings codes back to the size of latents, on average


@torch.no_grad()
def initialize_for_training(model: CosmosAutoencoder) -> None:
    """Sets all weights of `model` in place, from torch's global random generator.

    Raises:
        ValueError: fewer than 8 channels at a level, or fewer than 3 latent channels.
    """
    if min(model.config.encoder_widths) < _SIGNALS + 2 or min(model.quant_conv.weight.shape[:2]) < 3:
        raise ValueError("these starting weights need 8 channels at every level and 3 latent channels")
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv3d):
            _start(name, module)
    colours = _opponent_colours()
    gains, back = torch.ones(3), torch.ones(3)
    if isinstance(model, DiscreteVisualTokenizer):
        gains = torch.tensor([_LIGHTNESS_GAIN, _CHROMA_GAIN, _CHROMA_GAIN])
        back = _CODE_SCALE / gains
    _set_input(model.encoder.conv_in, torch.cat([colours, -colours]))
    _set_output(model.encoder.conv_out, torch.cat([torch.eye(3), -torch.eye(3)], dim=1))
    model.quant_conv.weight[:3] = 0
    model.quant_conv.weight[:3, :3, 0, 0, 0] = torch.diag(gains)
    model.post_quant_conv.weight[:3] = 0
    model.post_quant_conv.weight[:3, :3, 0, 0, 0] = torch.diag(back)
    _set_input(model.decoder.conv_in, torch.cat([torch.eye(3), -torch.eye(3)]))
    for half in (model.decoder.conv_out.conv_s, model.decoder.conv_out.conv_t):
        half.weight.mul_(0.005)  # fine bands are far smaller than means
    _set_output(model.decoder.conv_out, torch.cat([colours.T, -colours.T], dim=1))


def _start(name: str, conv: nn.Conv3d) -> None:
    """Random weights of unit gain, except where the trunk must pass or a branch must start at zero."""
    nn.init.trunc_normal_(conv.weight, std=1 / math.sqrt(conv.weight[0].numel()))
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    if (".resnets." in name and name.endswith("conv2.conv_t")) or ".to_out." in name:
        nn.init.zeros_(conv.weight)
    elif "samplers" in name and name.endswith("conv3"):
        _keep(conv)
    elif "samplers" in name:  # added to a mean or a copy, which is all the signals need
        conv.weight.mul_(0.1)
        conv.weight[:_SIGNALS] = 0
    elif "conv_shortcut" in name:
        _widen(conv)


def _opponent_colours() -> Tensor:
    """(3, 3) orthonormal rows: lightness, red - blue, magenta - green."""
    rows = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, -2.0, 1.0]])
    return rows / rows.norm(dim=1, keepdim=True)


def _set_bias(conv: nn.Conv3d) -> None:
    """Channels without a signal get the bias, with alternating sign."""
    if conv.bias is not None:
        even = torch.arange(len(conv.bias) - _SIGNALS) % 2 == 0
        conv.bias[_SIGNALS:] = torch.where(even, _BIAS, -_BIAS)


def _keep(conv: nn.Conv3d) -> None:
    """A 1x1x1 convolution that changes nothing."""
    conv.weight.zero_()
    conv.weight[:, :, 0, 0, 0] = torch.eye(conv.weight.shape[0])


def _widen(conv: nn.Conv3d) -> None:
    """A 1x1x1 convolution between widths that keeps the signals; the other channels are random."""
    conv.weight.mul_(0.5)
    conv.weight[:_SIGNALS] = 0
    conv.weight[:_SIGNALS, :_SIGNALS, 0, 0, 0] = torch.eye(_SIGNALS)
    _set_bias(conv)


def _center(pair: CosmosConvProjection3d, rows: int) -> None:
    """The temporal half of a factorised convolution passes its first `rows` channels through."""
    pair.conv_t.weight[:rows] = 0
    pair.conv_t.weight[:rows, :rows, -1, 0, 0] = torch.eye(rows)  # the last tap is the present frame


def _set_input(pair: CosmosConvProjection3d, signals: Tensor) -> None:
    """The first channels become `signals (6, 3)` times the first three input channels; the others stay random."""
    _center(pair, _SIGNALS)
    pair.conv_s.weight[:_SIGNALS] = 0
    pair.conv_s.weight[:_SIGNALS, :3, 0, 1, 1] = signals
    _set_bias(pair.conv_t)


def _set_output(pair: CosmosConvProjection3d, weights: Tensor) -> None:
    """The first three outputs become `weights (3, 6)` times the signals, undoing the scale of the norm."""
    width = pair.conv_s.weight.shape[1]
    scale = 1.1 * _BIAS * math.sqrt((width - _SIGNALS) / width)  # of the norm before; a tenth is the random part
    _center(pair, len(pair.conv_t.weight))
    pair.conv_s.weight[:3] = 0
    pair.conv_s.weight[:3, :_SIGNALS, 0, 1, 1] = weights * scale
