"""Fast inference for `MotionVQVAE`: the same ids and features with about half the multiplications, in fp32.

In: a trained `MotionVQVAE`, whose weights are copied and rearranged. Out: `encode` and `decode` as the model has them.

All exact in real numbers; rounding differs by some 1e-5 of the output's scale:
- A convolution of r taps computes m outputs from n = m + r - 1 inputs with n products of matrices instead of m * r
  (Toom-Cook; Winograd's minimal filtering): for r = 3, 8 instead of 18 in the encoder, 6 instead of 12 in decoders.
- A convolution with kernel f * stride, transposed or not, is one with f taps on blocks of `stride` positions.
- The decoders' first convolutions see only codes, so they are a table: the sum of one row for each tap.

Activations are (B, T, C) here, so that every product is one of plain matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .chunks import in_chunks, receptive_frames
from .model import MotionVQVAE, check_features, check_ids
from .network import ExpandingConv, ExpertDecoder, PaddedConv, ResidualLayer

Points = tuple[float, ...]
# Where polynomials are evaluated, besides infinity; few and near 1, or rounding grows. More points save more products
# but fill longer tiles: worth it in the encoder (T .. 36 T positions), not in the decoders.
ENCODER_POINTS: Points = (0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0)
DECODER_POINTS: Points = (0.0, 1.0, -1.0, 2.0, -0.5)


def _powers(points: Points, count: int) -> Tensor:
    """(n, count) float64: row i holds the powers 0..count-1 of point i; infinity, the last, keeps the highest only."""
    rows = [[point**power for power in range(count)] for point in points]
    return torch.tensor([*rows, [0.0] * (count - 1) + [1.0]], dtype=torch.float64)


def _transforms(points: Points, taps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Toom-Cook in float64: of inputs (n, n), of weights (n, taps) and back to outputs (m, n).

    One tap, or too many for the points, gives the plain sum over taps (n = taps, m = 1).
    """
    size = len(points) + 1
    if not 1 < taps < size - 1:
        return torch.eye(taps).double(), torch.eye(taps).double(), torch.ones(1, taps).double()
    inputs = torch.linalg.inv(_powers(points, size)).T
    scale = inputs.abs().amax(1, keepdim=True).log2().round().exp2()  # balances inputs and weights
    return inputs / scale, _powers(points, taps) * scale, _powers(points, size + 1 - taps).T


class _Convolution:
    """A convolution of stride 1 on (B, T, C), from weights (C_out, C, taps)."""

    def __init__(self, weight: Tensor, bias: Tensor, points: Points, dilation: int = 1) -> None:
        inputs, weights, outputs = (part.to(weight.device) for part in _transforms(points, weight.shape[2]))
        self.inputs, self.outputs = inputs.float().contiguous(), outputs.float().contiguous()
        self.bias, self.dilation, self.taps = bias, dilation, weight.shape[2]
        matrices = torch.einsum("nk,ock->noc", weights, weight.double()).float()
        self.packed = weight.device.type == "cpu" and torch.backends.mkldnn.is_available()
        # oneDNN with weights in its own order is a tenth to a third faster than `F.linear` on a CPU
        pack = torch.ops.mkldnn._reorder_linear_weight if self.packed else Tensor.contiguous
        self.matrices = [pack(matrix.contiguous()) for matrix in matrices]

    def __call__(self, x: Tensor, padding: tuple[int, int], relu: bool = False) -> Tensor:
        """(B, T, C), zero-padded in time -> (B, T + padding - dilation * (taps - 1), C_out), of relu(x) if `relu`."""
        batch, frames, channels = x.shape
        count, size = self.outputs.shape
        length = frames + sum(padding) - self.dilation * (self.taps - 1)
        tiles = -(-length // (count * self.dilation))
        total = ((tiles - 1) * count + size) * self.dilation
        x = F.pad(x, (0, 0, padding[0], total - frames - padding[0])).contiguous()  # a copy even without padding
        x = x.relu_() if relu else x
        values = self._values(x, tiles).view(size, -1, channels)
        products = torch.stack([self._multiply(*pair) for pair in zip(values, self.matrices, strict=True)])
        results = self.outputs @ products.view(size, batch * tiles, -1).transpose(0, 1)
        return results.view(batch, -1, len(self.bias))[:, :length] + self.bias

    def _values(self, x: Tensor, tiles: int) -> Tensor:
        """(B, T, C) -> (n, B, tiles, dilation * C), overlapping tiles of n inputs at the points."""
        count, size = self.outputs.shape
        row = self.dilation * x.shape[2]  # the phases of a dilated convolution lie side by side
        values = x.new_empty(size, len(x), tiles, row)
        for sequence, out in zip(x, values.unbind(1), strict=True):
            windows = sequence.as_strided((tiles, size, row), (count * row, row, 1), sequence.storage_offset())
            torch.bmm(self.inputs.expand(tiles, size, size), windows, out=out.transpose(0, 1))
        return values

    def _multiply(self, values: Tensor, matrix: Tensor) -> Tensor:
        if self.packed:
            return torch.ops.mkldnn._linear_pointwise(values, matrix, None, "none", [], "")
        return F.linear(values, matrix)


class _Residual:
    def __init__(self, layer: ResidualLayer, points: Points) -> None:
        first, second = layer.first.conv, layer.second.conv
        self.first = _Convolution(first.weight, _bias(first), points, first.dilation[0])
        self.second = _Convolution(second.weight, _bias(second), points)
        self.paddings = layer.first.padding, layer.second.padding

    def __call__(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x, self.paddings[0], relu=True), self.paddings[1], relu=True)


