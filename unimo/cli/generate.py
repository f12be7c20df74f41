"""`unimo generate`: a picture becomes a video and the motion of the person in it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unimo.cli import common as c
from unimo.errors import InputError


def generate(
    image: Annotated[Path, typer.Option("--image", help="PNG or JPEG with one person, as large as possible.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder; default: outputs/generate/<image name>.")
    ] = None,
    bundle: c.BundleOption = "mini",
    num_samples: Annotated[int, typer.Option("--num-samples", help="How many; above 1 one folder a sample.")] = 1,
    rerank: Annotated[
        bool, typer.Option("--rerank", help="Of --num-samples, keep the one whose video shows its motion best.")
    ] = False,
    frames: Annotated[int | None, typer.Option("--frames", help="Length; at most the bundle's window.")] = None,
    seed: c.SeedOption = 0,
    prompt: c.PromptOption = None,
    text_encoder: c.TextEncoderOption = None,
    focal: c.FocalOption = None,
    temperature: c.TemperatureOption = 1.0,
    top_p: c.TopPOption = 0.8,
    decoder: Annotated[
        str | None, typer.Option("--decoder", help="diffusion or direct; default: what the bundle says.")
    ] = None,
    steps: c.StepsOption = None,
    guidance: c.GuidanceOption = None,
    enhancer: Annotated[
        str, typer.Option("--enhancer", help="none, or seedvr: your own SeedVR enlarges the video (docs/enhancer.md).")
    ] = "none",
    device: c.DeviceOption = "auto",
    dtype: c.DtypeOption = "float32",
    export: c.ExportOption = "",
    render: c.RenderOption = True,
    overwrite: c.OverwriteOption = False,
    dry_run: c.DryRunOption = False,
    quiet: c.QuietOption = False,
) -> None:
    """Writes video.mp4 and motion.npz that go on from a picture."""
    from unimo.enhance import enhance_result, find_enhancer
    from unimo.media.images import read_image
    from unimo.options import check_decoding, check_frames, check_prompt, check_rerank, check_sampling, check_whole
    from unimo.result import check_output, other_samples, planned_files, remove_run

    c.set_up_logging(quiet)
    exports = c.split_exports(export)
    names = planned_files("generate", exports, render)
    folder = output or Path("outputs") / "generate" / image.stem
    apart = num_samples > 1 and not rerank
    folders = [folder / f"sample_{index:02d}" for index in range(num_samples)] if apart else [folder]
    enhance = find_enhancer(enhancer)
    check_sampling(num_samples, temperature, top_p, focal)
    if rerank:
        check_rerank(num_samples, temperature)
    picture = read_image(image)
    for each in folders:
        check_output(each, names, overwrite)
    earlier = other_samples(folder, folders)
    if earlier and not overwrite:
        what = f"the output folder holds {', '.join(path.name for path in earlier)} of an earlier run"
        raise InputError(what, str(folder.absolute()), "--overwrite, or another --output")

    from unimo.consistency import best_of
    from unimo.pipeline import UniMoPipeline

    pipeline = UniMoPipeline.from_pretrained(bundle, device, dtype, text_encoder)
    check_whole(pipeline.bundle)
    prompt = check_prompt(prompt, pipeline.text_encoder, pipeline.bundle, fetch=not dry_run)
    frames = check_frames(frames, pipeline.settings.frames)
    decoding = check_decoding(decoder, steps, guidance, pipeline.bundle)
    if dry_run:
        c.print_plan(
            {
                "image": f"{image} ({picture.shape[1]}×{picture.shape[0]})",
                "prompt": prompt or "none",
                **c.text_encoder_row(prompt, pipeline.text_encoder),
                "bundle": pipeline.bundle.path or pipeline.bundle.info.name,
                "device": f"{pipeline.device}, {dtype}",
                "decoder": ", ".join(f"{key} {value}".removeprefix("decoder ") for key, value in decoding.items()),
                "enhancer": enhancer,
                "makes": f"{num_samples} × {frames} frames at {pipeline.settings.fps:g} per second"
                + (", of which the best is kept" if rerank else ""),
                "writes": ", ".join(str(each / name) for each in folders for name in names),
            }
        )
        return
    c.prepare_drawing(render, pipeline.settings.body, quiet)
    with c.progress_bars(quiet) as progress:
        results = pipeline.generate(
            picture, num_samples, seed, frames, focal, temperature, top_p, **decoding, progress=progress, prompt=prompt
        )
        if rerank:
            results = [best_of(pipeline, results, seed, progress=progress)]
        for index, result in enumerate(results):
            results[index] = enhance_result(result, enhance)
            if enhancer != "none":
                progress("enhancing video", index + 1, len(results))
        written = []
        for each, result in zip(folders, results, strict=True):
            result.run["input"] = str(image)
            written += result.save(each, exports, overwrite, render, progress)
    for each in earlier:
        remove_run(each)
    c.report_files(written, quiet)
