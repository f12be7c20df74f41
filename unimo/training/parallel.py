"""Data-parallel training under torchrun: every process takes its own clips, gradients are averaged.

Without torchrun everything here does nothing. `torchrun --nproc-per-node N tools/train_mini.py --stages ar …`; the
motion tokenizer, whose codebook is no gradient's, trains in one process.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch import distributed as dist


def rank() -> int:
    """Number of this process, 0 for the one that logs, validates and saves."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Number of processes."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def start() -> None:
    """Joins the other processes, once; on graphics cards each process takes its own."""
    if world_size() == 1 or dist.is_initialized():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replaces every gradient by its mean over the processes, in one message."""
    if world_size() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= world_size()
    for gradient, mean in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def from_first(value: float) -> float:
    """The first process's value, so that all follow one clock."""
    if world_size() == 1:
        return value
    shared = torch.tensor([value], dtype=torch.float64)
    dist.broadcast(shared, 0)
    return float(shared)


def any_of(flag: bool) -> bool:
    """Whether the flag is set in any process, so that all act alike."""
    if world_size() == 1:
        return flag
    shared = torch.tensor([float(flag)])
    dist.all_reduce(shared, dist.ReduceOp.MAX)
    return bool(shared)


def copy_from_first(tensors: Iterable[Tensor]) -> None:
    """Overwrites tensors with the first process's."""
    for tensor in tensors if world_size() > 1 else ():
        dist.broadcast(tensor, 0)


def wait() -> None:
    """Holds until every process is here."""
    if world_size() > 1:
        dist.barrier()
