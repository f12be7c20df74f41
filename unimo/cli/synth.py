"""`unimo synth`: video clips with known motion, camera, keypoints, masks and, when asked for, exact layers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unimo.cli import common as c
from unimo.errors import ConfigError, InputError

if TYPE_CHECKING:
    from unimo.synth.scene import SceneConfig


def synth(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for clips/ and manifest.jsonl.")],
    mocap: Annotated[
        list[Path] | None, typer.Option("--mocap", help="Folder or zip of motions (may be repeated); none: walks.")
    ] = None,
    subjects: Annotated[str, typer.Option("--subjects", help="Only these subjects: 02,03,06.")] = "",
    count: Annotated[int, typer.Option("--count", min=1, help="Clips to have in the end.")] = 16,
    seed: c.SeedOption = 0,
    side: Annotated[int, typer.Option("--side", help="Pixels of the square frame.")] = 128,
    frames: Annotated[int, typer.Option("--frames", help="Frames a clip.")] = 17,
    fps: Annotated[float, typer.Option("--fps", help="Frames per second.")] = 15.0,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes.")] = 2,
    layers: Annotated[
        str, typer.Option("--layers", help="Also store these: all, or depth,normals,surface,flow,tracks.")
    ] = "",
    looks: Annotated[str, typer.Option("--looks", help="Clothes and hair: basic or varied.")] = "basic",
    camera: Annotated[str, typer.Option("--camera", help="default, still, pan, orbit or mixed.")] = "default",
    backgrounds: Annotated[
        Path | None, typer.Option("--backgrounds", help="Folder of photographs; half of the still clips show one.")
    ] = None,
    motion_blur: Annotated[float, typer.Option("--motion-blur", help="Share of the frame's time, 0 to 1.")] = 0.0,
    sensor_noise: Annotated[float, typer.Option("--sensor-noise", help="Standard deviation in grey levels.")] = 0.0,
    mirror: Annotated[float, typer.Option("--mirror", help="Chance of exchanging left and right.")] = 0.5,
    speed: Annotated[
        tuple[float, float], typer.Option("--speed", help="Range of the motion's speed: lowest and highest.")
    ] = (0.8, 1.2),
    quiet: c.QuietOption = False,
) -> None:
    """Renders synthetic clips; a stopped run goes on where it was, a larger --count adds to it."""
    c.set_up_logging(quiet)
    for path in mocap or []:
        if not path.exists():
            raise InputError("there is no such motion file, folder or zip", str(path.absolute()), "check --mocap")
    if subjects and not mocap:
        raise InputError("--subjects chooses among the subjects of --mocap, which is not given")
    from unimo.synth.layers import parse_layers

    wanted = parse_layers(layers)
    config = _configuration(
        side=side, frames=frames, fps=fps, looks=looks, camera=camera, motion_blur=motion_blur,
        sensor_noise=sensor_noise, mirror=mirror, speed=speed, images=str(backgrounds) if backgrounds else None,
    )  # fmt: skip
    manifest = _generate(mocap or [], subjects, count, seed, output, config, workers, wanted, quiet)
    c.report_files([manifest], quiet)


def _configuration(**fields: Any) -> SceneConfig:
    """The configuration of the clips; what is wrong with it is told in the spelling of the flags."""
    from unimo.synth.background import list_images
    from unimo.synth.request import spelled
    from unimo.synth.scene import SceneConfig

    try:
        config = SceneConfig(**fields)
    except ConfigError as error:
        name, _, rest = error.what.partition(" ")
        raise InputError(f"--{spelled(name)} {rest}", error.where, error.fix) from error
    if config.images:
        list_images(Path(config.images))  # a wrong folder is named before the mocap is fitted
    return config


def _generate(
    mocap: list[Path], subjects: str, count: int, seed: int, output: Path, config: SceneConfig, workers: int,
    layers: tuple[str, ...], quiet: bool,
) -> Path:
    """Reads or makes the motions and renders the clips; the path of the manifest."""
    from unimo.synth.engine import generate_clips

    c.prepare_drawing(True, config.body, quiet)
    with c.progress_bars(quiet) as progress:
        if mocap:
            from unimo.motion.library import MotionLibrary

            chosen = {name.strip() for name in subjects.split(",") if name.strip()} or None
            fitted = lambda done, total: progress("fitting mocap", done, total)  # noqa: E731
            library = MotionLibrary.from_files(mocap, chosen, workers=workers, progress=fitted)
        else:
            from unimo.synth.gait import gait_library

            library = gait_library(seed=seed)
        made = lambda done, total: progress("clips", done, total)  # noqa: E731
        return generate_clips(library, count, seed, output, config, workers, made, layers)
