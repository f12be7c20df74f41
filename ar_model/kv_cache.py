"""Keys and values of all layers, allocated once for the whole sequence.

In:  rotated keys and values of a stretch of positions; what the blocks keep of a context, if they read one.
Out: views of everything written so far.
Keys and values are stored per sample and key/value head as (S, head_dim), contiguous, ready for batched products.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ar_model.blocks import Memory


class KVCache:
    """Static cache of shape (layers, batch * kv_heads, capacity, head_dim) for keys and for values.

    ``memories`` holds per layer what the block keeps of its context.
    """

    def __init__(
        self,
        layers: int,
        batch: int,
        kv_heads: int,
        capacity: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device,
        memories: list[Memory | None],
    ) -> None:
        self.batch, self.kv_heads, self.memories = batch, kv_heads, memories
        shape = (layers, batch * kv_heads, capacity, head_dim)
        # zeros, because masked positions are multiplied by 0 and must not hold infinities
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)

    def write(self, layer: int, start: int, keys: Tensor, values: Tensor) -> None:
        """Store (batch * kv_heads, n, head_dim) keys and values at positions ``start .. start + n - 1``."""
        stop = start + keys.shape[1]
        self.keys[layer, :, start:stop] = keys
        self.values[layer, :, start:stop] = values

    def slots(self, positions: Tensor) -> Tensor:
        """Where ``scatter`` puts positions (batch, n) of every sequence: (batch * kv_heads * n,) int64."""
        capacity = self.keys.shape[2]
        heads = torch.arange(self.batch * self.kv_heads, device=positions.device).view(self.batch, self.kv_heads, 1)
        return (heads * capacity + positions[:, None]).flatten()

    def scatter(self, layer: int, slots: Tensor, keys: Tensor, values: Tensor) -> None:
        """Store (batch, kv_heads, n, head_dim) keys and values at ``slots``, all different."""
        width = self.keys.shape[-1]
        self.keys[layer].view(-1, width).index_copy_(0, slots, keys.reshape(-1, width))
        self.values[layer].view(-1, width).index_copy_(0, slots, values.reshape(-1, width))

    def read(self, layer: int, length: int) -> tuple[Tensor, Tensor]:
        """Views (batch * kv_heads, length, head_dim) of the first ``length`` keys and values."""
        return self.keys[layer, :, :length], self.values[layer, :, :length]

    def expand(self, copies: int, capacity: int) -> KVCache:
        """A cache of another capacity that holds every sample ``copies`` times in a row."""
        layers, _, length, head_dim = self.keys.shape
        memories = [None if memory is None else memory.expand(copies) for memory in self.memories]
        kind, device = self.keys.dtype, self.keys.device
        wide = KVCache(layers, self.batch * copies, self.kv_heads, capacity, head_dim, kind, device, memories)
        for source, target in ((self.keys, wide.keys), (self.values, wide.values)):
            spread = target.view(layers, self.batch, copies, self.kv_heads, capacity, head_dim)
            spread[..., :length, :] = source.view(layers, self.batch, 1, self.kv_heads, length, head_dim)
        return wide
