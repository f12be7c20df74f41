"""Decoding of a preset with random weights on one device: prefill seconds, tokens a second, share of the read rate.

The motion of a clip is written after its video. At the defaults (base: 65 frames of 512 x 512, bfloat16, CUDA) the
prompt has 9 218 tokens and 2 340 are written; goals on an H200: 450 tokens a second and 0.15 s of prefill.

python tools/benchmarks/decode_base.py --json decode_base.json
python tools/benchmarks/decode_base.py --preset mini --device cpu      # the same road, small
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

from ar_model import Engine, Sampling, SequenceLayout, UniMoTransformer
from unimo.assets import config_path
from unimo.bundle import BundleSettings
from unimo.config import load_config
from unimo.training.ar import ArTrainingConfig


def random_model(preset: str, device: str) -> UniMoTransformer:
    """The transformer of a preset with random weights, in bfloat16 from the start: base in float32 has 16 GB."""
    config = load_config(ArTrainingConfig, config_path("ar_model", preset)).model
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            return UniMoTransformer(config).eval()
    finally:
        torch.set_default_dtype(torch.float32)


def clip_layout(preset: str, model: UniMoTransformer) -> SequenceLayout:
    """Video-to-motion at the clip geometry of a preset."""
    settings = load_config(BundleSettings, config_path("bundle", preset))
    cells, latent_frames = settings.side // 16, 1 + (settings.frames - 1) // 8
    motion_layout = model.config.motion_layout
    return SequenceLayout("v2m", latent_frames, cells, cells, settings.frames, motion_layout=motion_layout)


def seconds(call: Any, device: str) -> float:
    """Wall seconds of a call, the device's queue included."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def bytes_a_position(engine: Engine, layout: SequenceLayout) -> float:
    """Bytes that a position reads: the blocks' weights once, and keys and values half way through the motion."""
    config = engine.model.config
    weights = sum(value.numel() for value in engine.model.layers.parameters()) * 2
    middle = (layout.condition_length + len(layout)) / 2
    return weights + 2 * 2 * config.layers * config.kv_heads * config.head_width * middle


@torch.inference_mode()
def measure(preset: str, device: str, repeats: int) -> dict[str, Any]:
    """One row of numbers; the first round, which compiles and captures, is left out."""
    engine = Engine(random_model(preset, device))
    layout = clip_layout(preset, engine.model)
    config, given = engine.model.config, layout.condition_length
    visual = torch.randint(config.visual_ids, (1, layout.latent_frames, layout.height, layout.width), device=device)
    tokens = layout.build(visual, torch.zeros(1, layout.frames, 36, dtype=torch.int64, device=device))
    buffer = torch.ones(2**30 if device == "cuda" else 2**26, dtype=torch.bfloat16, device=device)
    prefill, whole, reading = [], [], []
    for round_ in range(repeats + 1):
        cache = engine.decoder.new_cache(1, len(layout))
        first = seconds(lambda cache=cache: engine.decoder.prefill(tokens[:, :given], layout, cache), device)
        del cache
        both = seconds(lambda: engine.complete(tokens, layout, given, Sampling(), [0]), device)
        rate = buffer.numel() * 2 / seconds(lambda: buffer.view(torch.int32).max(), device)
        if round_:
            prefill.append(first)
            whole.append(both)
            reading.append(rate)
    writing = [both - first for both, first in zip(whole, prefill, strict=True)]
    written, positions = layout.num_tokens - given, len(layout) - given
    share = positions * bytes_a_position(engine, layout) / median(writing) / median(reading)
    return {
        "preset": preset,
        "device": torch.cuda.get_device_name() if device == "cuda" else "CPU",
        "prompt": given,
        "written": written,
        "prefill_s": {"median": median(prefill), "lowest": min(prefill), "highest": max(prefill)},
        "tokens_per_second": {
            "median": written / median(writing), "lowest": written / max(writing), "highest": written / min(writing)
        },
        "read_gb_per_second": median(reading) / 1e9,
        "share_of_read_rate": share,
        "load": os.getloadavg()[0],
    }  # fmt: skip


def main() -> None:
    """Prints and writes the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="base", help="configs/ar_model and configs/bundle")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    row = measure(arguments.preset, arguments.device, arguments.repeats)
    print("{preset} on {device}: a prompt of {prompt} tokens, {written} written, load {load:.1f}".format(**row))
    print("  prefill {median:.3f} s ({lowest:.3f} to {highest:.3f})".format(**row["prefill_s"]))
    print("  {median:.0f} tokens/s ({lowest:.0f} to {highest:.0f})".format(**row["tokens_per_second"]))
    print("  {share_of_read_rate:.1%} of {read_gb_per_second:.0f} GB/s read".format(**row))
    if arguments.json:
        arguments.json.write_text(json.dumps(row, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
