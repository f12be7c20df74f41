"""Clips from token shards for training: shuffled, shared out among processes, prefetched, and resumable exactly.

In: `TokenShards`. Out: batches of clips, for one process of several. The clips of all processes together form one
endless stream whose order follows from the seed alone: every clip is in it once an epoch. Of the stream, process r of
W takes every W-th place from the r-th on, so a place in it is all that a checkpoint keeps, and neither the number of
reading threads nor the sizes of batches change what is seen.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np

from unimo.data.token_shards import ClipTokens, TokenShards, stack
from unimo.data.tokens import TokenPack
from unimo.errors import CheckpointError

BUFFER = 32_768
"""Clips that are shuffled among each other; only their places are in memory."""

_CHUNK, _CHUNKS_AHEAD = 16, 8
_STREAM = 0x70C  # keeps these draws apart from those of the training steps, which share the seed


class ShardOrder:
    """Where each place of the endless stream lies.

    In every epoch the shards come in another order; runs of them that hold some `buffer` clips are each shuffled
    clip by clip, so that only some of the files are read at a time.
    """

    def __init__(self, counts: Sequence[int], seed: int, buffer: int = BUFFER) -> None:
        """`counts`: clips of each shard, each at least one."""
        self._counts, self._seed, self._buffer = np.asarray(counts), seed, buffer
        self.total = int(self._counts.sum())
        self._epoch, self._within = lru_cache(4)(self._draw_epoch), lru_cache(4)(self._draw_window)

    def locate(self, place: int) -> tuple[int, int]:
        """Shard and row of a place of the stream."""
        epoch, within = divmod(place, self.total)
        shards, ends, cuts = self._epoch(epoch)
        window = int(np.searchsorted(cuts, within, side="right")) - 1
        within = cuts[window] + self._within(epoch, window)[within - cuts[window]]
        number = int(np.searchsorted(ends, within, side="right"))
        shard = int(shards[number])
        return shard, int(within - ends[number] + self._counts[shard])

    def run_of(self, place: int) -> tuple[list[int], int]:
        """The run of shards that a place lies in, and the first place after it."""
        epoch, within = divmod(place, self.total)
        shards, ends, cuts = self._epoch(epoch)
        after = int(np.searchsorted(cuts, within, side="right"))
        inside = (ends > cuts[after - 1]) & (ends <= cuts[after])
        return shards[inside].tolist(), place - within + int(cuts[after])

    def _draw_epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The epoch's order of shards, where each of them ends in it, and where runs begin and the last one ends."""
        shards = self._generator(epoch, 0).permutation(len(self._counts))
        ends = np.cumsum(self._counts[shards])
        runs = max(1, self.total // self._buffer)
        wanted = self.total * np.arange(1, runs + 1) // runs
        return shards, ends, np.concatenate([[0], np.unique(ends[np.searchsorted(ends, wanted)])])

    def _draw_window(self, epoch: int, window: int) -> np.ndarray:
        cuts = self._epoch(epoch)[2]
        return self._generator(epoch, 1 + window).permutation(int(cuts[window + 1] - cuts[window]))

    def _generator(self, epoch: int, stream: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence([_STREAM, self._seed, epoch, stream]))


class ShardLoader:
    """A `TokenSource` over shards. Threads read ahead from the first draw on; they share this process's memory.

    Attributes:
        waited: seconds that draws have waited for clips.
    """

    def __init__(
        self,
        shards: TokenShards,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 2,
        buffer: int = BUFFER,
    ) -> None:
        """`rank` of `world_size` processes, each with `workers` threads of its own."""
        self.shards, self._rank, self._world_size = shards, rank, world_size
        self._order = ShardOrder(shards.counts, seed, buffer)
        self._identity = hashlib.sha256(json.dumps([shards.fingerprint, seed, buffer]).encode()).hexdigest()
        self._readers = ThreadPoolExecutor(workers, "shards")
        self._checker = ThreadPoolExecutor(1, "shard-hashes")
        self.waited = 0.0
        self._start_at(0)

    def __len__(self) -> int:
        return len(self.shards)

    @property
    def tokenizers(self) -> str:
        """Hash of the tokenizers that made the shards."""
        return self.shards.tokenizers

    @property
    def grid(self) -> tuple[int, int, int]:
        """(K, h, w): latent frames, and cells of each."""
        return self.shards.grid

    @property
    def frames(self) -> int:
        """Frames of a clip."""
        return self.shards.frames

    def draw(self, rng: np.random.Generator, count: int) -> tuple[list[str], TokenPack]:
        """The next `count` clips of this process. The stream has its own order: `rng` is not used."""
        clips = self._next(count)
        for _ in clips:
            self._ready.popleft()
        self._place += count * self._world_size
        return [clip.name for clip in clips], stack(clips, self.tokenizers)

    def foreign(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """(count,T,36) motion ids of the clips that the next draw will give; they stay where they are."""
        return np.stack([clip.motion_ids for clip in self._next(count)])

    def position(self) -> dict[str, Any]:
        """How many clips all processes have drawn, and of what."""
        return {"clips": self._place, "order": self._identity}

    def go_to(self, position: Mapping[str, Any]) -> None:
        """Goes on where `position` was asked for, with these or another number of processes and threads.

        Raises:
            CheckpointError: it is a position in other clips, or in another order of them.
        """
        if position.get("order") != self._identity:
            what = "the checkpoint's position is not one in these shards, shuffled by this seed"
            fix = "the --shards and optimization.seed that the run began with, or another --work with --start-from"
            raise CheckpointError(what, self.shards.where, fix)
        self._start_at(int(position["clips"]))

    def close(self) -> None:
        """Lets the threads go."""
        self._readers.shutdown(cancel_futures=True)
        self._checker.shutdown(cancel_futures=True)

    def _start_at(self, place: int) -> None:
        self._place, self._asked = place, place + self._rank
        self._ready: deque[ClipTokens] = deque()
        self._coming: deque[Future[list[ClipTokens]]] = deque()
        self._checked_to = place

    def _next(self, count: int) -> list[ClipTokens]:
        """The next clips, which stay in the queue."""
        self._ask()
        while len(self._ready) < count:
            start = time.perf_counter()
            self._ready.extend(self._coming.popleft().result())
            self.waited += time.perf_counter() - start
            self._ask()
        return list(islice(self._ready, count))

    def _ask(self) -> None:
        """Keeps the readers busy, and has the next run of shards checked before it is needed."""
        while len(self._coming) < _CHUNKS_AHEAD:
            places = range(self._asked, self._asked + _CHUNK * self._world_size, self._world_size)
            self._coming.append(self._readers.submit(self._read, places))
            self._asked = places.stop
            if places[-1] >= self._checked_to:
                self._checked_to = self._order.run_of(places[-1])[1]
                for shard in self._order.run_of(self._checked_to)[0]:
                    self._checker.submit(self.shards.verify, shard)  # what it raises is raised again at use

    def _read(self, places: range) -> list[ClipTokens]:
        return [self.shards.read(*self._order.locate(place)) for place in places]
