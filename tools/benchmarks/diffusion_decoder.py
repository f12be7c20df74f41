"""The diffusion decoder's sampler beside diffusers' plain loop, with random weights and the same noise, side by side.

Two plain loops: over our module, which leaves cross-attention out where there is no text, and over diffusers' own
transformer with the same weights, whose cross-attention reads text zeros.

python tools/benchmarks/diffusion_decoder.py --repeats 7 --json diffusion_decoder.json
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from diffusers.schedulers.scheduling_edm_euler import EDMEulerScheduler
from torch import Tensor

from unimo.assets import config_path
from unimo.config import load_config, read_yaml
from visual_tokenizer import DiffusionDecoder, DiffusionDecoderConfig, DiffusionSampler

GRIDS = {"debug": (2, 2, 2), "mini": (3, 8, 8)}  # ids: frames, rows, columns
STEPS = 15


def random_models(name: str) -> tuple[DiffusionDecoder, DiffusionDecoder]:
    """The decoder of `configs/diffusion_decoder/NAME.yaml`, and the same with diffusers' cross-attention in place."""
    torch.manual_seed(0)
    config = load_config(DiffusionDecoderConfig, read_yaml(config_path("diffusion_decoder", name))["model"])
    model, whole = (DiffusionDecoder(dataclasses.replace(config, text_dim=size)).eval() for size in (None, 1024))
    whole.load_state_dict(model.state_dict(), strict=False)
    return model, whole


@torch.inference_mode()
def plain_sample(model: DiffusionDecoder, ids: Tensor, noise: Tensor, guidance: float) -> Tensor:
    """Normalised latents from diffusers' scheduler and the module, both branches one after the other."""
    scheduler = EDMEulerScheduler(sigma_min=0.02, sigma_max=80.0, sigma_data=model.config.sigma_data)
    scheduler.set_timesteps(STEPS)
    state = noise * scheduler.init_noise_sigma
    for moment in scheduler.timesteps:
        scaled, times = scheduler.scale_model_input(state, moment), moment.expand(len(state))
        output = model(scaled, times, ids)
        if guidance:
            output = output + guidance * (output - model(scaled, times, torch.zeros_like(ids)))
        state = scheduler.step(output, moment, state, return_dict=False)[0]
    return state / model.config.sigma_data


def seconds(call: Callable[[], Tensor]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def compare(name: str, guidance: float, repeats: int) -> dict:
    """One clip, all ways in turn after one call each to warm up and to compare."""
    model, whole = random_models(name)
    config, (frames, rows, columns) = model.config, GRIDS[name]
    ids = torch.randint(config.num_ids, (1, frames, rows, columns))
    up = config.token_upsample
    noise = torch.randn(1, config.latent_channels, frames, up * rows, up * columns)
    sampler = DiffusionSampler(model)
    ways: dict[str, Callable[[], Tensor]] = {
        "ours": lambda: sampler.sample(ids, noise, steps=STEPS, guidance=guidance),
        "plain": lambda: plain_sample(model, ids, noise, guidance),
        "diffusers": lambda: plain_sample(whole, ids, noise, guidance),
    }
    results = {way: call() for way, call in ways.items()}
    times = [{way: seconds(call) for way, call in ways.items()} for _ in range(repeats)]
    row: dict = {"size": name, "guidance": guidance, "ours_cpu_seconds": median(taken["ours"] for taken in times)}
    for way in ("plain", "diffusers"):
        ratios = sorted(taken[way] / taken["ours"] for taken in times)
        difference = float((results["ours"] - results[way]).abs().max())
        row[way] = {"ratio": median(ratios), "lowest": ratios[0], "highest": ratios[-1], "difference": difference}
    return {**row, "load": os.getloadavg()[0]}


def text(row: dict) -> str:
    """One line of the table."""
    peers = "  ".join(
        "{}: {ratio:.2f}x ({lowest:.2f} to {highest:.2f}), difference {difference:.0e}".format(way, **row[way])
        for way in ("plain", "diffusers")
    )
    return "{size:6} g {guidance:<4} {ours_cpu_seconds:.3f} s  {peers}  load {load:.1f}".format(peers=peers, **row)


def main() -> None:
    """Prints a table; CPU seconds of one thread for one clip of 15 steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in GRIDS:
        for guidance in (1.8, 0.0):
            rows.append(compare(name, guidance, arguments.repeats))
            print(text(rows[-1]))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
