"""Draws what the decoders of a bundle make of the same tokens: real, direct, diffusion, continuous tokenizer.

unimo synth --mocap DIR/cmu_val.zip --count 64 --seed 1000000000 --output eval_clips
python tools/draw_decoders.py --clips eval_clips --rows 0 9 --output docs/decoders.png
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from unimo.bundle import load_bundle
from unimo.data.clips import load_clips
from unimo.errors import UniMoError
from unimo.evaluation.decoder_strips import draw_decoder_strips


def main() -> None:
    """Reads the arguments and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, help="folder made by `unimo synth`")
    parser.add_argument("--rows", type=int, nargs="+", default=[0, 9], help="clips to draw")
    parser.add_argument("--bundle", default="mini")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, required=True, help="PNG")
    arguments = parser.parse_args()
    try:
        bundle = load_bundle(arguments.bundle)
        s = bundle.settings
        clips = load_clips(arguments.clips, max(arguments.rows) + 1, s.frames, s.fps, s.side, s.body)
        draw_decoder_strips(clips, bundle, arguments.output, arguments.rows, device=arguments.device)
    except UniMoError as error:
        sys.exit(f"error: {error}")
    print(f"wrote {arguments.output}")


if __name__ == "__main__":
    main()
