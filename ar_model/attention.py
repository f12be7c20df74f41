"""The one attention call of the model: a bidirectional prefix, then causal positions that see everything before them.

In:  queries (B, H, S, d), keys and values (B, KV, S, d) with KV dividing H, and the length P of the prefix.
Out: (B, H, S, d); query head i reads key/value head i // (H/KV), scale 1/sqrt(d).
Back-ends: "sdpa" is PyTorch's fused call over the prefix and over the rest, without a mask of the whole square;
"blocked" is plain products over blocks of queries, faster than "sdpa" for bfloat16 on CPU and slower in float32;
"flex" is FlexAttention, "flash" is the package flash-attn, both meant for CUDA; "mask" is the boolean-mask form that
the others are tested against.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

# queries of one block after the prefix; "sdpa" in float32 on CPU is level from 130 to 320, "blocked" was best at 200
BLOCK = 200


def attend(
    query: Tensor, key: Tensor, value: Tensor, prefix: int, backend: str = "sdpa", scale: float | None = None
) -> Tensor:
    """Attention with a bidirectional prefix of ``prefix`` positions (0 or 1: plain causal).

    ``scale`` multiplies the scores; ``None`` means 1/sqrt(d).

    Raises:
        ValueError: the prefix is longer than the sequence, the back-end is unknown, or it is "flash" and flash-attn
            is not installed or cannot take these tensors.
    """
    if not 0 <= prefix <= query.shape[2]:
        raise ValueError(f"prefix {prefix} is outside the sequence of {query.shape[2]}")
    if backend not in _BACKENDS:
        raise ValueError(f"unknown attention back-end {backend!r}")
    return _BACKENDS[backend](query, key, value, prefix, query.shape[-1] ** -0.5 if scale is None else scale)


def prefix_mask(length: int, prefix: int, device: torch.device | None = None) -> Tensor:
    """(S, S) bool, True where the row's query may look at the column's key."""
    mask = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    mask[:prefix, :prefix] = True
    return mask


def _blocks(prefix: int, length: int) -> list[tuple[int, int]]:
    """Start and stop of each block of positions after the prefix."""
    count = max(1, (length - prefix) // BLOCK)
    ends = [prefix + (length - prefix) * index // count for index in range(count + 1)]
    return [(start, stop) for start, stop in pairwise(ends) if start < stop]


@functools.lru_cache(maxsize=256)
def _future(start: int, stop: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(stop - start, stop), -inf where a key comes after the query; one tensor, so that layers do not save one each."""
    with torch.inference_mode(False):  # training may use what inference has cached
        return torch.full((stop - start, stop), -torch.inf, dtype=dtype, device=device).triu(start + 1)


def _masked(query: Tensor, key: Tensor, value: Tensor, prefix: int, scale: float) -> Tensor:
    """One call with an (S, S) mask."""
    mask = prefix_mask(query.shape[2], prefix, query.device)
    return F.scaled_dot_product_attention(query, key, value, mask, scale=scale, enable_gqa=True)


def _two_calls(query: Tensor, key: Tensor, value: Tensor, prefix: int, scale: float) -> Tensor:
    """The prefix without a mask, then the rest; no row is computed twice."""
    if prefix < 2 or prefix == query.shape[2]:
        causal = prefix != query.shape[2]
        return F.scaled_dot_product_attention(query, key, value, is_causal=causal, scale=scale, enable_gqa=True)
    first, keys, values = query[:, :, :prefix], key[:, :, :prefix], value[:, :, :prefix]
    both_ways = F.scaled_dot_product_attention(first, keys, values, scale=scale, enable_gqa=True)
    rest = _rest_fused if query.is_cuda else _rest_in_blocks
    return torch.cat([both_ways, rest(query, key, value, prefix, scale)], dim=2)


def _rest_fused(query: Tensor, key: Tensor, value: Tensor, prefix: int, scale: float) -> Tensor:
    """Rows after the prefix in one causal call; PyTorch's CUDA kernels for 16 bits need no mask tensor for it."""
    from torch.nn.attention.bias import causal_lower_right  # here, because it imports PyTorch's compiler

    bias = causal_lower_right(query.shape[2] - prefix, query.shape[2])
    return F.scaled_dot_product_attention(query[:, :, prefix:], key, value, bias, scale=scale, enable_gqa=True)


def _rest_in_blocks(query: Tensor, key: Tensor, value: Tensor, prefix: int, scale: float) -> Tensor:
    """The same in blocks, each against the keys up to its end: the CPU kernel knows only square causal masks."""
    outputs = []
    for start, stop in _blocks(prefix, query.shape[2]):
        mask = _future(start, stop, query.dtype, query.device)
        rows, keys, values = query[:, :, start:stop], key[:, :, :stop], value[:, :, :stop]
        outputs.append(F.scaled_dot_product_attention(rows, keys, values, mask, scale=scale, enable_gqa=True))
    return torch.cat(outputs, dim=2)


