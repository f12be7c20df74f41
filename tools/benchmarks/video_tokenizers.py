"""Memory and time of 65 frames of 512 x 512 through the base visual tokenizers, random weights, with and without tiles.

Every case runs in a process of its own, whose largest resident size is what is printed; goal: below 12 GB on the CPU.

python tools/benchmarks/video_tokenizers.py --sides 288 512 --dtypes float32 bfloat16 --json video_tokenizers.json
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

GOAL_GB = 12.0


def measure(model_name: str, dtype: str, side: int, arguments: argparse.Namespace) -> dict:
    """One case in this process; GB are 1e9 bytes, seconds are those of the clock and of the processor."""
    import torch

    from unimo.assets import config_path
    from unimo.config import load_config, read_yaml
    from visual_tokenizer import (
        ContinuousTokenizerConfig,
        ContinuousVisualTokenizer,
        DiscreteVisualTokenizer,
        TiledTokenizer,
        Tiling,
        VisualTokenizerConfig,
    )

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    if model_name == "DV8x16x16":
        config = load_config(VisualTokenizerConfig, read_yaml(config_path("visual_tokenizer", "base"))["model"])
        model = DiscreteVisualTokenizer(config)
    else:
        model = ContinuousVisualTokenizer(ContinuousTokenizerConfig())
    tiled = TiledTokenizer(model.eval(), Tiling(side, arguments.overlap, arguments.chunk))
    video = torch.rand(1, 3, arguments.frames, arguments.size, arguments.size) * 2 - 1
    start, spent = time.perf_counter(), time.process_time()
    # not weights in bfloat16: PyTorch's CPU cannot pool them
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
        tokens = tiled.encode(video)
        middle = time.perf_counter()
        drawn = tiled.decode(tokens)
    end = time.perf_counter()
    assert drawn.shape == video.shape and bool(drawn.isfinite().all())
    return {
        "model": model_name, "dtype": dtype, "side": side, "encode_seconds": middle - start,
        "decode_seconds": end - middle, "cpu_seconds": time.process_time() - spent,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,  # Linux gives KiB
        "threads": arguments.threads, "load": os.getloadavg()[0],
    }  # fmt: skip


def in_own_process(case: tuple[str, str, int]) -> dict:
    """The same, by this script in a new process."""
    command = [sys.executable, __file__, *sys.argv[1:], "--case", *map(str, case)]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(result.stdout)


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["DV8x16x16", "CV8x8x8"])
    parser.add_argument("--dtypes", nargs="+", default=["float32"])
    parser.add_argument("--sides", type=int, nargs="+", default=[288], help="pixels of a tile")
    parser.add_argument("--overlap", type=int, default=64, help="pixels that tiles share")
    parser.add_argument("--chunk", type=int, default=65, help="frames of a chunk")
    parser.add_argument("--frames", type=int, default=65)
    parser.add_argument("--size", type=int, default=512, help="pixels of a frame's side")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        model, dtype, side = arguments.case
        print(json.dumps(measure(model, dtype, int(side), arguments)))
        return
    rows = []
    for case in itertools.product(arguments.models, arguments.dtypes, arguments.sides):
        rows.append(in_own_process(case) | {"frames": arguments.frames, "size": arguments.size})
        text = (
            "{model:9} {dtype:8} {frames} x {size} px, tiles of {side}: {peak_gb:5.2f} GB, "
            "encode {encode_seconds:.0f} s, decode {decode_seconds:.0f} s ({cpu_seconds:.0f} CPU s), "
            "{threads} thread(s), load {load:.1f}"
        )
        print(text.format(**rows[-1]) + ("" if rows[-1]["peak_gb"] < GOAL_GB else "  ABOVE THE GOAL"), flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
