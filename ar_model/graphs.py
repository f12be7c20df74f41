"""Decoding steps of fixed shape, replayed as CUDA graphs.

In:  an embedded token (B, dim) and its position, after a prefill. Out: its hidden state (B, dim).
A step on a graphics card is some hundred small kernels, and launching them one by one takes longer than running them; a
graph launches them at once, but only with shapes and addresses that never change. So the position is a tensor, the keys
read are a multiple of ``BUCKET``, and those not written yet are masked. There is one graph per number of buckets.
On other devices the same step runs without a graph.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ar_model.decoder import PackedDecoder, Tables
from ar_model.kv_cache import KVCache

# a graph is captured anew every so many positions; half of them, on average, are read in vain
BUCKET = 1024
WARM_UP = 3


class StaticDecoder:
    """Steps over one cache; equal to :meth:`PackedDecoder.step` up to rounding (tested)."""

    def __init__(self, decoder: PackedDecoder, tables: Tables, cache: KVCache, bucket: int = BUCKET) -> None:
        self.decoder, self.tables, self.cache, self.bucket = decoder, tables, cache, bucket
        device = decoder.device
        self.capacity = cache.keys.shape[2]
        self.x = torch.zeros(cache.batch, decoder.config.dim, dtype=decoder.dtype, device=device)
        self.position = torch.zeros(1, dtype=torch.int64, device=device)
        self.places = torch.arange(self.capacity, device=device)
        self.graphs: dict[int, tuple[torch.cuda.CUDAGraph, Tensor]] = {}

    def step(self, x: Tensor, position: int) -> Tensor:
        """Run the embedded token (B, dim) of one position, extending the cache; returns its hidden (B, dim).

        On a graphics card the result is overwritten by the next step.
        """
        self.x.copy_(x)
        self.position.fill_(position)
        length = min(self.capacity, (position // self.bucket + 1) * self.bucket)
        if self.x.device.type != "cuda":
            return self._run(length)
        if length not in self.graphs:
            self.graphs[length] = self._capture(length)
        graph, hidden = self.graphs[length]
        graph.replay()
        return hidden

    def _run(self, length: int) -> Tensor:
        decoder, cache = self.decoder, self.cache
        rows, width = self.cache.batch * decoder.config.kv_heads, decoder.config.head_width
        unwritten = self.places[:length] > self.position

        def mix(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            cache.keys[layer].index_copy_(1, self.position, key.reshape(rows, 1, width))
            cache.values[layer].index_copy_(1, self.position, value.reshape(rows, 1, width))
            keys, values = cache.read(layer, length)
            scores = torch.bmm(query.reshape(rows, decoder.groups, width), keys.transpose(1, 2))
            weights = torch.softmax(scores.masked_fill(unwritten, -torch.inf), dim=-1)
            return torch.bmm(weights, values).view(cache.batch, -1)

        return decoder.run(self.x, self.tables.at(self.position), cache.memories, mix)

    def _capture(self, length: int) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        """Runs the step a few times, which writes the same position each time, then records it."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self._run(length)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            hidden = self._run(length)
        return graph, hidden
