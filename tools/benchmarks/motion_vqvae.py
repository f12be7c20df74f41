"""The motion tokenizer's fast path beside its plain modules at the paper's size, with random weights, side by side.

python tools/benchmarks/motion_vqvae.py --repeats 7 --json motion_vqvae.json
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from motion_tokenizer import FastMotionVQVAE, MotionTokenizerConfig, MotionVQVAE
from motion_tokenizer.network import ResidualLayer

SHAPES = ((1, 65), (8, 32))


def random_model() -> MotionVQVAE:
    """The defaults of the config are `base`; residual branches start at zero, so every weight is drawn anew."""
    torch.manual_seed(0)
    model = MotionVQVAE(MotionTokenizerConfig()).eval()
    for layer in model.modules():
        if isinstance(layer, (nn.Conv1d, nn.ConvTranspose1d)):
            nn.init.kaiming_normal_(layer.weight)
    for layer in model.modules():
        if isinstance(layer, ResidualLayer):
            layer.second.conv.weight.mul_(0.3)
    return model


def plain_encoded(model: MotionVQVAE, features: Tensor) -> Tensor:
    """(B, T, D) raw features -> (B, N, C) before quantisation."""
    return model.encoder(model.normalize(features).transpose(1, 2)).transpose(1, 2)


def seconds(call: Callable[[Tensor], Tensor], value: Tensor) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    call(value)
    return time.process_time() - start


def difference(value: Tensor, expected: Tensor) -> float:
    """The largest difference, as a fraction of the expected values' standard deviation."""
    return float((value.float() - expected).abs().max() / expected.std())


def compare(model: MotionVQVAE, ways: dict[str, tuple], shape: tuple[int, int], repeats: int) -> list[dict]:
    """Times `ways` (name -> encoded, encode, decode) in turn after one call to warm up; the first is the measure."""
    features = torch.randn(*shape, model.config.feature_dim)
    ids, reference = model.encode(features), plain_encoded(model, features)
    decoded = model.decode(ids)
    rows = []
    for name, (encoded, encode, decode) in ways.items():
        rows.append({
            "frames": "{} x {}".format(*shape), "way": name,
            "ids_agree": float((encode(features) == ids).double().mean()),
            "encoded_difference": difference(encoded(features), reference),
            "decoded_difference": difference(decode(ids), decoded),
        })  # fmt: skip
    for step, position, value in (("encode", 1, features), ("decode", 2, ids)):
        times = [[seconds(way[position], value) for way in ways.values()] for _ in range(repeats)]
        for row, column in zip(rows, zip(*times, strict=True), strict=True):
            ratios = sorted(round_[0] / mine for round_, mine in zip(times, column, strict=True))
            row[step] = {
                "cpu_seconds": median(column), "ratio": median(ratios), "lowest": ratios[0], "highest": ratios[-1]
            }  # fmt: skip
    return [{**row, "load": os.getloadavg()[0]} for row in rows]


def text(row: dict) -> str:
    """One line of the table."""
    steps = "  ".join(
        "{} {cpu_seconds:.3f} s {ratio:.2f}x ({lowest:.2f} to {highest:.2f})".format(step, **row[step])
        for step in ("encode", "decode")
    )
    return (
        "{frames:7} {way:9} {steps}  ids {ids_agree:.2%}  differences {encoded_difference:.0e} "
        "{decoded_difference:.0e}  load {load:.1f}".format(steps=steps, **row)
    )


@torch.inference_mode()
def main() -> None:
    """Prints a table; CPU seconds of one thread, all ways in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = random_model()
    fast, half = FastMotionVQVAE(model), copy.deepcopy(model).bfloat16()
    ways = {
        "plain": (lambda x: plain_encoded(model, x), model.encode, model.decode),
        "fast": (fast.encoded, fast.encode, fast.decode),
        "bfloat16": (lambda x: plain_encoded(half, x.bfloat16()), lambda x: half.encode(x.bfloat16()), half.decode),
    }
    rows = [row for shape in SHAPES for row in compare(model, ways, shape, arguments.repeats)]
    print("\n".join(text(row) for row in rows))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
