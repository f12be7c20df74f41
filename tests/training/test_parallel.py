"""Two gloo processes: gradients become their mean, clips differ by process, and all follow the first one's clock."""

from __future__ import annotations

import os
import socket

import torch
import torch.multiprocessing as mp
from torch import nn

from unimo.training import parallel
from unimo.training.task import step_generator


def _worker(rank: int, port: int, results) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    parallel.start()
    layer = nn.Linear(2, 1)
    layer.weight.grad, layer.bias.grad = torch.full((1, 2), float(rank)), torch.full((1,), 10.0 * rank)
    parallel.average_gradients(layer.parameters())
    draw = int(step_generator(3, 7).integers(1_000_000))
    results.put((rank, layer.weight.grad.tolist(), layer.bias.grad.tolist(), parallel.from_first(5.0 + rank), draw))
    parallel.wait()


def test_two_processes_share_gradients_and_clock_but_not_clips():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    results = mp.get_context("spawn").Queue()
    mp.spawn(_worker, (port, results), nprocs=2)
    rows = sorted(results.get(timeout=60) for _ in range(2))
    for _, weight, bias, clock, _ in rows:
        assert weight == [[0.5, 0.5]] and bias == [5.0] and clock == 5.0
    assert rows[0][4] != rows[1][4]


def test_one_process_needs_no_group():
    layer = nn.Linear(2, 1)
    layer.weight.grad = torch.ones(1, 2)
    parallel.average_gradients(layer.parameters())
    assert layer.weight.grad.tolist() == [[1.0, 1.0]] and parallel.from_first(2.0) == 2.0 and parallel.rank() == 0
