"""The values of options, checked before anything is loaded.

In: what a user or a caller gives. Out: the value to use, or an `InputError` that says what would do.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from unimo.bundle import DECODERS, DIFFUSION_PARTS, Bundle
from unimo.errors import InputError
from unimo.text import TextEncoder, text_width
from visual_tokenizer import GUIDANCE, STEPS

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def check_device(device: str) -> torch.device:
    """The torch device of a name; "auto" is the graphics card when there is one.

    Raises:
        InputError: an unknown name, or a device that this machine has not.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(device)
        torch.empty(1, device=found)
    # torch raises the first for an unknown name or a device type without kernels, the second for a build without CUDA
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"the device {device!r} cannot be used ({reason})", None, "--device cpu") from error
    return found


def check_dtype(dtype: str | torch.dtype | None) -> torch.dtype:
    """The torch dtype of a name; None is float32.

    Raises:
        InputError: not one of `DTYPES`.
    """
    if dtype is None:
        return torch.float32
    if isinstance(dtype, str):
        dtype = dtype.removeprefix("torch.")
        if dtype not in DTYPES:
            raise InputError(f"unknown dtype {dtype!r}", None, f"one of {', '.join(DTYPES)}")
        return DTYPES[dtype]
    if dtype not in DTYPES.values():
        raise InputError(f"the dtype {dtype} cannot be used", None, f"one of {', '.join(DTYPES)}")
    return dtype


def check_frames(frames: int | None, window: int) -> int:
    """The number of frames to generate, by default the bundle's window.

    Raises:
        InputError: below 2 or above the window.
    """
    frames = window if frames is None else frames
    if not 2 <= frames <= window:
        raise InputError(f"this bundle generates 2 to {window} frames, not {frames}", None, f"--frames {window}")
    return frames


def check_sampling(num_samples: int, temperature: float, top_p: float, focal: float | None) -> None:
    """Raises InputError when a number is out of range."""
    if num_samples < 1:
        raise InputError(f"the number of samples must be at least 1, not {num_samples}", None, "--num-samples 1")
    if not (math.isfinite(temperature) and temperature >= 0):
        raise InputError(f"the temperature must be 0 or more, not {temperature}", None, "--temperature 1")
    if not 0 < top_p <= 1:
        raise InputError(f"top-p must lie above 0 and up to 1, not {top_p}", None, "--top-p 0.8")
    if focal is not None and not (math.isfinite(focal) and focal > 0):
        fix = "--focal in pixels, or leave it out to assume the diagonal"
        raise InputError(f"the focal length must be a positive number of pixels, not {focal}", None, fix)


def check_rerank(num_samples: int, temperature: float) -> None:
    """Raises InputError when there is nothing to choose the best result from."""
    if num_samples < 2:
        fix = "--num-samples 4, or no --rerank"
        raise InputError("--rerank keeps the best of several samples, and there is one", None, fix)
    if temperature == 0:
        fix = "--temperature 1, or no --rerank"
        raise InputError("--rerank has nothing to choose from: at temperature 0 all samples are the same", None, fix)


def check_whole(bundle: Bundle) -> None:
    """Raises InputError when a bundle lacks a part that `generate` and `capture` need."""
    needed = {"motion_tokenizer", "visual_tokenizer/discrete", "ar_model"}
    if missing := needed - bundle.info.components.keys():
        what = f"this bundle can neither generate nor capture: it has no {' and no '.join(sorted(missing))}"
        raise InputError(what, str(bundle.path), "another --bundle; docs/training.md says how to train what is missing")


def check_decoding(decoder: str | None, steps: int | None, guidance: float | None, bundle: Bundle) -> dict[str, Any]:
    """How visual ids are drawn: `decoder` (by default the bundle's own) and, for diffusion, `steps` and `guidance`.

    Raises:
        InputError: an unknown decoder, one whose parts the bundle has not, a number out of range, or numbers of the
            diffusion decoder for the direct one.
    """
    name = decoder or bundle.settings.decoder
    if name not in DECODERS:
        raise InputError(f"unknown decoder {name!r}", None, f"--decoder {' or --decoder '.join(DECODERS)}")
    if name == "direct":
        if steps is not None or guidance is not None:
            what = "steps and guidance belong to the diffusion decoder, and the decoder is direct"
            raise InputError(what, None, "--decoder diffusion")
        return {"decoder": name}
    if missing := DIFFUSION_PARTS - bundle.info.components.keys():
        what = f"this bundle cannot decode by diffusion: it has no {' and no '.join(sorted(missing))}"
        raise InputError(what, str(bundle.path), "--decoder direct")
    return {"decoder": name, **check_sampler(steps, guidance)}


def check_prompt(
    prompt: str | None, encoder: TextEncoder | None, bundle: Bundle, fetch: bool = True
) -> str | None:
    """The prompt, or None where it is blank, which stands for no text and needs no encoder.

    An encoder on this machine is looked at even without a prompt; one of Hugging Face only with one, and with `fetch`.

    Raises:
        InputError: the bundle's transformer reads no text, or no encoder is given or one of another width.
        MissingAssetError, CheckpointError: see `TextEncoder.width`.
    """
    if prompt is None or not prompt.strip():
        if encoder is not None and not encoder.remote:
            _ = encoder.folder
        return None
    width = text_width(bundle)
    if width is None:
        where, fix = str(bundle.path or bundle.info.name), "leave the prompt out, or another --bundle"
        raise InputError("a prompt is given, but the transformer of this bundle reads no text", where, fix)
    if encoder is None:
        fix = "--text-encoder FOLDER with the T5 that the bundle was trained with (docs/text.md)"
        raise InputError("a prompt needs a text encoder, and none is given", None, fix)
    if encoder.remote and not fetch:
        return prompt
    if encoder.width != width:
        what = f"the transformer reads text states of {width} channels, and this text encoder gives {encoder.width}"
        raise InputError(what, str(encoder.folder), "the T5 that the bundle was trained with")
    return prompt


def check_sampler(steps: int | None, guidance: float | None) -> dict[str, Any]:
    """`steps` and `guidance` of the diffusion decoder, with defaults for None.

    Raises:
        InputError: a number out of range.
    """
    steps, guidance = STEPS if steps is None else steps, GUIDANCE if guidance is None else guidance
    if not 2 <= steps <= 1000:
        raise InputError(f"the diffusion decoder takes 2 to 1000 steps, not {steps}", None, f"--steps {STEPS}")
    if not (math.isfinite(guidance) and guidance >= 0):
        raise InputError(f"the guidance must be 0 or more, not {guidance}", None, f"--guidance {GUIDANCE}")
    return {"steps": steps, "guidance": guidance}
