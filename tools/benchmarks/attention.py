"""The attention back-ends that run on a CPU beside one fused call with a boolean mask, which is made beforehand.

CPU seconds of the process (of both threads where there are two) and seconds of the clock, all ways in turn; goal: the
two calls of "sdpa" 1.25 times as fast as the mask with a large prefix, forward and with gradients, in float32.

Passive waiting, because a thread that spins for another one would count as computing.

OMP_WAIT_POLICY=PASSIVE python tools/benchmarks/attention.py --dtypes float32 bfloat16 --json attention.json
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor

from ar_model.attention import attend, prefix_mask

# prefix, rest, query heads, key/value heads: the floor's case; video to motion and image to video at an eighth of base
SHAPES = ((1152, 293, 6, 6), (1184, 300, 8, 2), (132, 1352, 8, 2))
WIDTH = 64
WAYS = ("mask", "sdpa", "blocked", "flex")
Call = Callable[[Tensor, Tensor, Tensor], Tensor]


def calls(prefix: int, length: int) -> dict[str, Call]:
    """Every way to attend, the mask first."""
    mask = prefix_mask(length, prefix)
    others = {name: partial(attend, prefix=prefix, backend=name) for name in WAYS[1:]}
    return {"mask": partial(F.scaled_dot_product_attention, attn_mask=mask, enable_gqa=True), **others}


def forward(call: Call, tensors: list[Tensor], weight: Tensor) -> list[Tensor]:
    """The output alone."""
    with torch.no_grad():
        return [call(*tensors)]


def both(call: Call, tensors: list[Tensor], weight: Tensor) -> list[Tensor]:
    """The output and the three gradients."""
    out = call(*tensors)
    return [out.detach(), *torch.autograd.grad(out, tensors, weight)]


def seconds(call: Callable[[], object]) -> tuple[float, float]:
    """Of the processor and of the clock, for one call."""
    start, clock = time.process_time(), time.perf_counter()
    call()
    return time.process_time() - start, time.perf_counter() - clock


def compare(shape: tuple[int, int, int, int], dtype: str, threads: int, repeats: int) -> list[dict]:
    """One row for each way and pass, after one call each to warm up and to compare."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    prefix, rest, heads, kv_heads = shape
    length, of_dtype = prefix + rest, getattr(torch, dtype)
    query, key, value, weight = (
        torch.randn(1, length, count, WIDTH, dtype=of_dtype).transpose(1, 2)
        for count in (heads, kv_heads, kv_heads, heads)
    )
    tensors = [tensor.requires_grad_() for tensor in (query, key, value)]
    ways, rows = calls(prefix, length), []
    for name, step in (("forward", forward), ("both", both)):
        results = {way: step(call, tensors, weight) for way, call in ways.items()}
        times = [
            {way: seconds(partial(step, call, tensors, weight)) for way, call in ways.items()} for _ in range(repeats)
        ]
        for way in ways:
            ratios = sorted(taken["mask"][0] / taken[way][0] for taken in times)
            pairs = zip(results[way], results["mask"], strict=True)
            rows.append({
                "prefix": prefix, "rest": rest, "heads": f"{heads}/{kv_heads}", "dtype": dtype, "threads": threads,
                "pass": name, "way": way, "cpu_seconds": median(taken[way][0] for taken in times),
                "ratio": median(ratios), "lowest": ratios[0], "highest": ratios[-1],
                "clock_ratio": median(taken["mask"][1] / taken[way][1] for taken in times),
                "difference": max(float((one - other).abs().max()) for one, other in pairs), "load": os.getloadavg()[0],
            })  # fmt: skip
    return rows


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--dtypes", nargs="+", default=["float32"])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows: list[dict] = []
    for threads, dtype, shape in itertools.product(arguments.threads, arguments.dtypes, SHAPES):
        for row in compare(shape, dtype, threads, arguments.repeats):
            rows.append(row)
            text = (
                "{prefix:4}+{rest:<4} {heads} heads {dtype:8} {threads} thread(s) {pass:7} {way:7} {cpu_seconds:.4f} s "
                "{ratio:.2f}x ({lowest:.2f} to {highest:.2f}), clock {clock_ratio:.2f}x, difference {difference:.0e}, "
                "load {load:.1f}"
            )
            print(text.format(**row), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
