"""Decoding beside Hugging Face's `generate` of a Llama of the same size, and beside our own pass without a cache.

Parts: "peers": random weights at the sizes of `SIZES`, greedy, a prompt of 312 tokens and 1 188 to write, all ways in
turn; "plain": a bundle's transformer, cached steps beside the whole pass; "int8": what rounding its weights changes.
Ratios of one thread are of CPU time, of more threads of wall time.

python tools/benchmarks/decode.py --repeats 3 --threads 1 2 --json decode.json
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from ar_model import ARConfig, Engine, Sampling, SequenceLayout, UniMoTransformer, quantized
from ar_model.attention import attend
from ar_model.blocks import Memory
from ar_model.decoder import PackedDecoder
from ar_model.sampling import NoiseSource, race
from ar_model.sequence import MOTION, VISUAL
from unimo.bundle import load_bundle
from unimo.data.tokens import TokenPack

SIZES: dict[str, Any] = dict(dim=384, layers=8, heads=6, kv_heads=2, ffn_hidden=1024, visual_ids=1024, motion_ids=1024)
LAYOUT = SequenceLayout("v2m", 5, 2, 31, 33)
CODES = 36
# what is compared with what: ours, peers of which the fastest counts, goal
GOALS: list[tuple[str, tuple[str, ...], float | None]] = [
    ("ours float32", ("dynamic float32", "static float32"), 1.3),
    ("ours bfloat16", ("dynamic bfloat16",), 2.0),
    ("ours bfloat16", ("dynamic bfloat16", "static bfloat16", "dynamic float32", "static float32"), None),
    ("ours int8", ("ours bfloat16, torch.mm",), 1.3),
    ("ours int8", ("ours bfloat16",), 1.3),
    ("ours int8", ("dynamic bfloat16",), None),
]


def models(dtype: torch.dtype) -> tuple[UniMoTransformer, LlamaForCausalLM]:
    """Ours and Llama with random weights."""
    torch.manual_seed(0)
    ours = UniMoTransformer(ARConfig(**SIZES)).eval()
    llama = LlamaForCausalLM(
        LlamaConfig(
            hidden_size=SIZES["dim"], num_hidden_layers=SIZES["layers"], num_attention_heads=SIZES["heads"],
            num_key_value_heads=SIZES["kv_heads"], intermediate_size=SIZES["ffn_hidden"], vocab_size=1024,
            max_position_embeddings=2048, bos_token_id=None, eos_token_id=None, pad_token_id=0,
        )
    ).eval()  # fmt: skip
    return ours.to(dtype), llama.to(dtype=dtype)  # pyright: ignore


def ways() -> dict[str, Callable[[], Any]]:
    """Everything that is timed, each writing the same number of tokens after the same prompt."""
    result: dict[str, Callable[[], Any]] = {}
    given, count = LAYOUT.condition_length, LAYOUT.num_tokens - LAYOUT.condition_length
    tokens = random_tokens()
    prompt = tokens[:, :given]

    def generate(llama: LlamaForCausalLM, cache: str) -> Callable[[], Any]:
        fixed = dict(max_new_tokens=count, min_new_tokens=count, do_sample=False, disable_compile=True)
        mask = torch.ones_like(prompt)
        return lambda: llama.generate(prompt, attention_mask=mask, cache_implementation=cache, **fixed)  # pyright: ignore

    def complete(engine: Engine) -> Callable[[], Any]:
        return lambda: engine.complete(tokens, LAYOUT, given, Sampling(temperature=0), [0])

    for name in ("float32", "bfloat16"):
        ours, llama = models(getattr(torch, name))
        result[f"ours {name}"] = complete(Engine(ours))
        result[f"dynamic {name}"], result[f"static {name}"] = generate(llama, "dynamic"), generate(llama, "static")
        if name == "bfloat16":
            result["ours int8"] = complete(Engine(ours, weights="int8"))
            result["ours bfloat16, torch.mm"] = complete(unpacked(ours))
    return result


def unpacked(model: UniMoTransformer) -> Engine:
    """An engine with torch's own products of bfloat16, as it is on a processor without FBGEMM."""
    engine, torch.backends.quantized.engine = torch.backends.quantized.engine, "onednn"
    try:
        return Engine(model)
    finally:
        torch.backends.quantized.engine = engine


