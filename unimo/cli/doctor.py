"""`unimo doctor`: what of the things that UniMo needs is on this machine, and how to get the rest."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from functools import partial

import typer

from unimo.cli import common as c
from unimo.errors import MissingAssetError, UniMoError, counted
from unimo.extras import installed


def doctor() -> None:
    """Checks rendering, weights, bodies, codecs and devices; exits with 2 when something required is missing."""
    failed = 0
    for name, required, check in CHECKS:
        try:
            style, state, lines = "green", "ok", check().splitlines()
        except UniMoError as error:
            failed += required
            style, state = ("red", "missing") if required else ("yellow", "absent (optional)")
            lines = str(error).splitlines()
        c.out.print(f"{name:<22}[{style}]{state}[/]", highlight=False)
        for line in lines:
            c.out.print(_wrapped(line), highlight=False, markup=False, soft_wrap=True)
    if failed:
        raise typer.Exit(2)


def _wrapped(line: str) -> str:
    """A line below its check, broken between words only: paths and names stay whole, to be copied."""
    indent = " " * (4 + len(line) - len(line.lstrip()))
    return textwrap.fill(
        line.strip(), c.out.width, initial_indent=indent, subsequent_indent=f"{indent}  ", break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def _renderer() -> str:
    from unimo.render.renderer import shared_renderer

    return shared_renderer().driver


def _bundle() -> str:
    from unimo.bundle import load_bundle

    bundle = load_bundle("mini")
    bundle.verify()
    return str(bundle.path)


def _open_body() -> str:
    from unimo.body import load_body

    body = load_body("open")
    return f"{body.path} ({body.num_vertices} vertices)"


def _licensed_body() -> str:
    from unimo.body.files import licensed_body_path

    return str(licensed_body_path())


def _codecs() -> str:
    import av

    missing = [name for name in ("libx264", "h264", "hevc", "vp9") if name not in av.codecs_available]
    if missing:
        raise MissingAssetError(f"PyAV lacks {', '.join(missing)}", None, "pip install --only-binary av av")
    return f"PyAV {av.__version__}: writes h264; reads h264, hevc, vp9"


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return f"torch {torch.__version__}, {torch.cuda.get_device_name()}"
    return f"torch {torch.__version__}, CPU with {counted(torch.get_num_threads(), 'thread')}"


def _seedvr() -> str:
    from unimo.enhance import SeedVREnhancer

    return str(SeedVREnhancer.from_environment().folder)


def _mediapipe() -> str:
    from unimo.data.extractors.mediapipe_process import check_mediapipe

    return check_mediapipe()


def _gvhmr() -> str:
    from unimo.data.extractors.gvhmr import GvhmrExtractor

    return str(GvhmrExtractor.from_environment().folder)


def _vbench() -> str:
    from unimo.evaluation.vbench_adapter import check_vbench

    return check_vbench()


def _text() -> str:
    from unimo.text import text_libraries

    return f"{text_libraries()}; bring your own T5 with --text-encoder (docs/text.md)"


CHECKS: tuple[tuple[str, bool, Callable[[], str]], ...] = (
    ("off-screen rendering", True, _renderer),
    ("bundle mini", True, _bundle),
    ("open body", True, _open_body),
    ("licensed SMPL-X body", False, _licensed_body),
    ("video codecs", True, _codecs),
    ("compute", True, _device),
    ("SeedVR (--enhancer)", False, _seedvr),
    ("text (--prompt)", False, _text),
    ("MediaPipe (extract)", False, _mediapipe),
    ("GVHMR (extract)", False, _gvhmr),
    ("VBench (evaluate)", False, _vbench),
    ("Ray (prepare --ray)", False, partial(installed, "scale", "unimo data prepare --ray", ["ray"])),
    ("viser (visualize)", False, partial(installed, "viewer", "the interactive view of unimo visualize", ["viser"])),
    ("h5py, lz4 (import)", False, partial(installed, "importers", "DNA-Rendering, lz4 pickles", ["h5py", "lz4"])),
    ("flash-attn (CUDA)", False, partial(installed, "gpu", "the fastest attention on CUDA", ["flash-attn"])),
)
