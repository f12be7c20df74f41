"""`unimo capture`: a video, or many, become SMPL-X motion."""

from __future__ import annotations

import glob
import os
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from unimo.cli import common as c
from unimo.defaults import CAPTURE_SAMPLES
from unimo.errors import InputError, UniMoError
from unimo.media.suffixes import IMAGE_SUFFIXES, VIDEO_SUFFIXES


def capture(
    video: Annotated[str, typer.Option("--video", help="A video, a folder of videos, or a quoted pattern ('*.mp4').")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder; default: outputs/capture/<video name>.")
    ] = None,
    bundle: c.BundleOption = "mini",
    frames: Annotated[int | None, typer.Option("--frames", min=1, help="Only the first frames of each video.")] = None,
    seed: c.SeedOption = 0,
    prompt: c.PromptOption = None,
    text_encoder: c.TextEncoderOption = None,
    focal: c.FocalOption = None,
    temperature: c.TemperatureOption = 1.0,
    top_p: c.TopPOption = 0.8,
    num_samples: Annotated[
        int, typer.Option("--num-samples", help="Motions drawn of every window; the result is their mean.")
    ] = CAPTURE_SAMPLES,
    device: c.DeviceOption = "auto",
    dtype: c.DtypeOption = "float32",
    export: c.ExportOption = "",
    render: c.RenderOption = True,
    overwrite: c.OverwriteOption = False,
    dry_run: c.DryRunOption = False,
    quiet: c.QuietOption = False,
) -> None:
    """Writes motion.npz with one frame for every frame of the video; of many videos, one folder each."""
    from unimo.media.source import FrameSource
    from unimo.result import check_output, planned_files

    c.set_up_logging(quiet)
    exports = c.split_exports(export)
    names = planned_files("capture", exports, render)
    single, videos = find_videos(video)
    _refuse_pictures(videos)
    folders = output_folders(videos, single, output)
    for folder in folders:
        check_output(folder, names, overwrite)
    if single:
        FrameSource.of(videos[0], limit=frames)

    from unimo.options import check_prompt, check_sampling, check_whole
    from unimo.pipeline import UniMoPipeline

    check_sampling(num_samples, temperature, top_p, focal)
    pipeline = UniMoPipeline.from_pretrained(bundle, device, dtype, text_encoder)
    check_whole(pipeline.bundle)
    prompt = check_prompt(prompt, pipeline.text_encoder, pipeline.bundle, fetch=not dry_run)
    if dry_run:
        c.print_plan(
            {
                "videos": ", ".join(map(str, videos)),
                "prompt": prompt or "none",
                **c.text_encoder_row(prompt, pipeline.text_encoder),
                "bundle": pipeline.bundle.path or pipeline.bundle.info.name,
                "device": f"{pipeline.device}, {dtype}",
                "writes": ", ".join(str(folder / name) for folder in folders for name in names),
            }
        )
        return
    c.prepare_drawing(render, pipeline.settings.body, quiet)
    failed = []
    for path, folder in zip(videos, folders, strict=True):
        try:
            with c.progress_bars(quiet) as progress:
                result = pipeline.capture(
                    path, None, frames, focal, seed, temperature, top_p, num_samples, progress, prompt
                )
                result.run["input"] = str(path)
                c.report_files(result.save(folder, exports, overwrite, render, progress), quiet)
        except UniMoError as error:
            if single:
                raise
            failed.append(str(path))
            c.print_error(f"{path}: {error}")
    if failed:
        raise InputError(f"{len(failed)} of {len(videos)} videos could not be captured", ", ".join(failed))


def find_videos(text: str) -> tuple[bool, list[Path]]:
    """The videos a user means, and whether it is one file.

    Raises:
        InputError: a folder or a pattern without videos.
    """
    path = Path(text).expanduser()
    if path.is_dir():
        found = sorted(item for item in path.iterdir() if item.suffix.lower() in VIDEO_SUFFIXES)
        if not found:
            raise InputError("the folder holds no video", str(path), f"files that end in {', '.join(VIDEO_SUFFIXES)}")
        return False, found
    if not path.exists() and glob.has_magic(text):
        found = sorted(Path(item) for item in glob.glob(str(path)) if Path(item).is_file())
        if not found:
            raise InputError("no file fits this pattern", str(path.absolute()))
        return False, found
    return True, [path]


def _refuse_pictures(paths: list[Path]) -> None:
    """A picture would be read as a video of one frame, and give a motion without movement."""
    for path in paths:
        if path.suffix.lower() in IMAGE_SUFFIXES:
            generate, extract = f"unimo generate --image {path}", f"unimo data extract {path}"
            fix = f"{generate} for a motion that begins with it, or {extract} for the pose in it"
            raise InputError("this is a picture; a video is wanted", str(path), fix)


def output_folders(videos: list[Path], single: bool, output: Path | None) -> list[Path]:
    """One folder a video: `output` itself for one file, else by the file's place below their common folder."""
    base = output or Path("outputs") / "capture"
    if single:
        return [output or base / videos[0].stem]
    common = os.path.commonpath([path.absolute().parent for path in videos])
    places = [path.absolute().relative_to(common) for path in videos]
    counts = Counter(place.with_suffix("") for place in places)
    # a.mp4 beside a.mov: the suffix tells them apart
    return [
        base / (place.with_suffix("") if counts[place.with_suffix("")] == 1 else str(place).replace(".", "_"))
        for place in places
    ]