def random_tokens() -> Tensor:
    """(1, N) tokens of a random clip."""
    generator = torch.Generator().manual_seed(0)
    grid = (1, LAYOUT.latent_frames, LAYOUT.height, LAYOUT.width)
    visual = torch.randint(SIZES["visual_ids"], grid, generator=generator)
    return LAYOUT.build(visual, torch.zeros(1, LAYOUT.frames, CODES, dtype=torch.int64))


def clocked(call: Callable[[], Any]) -> tuple[float, float]:
    """CPU seconds and wall seconds of a call."""
    cpu, wall = time.process_time(), time.perf_counter()
    call()
    return time.process_time() - cpu, time.perf_counter() - wall


def token_bytes() -> dict[str, float]:
    """Bytes that a token reads: weights of blocks and head, and the keys and values of a sequence half written."""
    heads, width = SIZES["heads"] + 2 * SIZES["kv_heads"], SIZES["dim"] // SIZES["heads"]
    block = SIZES["dim"] * (heads * width + SIZES["dim"] + 3 * SIZES["ffn_hidden"])
    weights = SIZES["layers"] * block + SIZES["dim"] * SIZES["motion_ids"]
    middle = (LAYOUT.num_tokens + LAYOUT.condition_length) / 2
    cached = 4 * 2 * SIZES["layers"] * SIZES["kv_heads"] * width * middle
    return {name: size * weights + cached for name, size in (("float32", 4), ("bfloat16", 2), ("int8", 1))}


