"""Trains the shipped bundle from mocap alone: clips → tokenizers → tokens → transformer → bundle, resumable.

python tools/train_mini.py --mocap DIR/cmu_train.zip --validation-mocap DIR/cmu_val.zip --work work_dir
python tools/train_mini.py … --stages ar bundle --minutes ar=60 --start-from assets/bundles/mini
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from unimo.errors import UniMoError
from unimo.training.chain import STAGES, Chain
from unimo.training.work_folder import ChainConfig


def main() -> None:
    """Reads the arguments and runs the stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mocap", nargs="+", type=Path, required=True, help="BVH folders or zips to train on")
    parser.add_argument("--validation-mocap", nargs="+", type=Path, required=True, help="the same, other subjects")
    parser.add_argument("--work", type=Path, default=Path("work_dir"))
    parser.add_argument("--bundle", type=Path, default=Path("assets/bundles/mini"))
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--minutes", nargs="*", default=[], metavar="STAGE=MINUTES", help="budget by training stage")
    parser.add_argument("--clips", type=int, default=ChainConfig.clips, help="clips to render, 0.88 MB each")
    parser.add_argument("--start-from", help="bundle whose weights training starts from")
    parser.add_argument("--threads", type=int, help="CPU threads of training")
    parser.add_argument("--credit", help="whose motions these are, for bundle.json; default: the files' names")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    try:
        minutes = {stage: float(value) for stage, value in (item.split("=") for item in arguments.minutes)}
    except ValueError:
        parser.error(f"--minutes takes STAGE=MINUTES, such as ar=60, not {' '.join(arguments.minutes)}")
    if unknown := minutes.keys() - set(STAGES):
        parser.error(f"--minutes names no stage: {', '.join(sorted(unknown))} (one of {', '.join(STAGES)})")
    config = ChainConfig(
        arguments.mocap, arguments.validation_mocap, arguments.work, arguments.bundle, clips=arguments.clips,
        minutes=minutes, start_from=arguments.start_from, device=arguments.device, credit=arguments.credit,
    )  # fmt: skip
    with Progress(TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"),
                  TimeElapsedColumn()) as bars:  # fmt: skip
        tasks = {stage: bars.add_task(stage, total=1.0, text="") for stage in arguments.stages}
        Chain(config, lambda stage, done, text: bars.update(tasks[stage], completed=done, text=text)).run(
            arguments.stages
        )


if __name__ == "__main__":
    try:
        main()
    except UniMoError as error:
        sys.exit(f"error: {error}")
