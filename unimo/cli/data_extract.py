"""`unimo data extract`: a video or a picture becomes SMPL-X motion of the people in it, by a motion extractor."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from unimo.cli import common as c
from unimo.data.extractors import EXTRACTORS
from unimo.errors import InputError
from unimo.media.suffixes import IMAGE_SUFFIXES

# a single picture has no rate; one is needed to store it
_IMAGE_FPS = 30.0


def extract(
    source: Annotated[Path, typer.Argument(metavar="VIDEO|IMAGE", help="A video or a picture.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for motion.npz, confidence.npy and overlay.")],
    extractor: Annotated[str, typer.Option("--extractor", help=f"One of {', '.join(EXTRACTORS)}.")] = "mediapipe",
    focal: c.FocalOption = None,
    body: Annotated[str | None, typer.Option("--body", help="open or smplx; default: the extractor's own.")] = None,
    render: Annotated[bool, typer.Option("--render/--no-render", help="Draw the overlay.")] = True,
    overwrite: c.OverwriteOption = False,
    quiet: c.QuietOption = False,
) -> None:
    """Writes the motion of everybody in it; the largest person's into the folder itself (docs/extractors.md)."""
    c.set_up_logging(quiet)
    if extractor not in EXTRACTORS:
        raise InputError(f"there is no extractor called {extractor!r}", None, f"one of: {', '.join(EXTRACTORS)}")
    if focal is not None and not 0 < focal < float("inf"):
        raise InputError(f"--focal must be a positive number of pixels, not {focal:g}")
    if body not in (None, "open", "smplx"):
        raise InputError(f"unknown body {body!r}", None, "open or smplx")
    is_image = source.suffix.lower() in IMAGE_SUFFIXES
    if is_image and extractor != "mediapipe":
        raise InputError(f"{extractor} takes videos, not pictures", str(source), "--extractor mediapipe")
    drawing = output / ("overlay.png" if is_image else "overlay.mp4")

    from unimo.data.extractors import extractor as find
    from unimo.data.extractors.files import draw_tracks, save_tracks
    from unimo.media.images import read_image, write_image
    from unimo.media.video import iter_frames, probe, write_video
    from unimo.result import check_output

    earlier = sorted(output.glob("person_[0-9][0-9]"))
    check_output(output, ["motion.npz", "confidence.npy", drawing.name, *(path.name for path in earlier)], overwrite)

    picture = read_image(source) if is_image else None
    info = None if is_image else probe(source)
    chosen = find(extractor, focal, body)
    if render:
        c.prepare_drawing(True, body or ("smplx" if extractor == "gvhmr" else "open"), quiet)
    if picture is not None:
        from unimo.data.extractors.mediapipe_extractor import MediapipeExtractor

        height, width = picture.shape[:2]
        tracks = MediapipeExtractor(focal, body or "open").extract_frames([picture], height, width, _IMAGE_FPS)
    else:
        tracks = chosen.extract(source)
    if not tracks:
        raise InputError("nobody was found in it", str(source), "a picture in which the person is larger, seen whole")
    for folder in earlier:
        shutil.rmtree(folder)
    files = save_tracks(output, tracks, extractor)
    if render:
        frames = [picture] if picture is not None else (frame for _, frame in iter_frames(source))
        drawn = draw_tracks(frames, tracks)
        if info is None:
            write_image(drawing, next(iter(drawn)))
        else:
            write_video(drawing, drawn, info.fps)
        files.append(drawing)
    if not quiet:
        for number, track in enumerate(tracks):
            c.out.print(f"person {number}: {len(track.frames)} frames, confidence {track.confidence.mean():.2f}")
    c.report_files(files, quiet)