def read_rate(size: int, clock: int) -> float:
    """Bytes a second of reading a buffer of a size, by a sum, on one of the two clocks."""
    buffer = torch.ones(size // 4)
    return 4 * len(buffer) * 20 / clocked(lambda: [buffer.sum() for _ in range(20)])[clock]


@torch.inference_mode()
def equal_to_plain_loop() -> bool:
    """Whether float32 tokens of one seed are those that the plain pass draws with the same noise.

    The plain pass reads the tokens that were written, so that one pass stands for the loop: its token at every
    position is the written one exactly where the loop would have gone the same way.
    """
    model, sampling = models(torch.float32)[0], Sampling()
    given = LAYOUT.condition_length
    tokens = Engine(model).complete(random_tokens(), LAYOUT, given, sampling, [0])
    logits = model.motion_output(model(tokens, LAYOUT)[0, given - 1 : -1])
    noise = NoiseSource([0], torch.device("cpu"))
    drawn = torch.cat([race(row[None], sampling, noise.draw(len(row))) for row in logits])
    return torch.equal(drawn, tokens[0, given:])


def spread(values: list[float]) -> dict[str, float]:
    """Median, lowest and highest."""
    return {"median": median(values), "lowest": min(values), "highest": max(values)}


@torch.inference_mode()
def peers(threads: int, repeats: int) -> dict[str, Any]:
    """All ways in turn after one short call each."""
    torch.set_num_threads(threads)
    clock = 0 if threads == 1 else 1
    calls, sizes = ways(), token_bytes()
    times: dict[str, list[float]] = {name: [] for name in calls}
    rates: dict[str, list[float]] = {name: [] for name in sizes}
    for _ in range(repeats):
        for name, call in calls.items():
            times[name].append(clocked(call)[clock])
        for name, size in sizes.items():
            rates[name].append(read_rate(int(size), clock))
    count = LAYOUT.num_tokens - LAYOUT.condition_length
    result: dict[str, Any] = {"threads": threads, "clock": ("CPU", "wall")[clock], "load": os.getloadavg()[0]}
    result["tokens_per_second"] = {name: spread([count / taken for taken in times[name]]) for name in times}
    result["bandwidth_share"] = {}
    for name, size in sizes.items():
        pairs = zip(times[f"ours {name}"], rates[name], strict=True)
        result["bandwidth_share"][name] = spread([count / taken * size / rate for taken, rate in pairs])
    result["read_gb_per_second"] = {name: median(rates[name]) / 1e9 for name in rates}
    result["ratios"] = []
    for ours, others, goal in GOALS:
        fastest = min(others, key=lambda name: median(times[name]))
        ratios = [slow / fast for slow, fast in zip(times[fastest], times[ours], strict=True)]
        result["ratios"].append({"ours": ours, "peer": fastest, "goal": goal, **spread(ratios)})
    return result


def show_peers(row: dict[str, Any]) -> None:
    """Prints the tables of one number of threads."""
    print("\n{threads} thread(s), {clock} time, load {load:.1f}".format(**row))
    for name, values in row["tokens_per_second"].items():
        print("  {:26} {median:6.0f} tokens/s ({lowest:.0f} to {highest:.0f})".format(name, **values))
    for name, values in row["bandwidth_share"].items():
        rate = row["read_gb_per_second"][name]
        print("  {:26} {:.0%} of {:.0f} GB/s read".format(f"ours {name}", values["median"], rate))
    for ratio in row["ratios"]:
        goal = "" if ratio["goal"] is None else f", goal {ratio['goal']}"
        print("  {ours} is {median:.2f} times {peer} ({lowest:.2f} to {highest:.2f}){}".format(goal, **ratio))


def cached(model: UniMoTransformer, tokens: Tensor, layout: SequenceLayout, first: int) -> float:
    """Seconds for a greedy motion frame from position `first` on, after a prefill that is not counted."""
    engine = Engine(model)
    decoder, greedy = engine.decoder, Sampling(temperature=0)
    cache = decoder.new_cache(len(tokens), len(layout))
    given = int(layout.first_tokens[first])
    hidden, tables = decoder.prefill(tokens[:, :given], layout, cache), decoder.tables(layout)
    start = time.process_time()
    if engine.depth is not None:
        ids = engine.depth.write(hidden, greedy, None)
        decoder.step(model.embedding(MOTION)(ids), first, tables, cache)
        return time.process_time() - start
    for position in range(first, first + CODES):
        ids = decoder.logits(hidden, MOTION).argmax(-1)
        hidden = decoder.step(model.embedding(MOTION)(ids), position, tables, cache)
    return time.process_time() - start


def plain(model: UniMoTransformer, tokens: Tensor, layout: SequenceLayout, first: int) -> float:
    """Seconds for the same frame when every code runs all that is before it; every sixth code is timed."""
    spent = 0.0
    if model.depth is not None:
        start = time.process_time()
        hidden = model.norm(model.residuals(tokens, layout, torch.arange(first))[-1][:, -1:])
        whole = time.process_time() - start
        for code in range(0, CODES, 6):
            start = time.process_time()
            frame = torch.zeros(len(tokens), 1, CODES, dtype=torch.int64)
            model.depth.output(model.depth(hidden, frame)[:, 0, code]).argmax(-1)
            spent += time.process_time() - start
        return whole + 6 * spent
    for position in range(first, first + CODES, 6):
        keep = torch.arange(position)
        start = time.process_time()
        hidden = model.norm(model.residuals(tokens, layout, keep)[-1][:, -1])
        model.motion_output(hidden).argmax(-1)
        spent += time.process_time() - start
    return 6 * spent


@torch.inference_mode()
def against_plain(name: str, batches: list[int], repeats: int) -> list[dict[str, Any]]:
    """How many times faster a motion frame is written with the cache; CPU seconds of one thread."""
    torch.set_num_threads(1)
    bundle = load_bundle(name)
    model, frames = bundle.ar_model.eval(), bundle.settings.frames
    side = bundle.settings.side // 16
    motion_layout = model.config.motion_layout
    layout = SequenceLayout("v2m", 1 + (frames - 1) // 8, side, side, frames, motion_layout=motion_layout)
    first = int(layout.motion_positions.view(frames, -1)[frames // 2, 0])
    rows = []
    for batch in batches:
        tokens = torch.randint(model.config.motion_ids, (batch, layout.num_tokens))
        tokens[:, [0, layout.condition_length - 1]] = 0
        times = [(cached(model, tokens, layout, first), plain(model, tokens, layout, first)) for _ in range(repeats)]
        speed = batch * CODES / median(fast for fast, _ in times)
        ratio = spread([slow / fast for fast, slow in times])
        rows.append({"batch": batch, **ratio, "cached_tokens_per_cpu_second": speed, "load": os.getloadavg()[0]})
        print(
            "batch {batch}: cached {median:.1f} times the plain pass ({lowest:.1f} to {highest:.1f}), "
            "{cached_tokens_per_cpu_second:.0f} tokens a CPU second, load {load:.1f}".format(**rows[-1])
        )
    return rows


def states(decoder: PackedDecoder, tokens: Tensor, layout: SequenceLayout) -> Tensor:
    """Hidden states (B, S, dim) of whole sequences, every product as in a step."""

    def mix(_: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
        return attend(query, key, value, layout.prefix_length, scale=1.0).transpose(1, 2).flatten(2)

    memories: list[Memory | None] = [None] * len(decoder.blocks)
    return decoder.run(decoder.model.embed(tokens, layout), decoder.tables(layout), memories, mix)


def judge(decoder: PackedDecoder, tokens: Tensor, layout: SequenceLayout) -> dict[int, tuple[Tensor, Tensor]]:
    """Per modality the negative log-likelihood in nats and the likeliest id of every target token."""
    hidden, result = states(decoder, tokens, layout), {}
    for modality in (VISUAL, MOTION):
        places = layout.targets(modality)
        if len(places):
            rows, depth = hidden[:, places - 1], decoder.model.depth
            if modality == MOTION and depth is not None:
                motion = layout.invert(tokens)[1]
                logits = depth.output(depth(rows * decoder.model.norm.weight, motion)).flatten(0, 2)
                labels = motion.flatten()
            else:
                logits = decoder.logits(rows.flatten(0, 1), modality)
                labels = tokens[:, layout.first_tokens[places]].flatten()
            result[modality] = (F.cross_entropy(logits, labels, reduction="none"), logits.argmax(-1))
    return result


@torch.inference_mode()
def int8_quality(name: str, path: Path, clips: int) -> list[dict[str, Any]]:
    """What int8 changes at the tokens of clips, and in greedy motion of the first of them."""
    model, pack = load_bundle(name).ar_model.eval(), TokenPack.load(path)
    quantized.FEW_ROWS = 2**30  # torch's int8 product for any number of rows, as a step has it
    engines = {"float32": Engine(model), "int8": Engine(model, weights="int8")}
    visual, motion = torch.from_numpy(pack.visual_ids[:clips]).long(), torch.from_numpy(pack.motion_ids[:clips]).long()
    rows = []
    for task in ("v2m", "i2vm"):
        motion_layout = model.config.motion_layout
        layout = SequenceLayout(task, *visual.shape[1:4], frames=motion.shape[1], motion_layout=motion_layout)
        batches = layout.build(visual, motion).split(4)
        found = {key: [judge(engine.decoder, batch, layout) for batch in batches] for key, engine in engines.items()}
        for modality, kind in ((VISUAL, "visual"), (MOTION, "motion")):
            if modality not in found["int8"][0]:
                continue
            nll, best = (
                {key: torch.cat([part[modality][i] for part in found[key]]) for key in engines} for i in (0, 1)
            )
            rows.append({"task": task, "tokens": kind, **{key: float(value.mean()) for key, value in nll.items()}})
            rows[-1]["same_likeliest"] = float((best["float32"] == best["int8"]).float().mean())
    greedy = [
        engine.generate_motion(visual[:8], motion.shape[1], Sampling(temperature=0)) for engine in engines.values()
    ]
    rows.append(
        {"task": "v2m", "tokens": "greedy motion of 8 clips", "same": float((greedy[0] == greedy[1]).float().mean())}
    )
    for row in rows:
        print("  ".join(f"{key} {value:.4f}" if isinstance(value, float) else value for key, value in row.items()))
    return rows


def main() -> None:
    """Prints tables and writes what is in them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=("peers", "plain", "int8"), default=["peers", "plain"])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--bundle", default="mini", help="name or folder, for the plain pass and int8")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16], help="for the plain pass")
    parser.add_argument("--tokens", type=Path, default=Path("work_dir/tokens_validation.npz"), help="clips for int8")
    parser.add_argument("--clips", type=int, default=64, help="for int8")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", module="transformers")
    result: dict[str, Any] = {}
    if "peers" in arguments.parts:
        result["equal_to_plain_loop"] = equal_to_plain_loop()
        print(f"float32 tokens of one seed equal to the plain loop: {result['equal_to_plain_loop']}")
        result["peers"] = []
        for threads in arguments.threads:
            result["peers"].append(peers(threads, arguments.repeats))
            show_peers(result["peers"][-1])
    if "plain" in arguments.parts:
        result["plain"] = against_plain(arguments.bundle, arguments.batches, arguments.repeats)
    if "int8" in arguments.parts:
        result["int8"] = int8_quality(arguments.bundle, arguments.tokens, arguments.clips)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
