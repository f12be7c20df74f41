"""Two gloo processes: gradients become their mean, clips differ by process, and all follow the first one's clock."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import torch
import torch.multiprocessing as mp
from torch import nn

from unimo.training import parallel
from unimo.training.checkpoint import checkpoint_paths
from unimo.training.config import OptimizationConfig
from unimo.training.loop import Trainer
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


class _Line:
    """Fits y = 3x from other start weights in each process; the second process is told to stop in step 2."""

    name = "line"

    def __init__(self) -> None:
        torch.manual_seed(parallel.rank())
        self.model: nn.Module = nn.Linear(1, 1)
        self.shipped = self.model

    def batch(self, step: int) -> dict:
        if step == 2 and parallel.rank() == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return {"x": torch.from_numpy(step_generator(0, step).normal(size=(4, 1))).float(), "names": []}

    def loss(self, batch: dict) -> tuple[torch.Tensor, dict[str, float]]:
        return (self.model(batch["x"]) - 3 * batch["x"]).square().mean(), {}

    def validate(self, model: nn.Module) -> dict[str, float]:
        return {}


def _train(rank: int, port: int, folder: Path, results) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    parallel.start()
    trainer = Trainer(_Line(), OptimizationConfig(steps=50, batch_size=4, learning_rate=0.1), folder)
    try:
        trainer.run()
        stopped = False
    except KeyboardInterrupt:
        stopped = True
    weights = [value.item() for value in trainer.task.model.state_dict().values()]
    results.put((rank, stopped, trainer.step, weights))
    parallel.wait()


def test_a_signal_to_one_process_stops_both_at_one_step_with_the_same_weights(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    results = mp.get_context("spawn").Queue()
    mp.spawn(_train, (port, tmp_path, results), nprocs=2)
    first, second = sorted(results.get(timeout=60) for _ in range(2))
    assert first[1:3] == second[1:3] == (True, 3)
    assert first[3] == second[3]
    assert [path.name for path in checkpoint_paths(tmp_path)] == ["step_00000003.safetensors"]


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