def _blocked(query: Tensor, key: Tensor, value: Tensor, prefix: int, scale: float) -> Tensor:
    """The prefix, then blocks of queries, each against the keys up to its own end."""
    batch, heads, length, width = query.shape
    kv_heads = key.shape[1]
    query = (query * scale).view(batch, kv_heads, heads // kv_heads, length, width)
    outputs = []
    for start, stop in [(0, prefix)] * (prefix > 0) + _blocks(prefix, length):
        rows = query[:, :, :, start:stop].reshape(batch, kv_heads, -1, width)
        scores = rows @ key[:, :, :stop].transpose(-1, -2)
        if start >= prefix:
            future = _future(start, stop, scores.dtype, scores.device)
            scores = (scores.unflatten(2, (-1, stop - start)) + future).flatten(2, 3)
        mixed = torch.softmax(scores, dim=-1) @ value[:, :, :stop]
        outputs.append(mixed.view(batch, heads, stop - start, width))
    return torch.cat(outputs, dim=2)


def _flex(query: Tensor, key: Tensor, value: Tensor, prefix: int, scale: float) -> Tensor:
    """FlexAttention; on a CPU it is plain PyTorch with all scores in memory, for checks rather than for speed."""
    if query.is_cuda or not torch.is_grad_enabled():
        return _flex_call(query, key, value, prefix, scale)
    return _FlexOnCPU.apply(query, key, value, prefix, scale)


class _FlexOnCPU(torch.autograd.Function):
    """FlexAttention's values with the two calls' gradients: PyTorch 2.13 has no gradients of it on a CPU."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, prefix: int, scale: float) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.prefix, ctx.scale = prefix, scale
        return _flex_call(query, key, value, prefix, scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs = [tensor.detach().requires_grad_() for tensor in ctx.saved_tensors]
        with torch.enable_grad():
            mixed = _two_calls(inputs[0], inputs[1], inputs[2], ctx.prefix, ctx.scale)
        return *torch.autograd.grad(mixed, inputs, gradients[0]), None, None


def _flex_call(query: Tensor, key: Tensor, value: Tensor, prefix: int, scale: float) -> Tensor:
    if not query.is_cuda:  # PyTorch refuses tensors that need gradients, even where none are recorded
        query, key, value = query.detach(), key.detach(), value.detach()
    mask = _block_mask(query.shape[2], prefix, query.device)
    return _compiled_flex(query.device.type)(query, key, value, block_mask=mask, scale=scale, enable_gqa=True)


@functools.cache
def _compiled_flex(device_type: str) -> Callable[..., Tensor]:
    """Compiled on CUDA; elsewhere only traced, which needs no C++ compiler."""
    from torch.nn.attention.flex_attention import flex_attention  # here, because it imports PyTorch's compiler

    return torch.compile(flex_attention, backend="inductor" if device_type == "cuda" else "eager")


@functools.lru_cache(maxsize=64)
def _block_mask(length: int, prefix: int, device: torch.device) -> BlockMask:
    """Which blocks of keys each block of queries reads."""
    from torch.nn.attention.flex_attention import create_block_mask

    with torch.inference_mode(False):
        end = torch.tensor(prefix, device=device)  # a tensor, so that another prefix does not compile anew

        def visible(batch: Tensor, head: Tensor, row: Tensor, column: Tensor) -> Tensor:
            return (column < end) | (column <= row)

        return create_block_mask(visible, None, None, length, length, device=str(device))


def _flash(query: Tensor, key: Tensor, value: Tensor, prefix: int, scale: float) -> Tensor:
    """flash-attn in two calls; its causal mask ends in the lower right corner since version 2.1."""
    _check_flash_input(query)
    call = functools.partial(_flash_function(), softmax_scale=scale)
    length = query.shape[2]
    query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)  # (B, S, H, d)
    if prefix < 2 or prefix == length:
        return call(query, key, value, causal=prefix != length).transpose(1, 2)
    both_ways = call(query[:, :prefix], key[:, :prefix], value[:, :prefix], causal=False)
    causal = call(query[:, prefix:], key, value, causal=True)
    return torch.cat([both_ways, causal], dim=1).transpose(1, 2)


def _check_flash_input(query: Tensor) -> None:
    if not query.is_cuda or query.dtype not in (torch.float16, torch.bfloat16):
        found = f"{str(query.dtype).removeprefix('torch.')} on {query.device.type}"
        raise ValueError(f"attention 'flash' takes float16 or bfloat16 on CUDA, got {found}; choose 'sdpa' instead")


def _flash_function() -> Callable[..., Tensor]:
    """``flash_attn_func`` of the installed package."""
    try:
        package = importlib.import_module("flash_attn")
    except ImportError as error:
        remedy = "install it with `pip install flash-attn --no-build-isolation`, or choose 'sdpa'"
        raise ValueError(f"attention 'flash' needs the package flash-attn ({error}): {remedy}") from error
    if tuple(map(int, package.__version__.split(".")[:2])) < (2, 1):
        raise ValueError(f"attention 'flash' needs flash-attn 2.1 or newer, found {package.__version__}")
    return package.flash_attn_func


_BACKENDS: dict[str, Callable[[Tensor, Tensor, Tensor, int, float], Tensor]] = {
    "sdpa": _two_calls,
    "blocked": _blocked,
    "flex": _flex,
    "flash": _flash,
    "mask": _masked,
}
