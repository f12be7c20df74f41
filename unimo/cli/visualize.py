"""`unimo visualize`: a motion file as a video, alone or over its video, and as BVH or GLB."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unimo.cli import common as c
from unimo.errors import InputError

if TYPE_CHECKING:
    from unimo.media.source import FrameSource
    from unimo.motion.motion import Motion


def visualize(
    motion: Annotated[Path, typer.Argument(help="motion.npz, of UniMo or AMASS.")],
    video: Annotated[Path | None, typer.Option("--video", help="Draw the body over this video instead.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The mp4; default: <motion>_view.mp4 beside the motion.")
    ] = None,
    size: Annotated[int, typer.Option("--size", min=64, max=4096, help="Side of the picture without --video.")] = 512,
    viewer: Annotated[bool, typer.Option("--viewer", help="Show it in the browser instead of writing a file.")] = False,
    port: Annotated[int, typer.Option("--port", help="Of --viewer.")] = 8080,
    export: c.ExportOption = "",
    overwrite: c.OverwriteOption = False,
    quiet: c.QuietOption = False,
) -> None:
    """Draws a motion: over its video, alone from the side, or in the browser."""
    from unimo.media.source import FrameSource
    from unimo.media.video import write_video
    from unimo.motion.npz import load_motion
    from unimo.result import check_output, export_motion

    c.set_up_logging(quiet)
    exports = c.split_exports(export)
    target = output or motion.with_name(f"{motion.stem}_view.mp4")
    if target.suffix.lower() != ".mp4":
        what = f"the output is one video file that ends in .mp4, not {target.name!r}"
        raise InputError(what, str(target), f"--output {target.with_suffix('.mp4')}")
    loaded = load_motion(motion)
    if viewer:
        _serve(loaded, port)
        return
    source = FrameSource.of(video) if video else None
    others = [target.with_suffix(f".{name}") for name in exports]
    check_output(target.parent, [target.name, *(other.name for other in others)], overwrite)
    if source:
        _check_length(loaded, source)
    c.prepare_drawing(True, loaded.body, quiet)

    from unimo.render.overlay import overlay, turned_view

    drawn = overlay((frame for _, frame in source), loaded) if source else turned_view(loaded, size, size)
    with c.progress_bars(quiet) as progress:

        def counted():
            for done, frame in enumerate(drawn, 1):
                progress(f"drawing {target.name}", done, len(loaded))
                yield frame

        write_video(target, counted(), loaded.fps)
        for name, other in zip(exports, others, strict=True):
            export_motion(other, loaded, name)
    c.report_files([target, *others], quiet)


def _check_length(motion: Motion, source: FrameSource) -> None:
    # what a file declares may be wrong by a frame: only then it is read to be counted
    if source.frames != len(motion) and (count := sum(1 for _ in source)) != len(motion):
        raise InputError(
            f"the video has {count} frames and the motion {len(motion)}", str(source.path), "the video it was made from"
        )


def _serve(motion: Motion, port: int) -> None:
    """Shows a motion on a local page until Ctrl-C."""
    from unimo.render.viewer import MotionViewer

    page = MotionViewer(motion, port=port)
    c.out.print(f"Open {page.url} (over SSH: ssh -L {port}:localhost:{port} …); Ctrl-C ends it.", soft_wrap=True)
    try:
        page.play()
    except KeyboardInterrupt:
        page.close()
