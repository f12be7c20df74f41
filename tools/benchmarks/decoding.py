"""Cached decoding beside the plain forward pass: how many times faster a motion frame is written, side by side.

python tools/benchmarks/decoding.py --bundle mini --batches 1 16 --repeats 5 --json decoding.json
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from statistics import median

import torch

from ar_model import SequenceLayout, UniMoTransformer
from ar_model.decoder import PackedDecoder
from ar_model.sequence import MOTION
from unimo.bundle import load_bundle

CODES = 36


def cached(model: UniMoTransformer, tokens: torch.Tensor, layout: SequenceLayout, first: int) -> float:
    """Seconds for 36 greedy steps from position `first` on, after a prefill that is not counted."""
    decoder = PackedDecoder(model)
    cache = decoder.new_cache(len(tokens), len(layout))
    hidden, tables = decoder.prefill(tokens[:, :first], layout, cache), decoder.tables(layout)
    start = time.process_time()
    for position in range(first, first + CODES):
        ids = decoder.logits(hidden, MOTION).argmax(-1)
        hidden = decoder.step(model.embedding(MOTION)(ids), position, tables, cache)
    return time.process_time() - start


def plain(model: UniMoTransformer, tokens: torch.Tensor, layout: SequenceLayout, first: int) -> float:
    """Seconds for the same steps when every one runs the whole sequence so far; every sixth step is timed."""
    spent = 0.0
    for position in range(first, first + CODES, 6):
        keep = torch.arange(position)
        start = time.process_time()
        hidden = model.norm(model.residuals(tokens, layout, keep)[-1][:, -1])
        model.motion_output(hidden).argmax(-1)
        spent += time.process_time() - start
    return 6 * spent


@torch.inference_mode()
def main() -> None:
    """Prints a table; CPU seconds of one thread, runs of both kinds in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="mini", help="name or folder")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    bundle = load_bundle(arguments.bundle)
    model, frames = bundle.ar_model.eval(), bundle.settings.frames
    side = bundle.settings.side // 16
    layout = SequenceLayout("v2m", 1 + (frames - 1) // 8, side, side, frames)
    first = layout.condition_length + CODES * (frames // 2)
    rows = []
    for batch in arguments.batches:
        tokens = torch.randint(model.config.motion_ids, (batch, len(layout)))
        tokens[:, [0, layout.condition_length - 1]] = 0
        times = [
            (cached(model, tokens, layout, first), plain(model, tokens, layout, first))
            for _ in range(arguments.repeats)
        ]
        ratios = sorted(slow / fast for fast, slow in times)
        rows.append({
            "batch": batch, "ratio": median(ratios), "lowest": ratios[0], "highest": ratios[-1],
            "cached_tokens_per_cpu_second": batch * CODES / median(fast for fast, _ in times),
            "load": os.getloadavg()[0],
        })  # fmt: skip
        print(
            "batch {batch}: cached {ratio:.1f} times the plain pass ({lowest:.1f} to {highest:.1f}), "
            "{cached_tokens_per_cpu_second:.0f} tokens a CPU second, load {load:.1f}".format(**rows[-1])
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