class _Expanding:
    """A transposed convolution: all phases of an output block are channels of one convolution."""

    def __init__(self, layer: ExpandingConv, points: Points) -> None:
        self.stride, self.crop = layer.stride, layer.crop
        blocks = layer.conv.weight.unflatten(2, (-1, self.stride))  # (C, C_out, taps, phases)
        self.margin = blocks.shape[2] - 1
        weight = blocks.flip(2).permute(3, 1, 0, 2).flatten(0, 1)
        self.conv = _Convolution(weight, _bias(layer.conv).repeat(self.stride), points)

    def __call__(self, x: Tensor) -> Tensor:
        blocks = self.conv(x, (self.margin, self.margin))
        result = blocks.unflatten(2, (self.stride, -1)).flatten(1, 2)
        return result[:, self.crop : self.crop + x.shape[1] * self.stride]


class _Shrinking:
    """A strided convolution: the positions of an input block are channels of one convolution."""

    def __init__(self, layer: PaddedConv, points: Points) -> None:
        self.stride, self.padding = layer.conv.stride[0], layer.padding
        weight = layer.conv.weight.unflatten(2, (-1, self.stride)).permute(0, 3, 1, 2).flatten(1, 2)
        self.conv = _Convolution(weight, _bias(layer.conv), points)

    def __call__(self, x: Tensor) -> Tensor:
        blocks = F.pad(x, (0, 0, *self.padding)).unflatten(1, (-1, self.stride)).flatten(2)
        return self.conv(blocks, (0, 0))


class _Projection:
    def __init__(self, layer: nn.Conv1d) -> None:
        self.weight, self.bias = layer.weight[..., 0], _bias(layer)

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x.relu(), self.weight, self.bias)


class _Lookup:
    """The first convolution of one decoder: ids (B, N) -> (B, N / stride, C)."""

    def __init__(self, layer: PaddedConv, codes: Tensor) -> None:
        self.kernel, self.stride, self.padding = layer.conv.kernel_size[0], layer.conv.stride[0], layer.padding
        self.bias, self.nothing = _bias(layer.conv), len(codes)
        with_nothing = F.pad(codes, (0, 0, 0, 1))  # one more code, zero, for the padding
        self.table = torch.einsum("nc,ock->kno", with_nothing, layer.conv.weight).flatten(0, 1)

    def __call__(self, ids: Tensor) -> Tensor:
        windows = F.pad(ids, self.padding, value=self.nothing).unfold(1, self.kernel, self.stride)
        rows = windows + torch.arange(self.kernel, device=ids.device) * (self.nothing + 1)
        return F.embedding_bag(rows.flatten(0, 1), self.table, mode="sum").view(*rows.shape[:2], -1) + self.bias


def _bias(layer: nn.Conv1d | nn.ConvTranspose1d) -> Tensor:
    assert layer.bias is not None
    return layer.bias


def _decoder(decoder: ExpertDecoder, codes: Tensor) -> list[Callable[[Tensor], Tensor]]:
    first, *middle, _, last = decoder.layers
    return [_Lookup(first, codes), *[_layer(layer, DECODER_POINTS) for layer in middle], _Projection(last)]  # pyright: ignore


def _layer(layer: nn.Module, points: Points) -> Callable[[Tensor], Tensor]:
    if isinstance(layer, ResidualLayer):
        return _Residual(layer, points)
    if isinstance(layer, ExpandingConv):
        return _Expanding(layer, points)
    assert isinstance(layer, PaddedConv)
    return _Shrinking(layer, points)


class FastMotionVQVAE:
    """Encodes and decodes like the model it is built from, which must not train or move afterwards.

    The rearranged weights lie next to the model's and take twice (encoder: 8/3) their memory.
    Inference only, without gradients.

    Args:
        model: a `MotionVQVAE` in fp32, on a CPU or a GPU.
    """

    @torch.no_grad()
    def __init__(self, model: MotionVQVAE) -> None:
        self.model, self.config = model, model.config
        device = model.quantizer.codebook.device
        codes = model.quantizer.decode(torch.arange(self.config.codebook_size, device=device))
        self._encoder = [_layer(layer, ENCODER_POINTS) for layer in model.encoder.layers]
        self._decoders = [_decoder(decoder, codes) for decoder in model.decoders]  # pyright: ignore[reportArgumentType]

    @torch.no_grad()
    def encoded(self, features: Tensor) -> Tensor:
        """(B, T, D) raw features -> (B, T * tokens_per_frame, C) encoder outputs before quantisation."""
        check_features(features, self.config)
        return _run(self._encoder, self.model.normalize(features))

    @torch.no_grad()
    def encode(self, features: Tensor) -> Tensor:
        """(B, T, D) raw features -> (B, T, tokens_per_frame) int64 ids, as `MotionVQVAE.encode` gives them."""
        check_features(features, self.config)
        read = lambda part: self.model.quantizer.encode(_run(self._encoder, part))  # noqa: E731
        ids = in_chunks(read, self.model.normalize(features), 1, receptive_frames(self.config))
        return ids.unflatten(1, (features.shape[1], self.config.tokens_per_frame))

    @torch.no_grad()
    def decode(self, ids: Tensor) -> Tensor:
        """(B, T, tokens_per_frame) ids -> (B, T, D) raw features, as `MotionVQVAE.decode` gives them."""
        check_ids(ids, self.config)
        write = lambda part: torch.cat([_run(layers, part) for layers in self._decoders], dim=2)  # noqa: E731
        halo = receptive_frames(self.config)
        return self.model.denormalize(in_chunks(write, ids.flatten(1), self.config.tokens_per_frame, halo))


def _run(layers: Sequence[Callable[[Tensor], Tensor]], x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x
