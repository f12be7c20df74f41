"""`UniMoPipeline`: a picture becomes video and motion, a video becomes motion.

In: an image or a clip, as file or uint8 array. Out: `Result`s, whose motion is in the camera frame of the source
(metres, radians). Clips of any length, rate and shape: frames are resampled to the bundle's rate, letterboxed, captured
in overlapping windows that stream through memory, and the motion is brought back to the clip's own frames.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ar_model import Context
from ar_model.engine import Engine
from ar_model.sampling import Sampling
from unimo.bundle import DIFFUSION_PARTS, Bundle, load_bundle, load_motion_tokenizer
from unimo.defaults import CAPTURE_SAMPLES
from unimo.errors import CheckpointError, InputError
from unimo.geometry.cameras import default_focal, intrinsics_matrix
from unimo.media.diffusion import DiffusionVideoDecoder
from unimo.media.images import read_image
from unimo.media.letterbox import Letterbox
from unimo.media.source import FrameSource
from unimo.media.timeline import SourceTimeline, resample_stream
from unimo.media.tokenizer import VisualTokenizer
from unimo.motion.motion import Motion
from unimo.motion.tokenizer import MotionTokenizer, join
from unimo.motion.windows import MotionBlender, stream_windows
from unimo.options import check_decoding, check_device, check_dtype, check_frames, check_prompt, check_sampling
from unimo.result import Progress, Result, share_of
from unimo.text import TextEncoder, no_text

WINDOWS_AT_ONCE = 8
# sample i of seed s draws with seed s + i times this, far from the seeds of the windows that follow
_SAMPLE_STRIDE = 1_000_000_007


class UniMoPipeline:
    """Generation and capture with one bundle; components load when first needed.

    Args:
        bundle: the weights.
        device: "cpu", "cuda", "cuda:1", "mps", …
        dtype: "float32" (default), "bfloat16" or "float16", of the transformer and, off the CPU, the visual tokenizer.
        text_encoder: folder or Hugging Face id of the T5 that reads prompts, for a bundle whose transformer does.

    Raises:
        InputError: a device that is not there, or an unknown dtype.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: str = "cpu",
        dtype: str | torch.dtype | None = None,
        text_encoder: str | Path | None = None,
    ) -> None:
        self.bundle, self.settings = bundle, bundle.settings
        self.device, self.dtype = check_device(device), check_dtype(dtype)
        self.text_encoder = None if text_encoder is None else TextEncoder(text_encoder, self.device, self.dtype)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path = "mini",
        device: str = "cpu",
        dtype: str | torch.dtype | None = None,
        text_encoder: str | Path | None = None,
    ) -> UniMoPipeline:
        """Opens a bundle by name, path or Hugging Face id; see `load_bundle` for errors and the class for arguments."""
        check_device(device)  # before anything is fetched
        check_dtype(dtype)
        return cls(load_bundle(name_or_path), device, dtype, text_encoder)

    @cached_property
    def motion_tokenizer(self) -> MotionTokenizer:
        """Motion ↔ ids."""
        return load_motion_tokenizer(self.bundle, self.device)

    @cached_property
    def visual_tokenizer(self) -> VisualTokenizer:
        """Frames ↔ ids."""
        # the processor lacks some 3-D operations in half precision
        dtype = torch.float32 if self.device.type == "cpu" else self.dtype
        model = self.bundle.component("visual_tokenizer/discrete", dtype).to(self.device)
        return VisualTokenizer(model, self.settings.side)

    @cached_property
    def diffusion_decoder(self) -> DiffusionVideoDecoder:
        """Visual ids → frames, by diffusion.

        Raises:
            CheckpointError: the bundle has none, or its parts do not belong together.
        """
        dtype = torch.float32 if self.device.type == "cpu" else self.dtype
        model, tokenizer = (self.bundle.component(part, dtype).to(self.device) for part in sorted(DIFFUSION_PARTS))
        try:
            if model.config.num_ids != self.visual_tokenizer.num_ids:
                ids = f"{model.config.num_ids} and {self.visual_tokenizer.num_ids}"
                raise ValueError(f"the diffusion decoder and the visual tokenizer know {ids} ids")
            return DiffusionVideoDecoder(model, tokenizer, self.settings.fps)
        except ValueError as error:
            raise CheckpointError(str(error), str(self.bundle.path)) from error

    @cached_property
    def engine(self) -> Engine:
        """Ids → ids.

        Raises:
            CheckpointError: the transformer's vocabularies are not those of the tokenizers.
        """
        model = self.bundle.component("ar_model", self.dtype).to(self.device)
        for kind, ours, theirs in (
            ("visual", model.config.visual_ids, self.visual_tokenizer.num_ids),
            ("motion", model.config.motion_ids, self.motion_tokenizer.model.config.codebook_size),
        ):
            if ours != theirs:
                what = (
                    f"the transformer has {ours} {kind} ids, the {kind} tokenizer {theirs}: they do not belong together"
                )
                raise CheckpointError(what, str(self.bundle.path))
        return Engine(model)

    def generate(
        self,
        image: str | Path | np.ndarray,
        num_samples: int = 1,
        seed: int = 0,
        frames: int | None = None,
        focal: float | None = None,
        temperature: float = 1.0,
        top_p: float = 0.8,
        decoder: str | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        progress: Progress | None = None,
        prompt: str | None = None,
    ) -> list[Result]:
        """Writes video and motion that go on from a picture.

        Args:
            image: a file, or uint8 (H, W, 3) RGB; one person, seen as large as possible.
            num_samples: how many different results.
            seed: of the first sample; sample i of seed s is sample 0 of seed s + i.
            frames: length at the bundle's rate; at most (and by default) the bundle's window.
            focal: focal length of the picture in its pixels; default its diagonal.
            temperature: of sampling; 0 takes the most likely id.
            top_p: sample from the most likely ids that make up this share, in (0, 1].
            decoder: "diffusion" or "direct", of the visual ids; default what the bundle says.
            steps: of the diffusion decoder; default 15.
            guidance: of the diffusion decoder, g of cond + g (cond - uncond); default 1.8.
            progress: see `Progress`.
            prompt: what happens, for a bundle that reads text; None or blank is no text.

        Returns:
            `num_samples` results; their frames keep the picture's shape at the bundle's resolution.

        Raises:
            InputError: an unreadable picture, a value out of range, or a prompt that `check_prompt` refuses.
            MissingAssetError: a prompt, and the text encoder is not there.
        """
        frames = check_frames(frames, self.settings.frames)
        check_sampling(num_samples, temperature, top_p, focal)
        decoding = check_decoding(decoder, steps, guidance, self.bundle)
        prompt = check_prompt(prompt, self.text_encoder, self.bundle)
        timings: dict[str, float] = {}
        name, picture = _picture(image)
        height, width = picture.shape[:2]
        box = Letterbox(height, width, self.settings.side)
        with _timed(timings, "encode"):
            first = self.visual_tokenizer.encode(box.apply(picture)[None])  # one frame is one latent frame
            context = self.context(prompt)
        latent_frames, seeds = 1 + math.ceil((frames - 1) / 8), range(seed, seed + num_samples)
        with _timed(timings, "sample"):
            visual, motion = self.engine.generate_video_motion(
                first,
                latent_frames,
                1 + 8 * (latent_frames - 1),
                Sampling(temperature, top_p),
                seeds,
                num_samples,
                share_of(progress, "writing tokens", 0, 1, 1),
                context,
            )
        focal = default_focal(width, height) if focal is None else focal
        with _timed(timings, "decode"):
            videos = self.draw(visual, seeds, decoding, progress)[:, :frames]
            motions = self.motion_tokenizer.decode_windows(motion, focal / max(height, width))
        out = _content_box(box)
        camera = out.intrinsics_from_square(
            intrinsics_matrix(focal * box.scale, self.settings.side / 2, self.settings.side / 2)
        )
        results = []
        for sample, (video, one) in enumerate(zip(videos, motions, strict=True)):
            clip = FrameSource.of(out.invert(video), self.settings.fps)
            run = self._run(name, seed, temperature, top_p, focal, timings, prompt) | {"sample": sample} | decoding
            results.append(Result("generate", replace(one[:frames], intrinsics=camera), clip, run))
        return results

    def capture(
        self,
        video: str | Path | np.ndarray,
        fps: float | None = None,
        frames: int | None = None,
        focal: float | None = None,
        seed: int = 0,
        temperature: float = 1.0,
        top_p: float = 0.8,
        num_samples: int = CAPTURE_SAMPLES,
        progress: Progress | None = None,
        prompt: str | None = None,
    ) -> Result:
        """Reads the motion of the person in a clip.

        Args:
            video: a file, or uint8 (T, H, W, 3) RGB; one person, seen as large as possible.
            fps: rate of an array of frames (a file knows its own).
            frames: capture at most this many frames of the clip.
            focal: focal length of the clip in its pixels; default its diagonal.
            seed: the same seed gives the same motion on the same kind of machine.
            temperature: of sampling; 0 takes the most likely id.
            top_p: sample from the most likely ids that make up this share, in (0, 1].
            num_samples: motions drawn of every window; the result is their mean. At temperature 0 there is only one.
            progress: see `Progress`.
            prompt: as in `generate`.

        Returns:
            A result with one motion frame for every frame of the clip.

        Raises:
            InputError, MissingAssetError: an unreadable clip, else as in `generate`.
        """
        check_sampling(num_samples, temperature, top_p, focal)
        prompt = check_prompt(prompt, self.text_encoder, self.bundle)
        num_samples = num_samples if temperature else 1  # without chance all samples are the same
        source = FrameSource.of(video, fps, frames)
        focal = default_focal(source.width, source.height) if focal is None else focal
        timings: dict[str, float] = {}
        timeline = SourceTimeline(self.settings.fps)
        with _timed(timings, "capture"):
            sampling, context = Sampling(temperature, top_p), self.context(prompt)
            pieces = list(self._windows(source, timeline, focal, seed, sampling, num_samples, progress, context))
            motion = join(pieces).at(timeline.target_positions, source.fps)
        times = timeline.source_times - timeline.source_times[0]
        uneven = bool(np.abs(times - np.arange(len(times)) / source.fps).max() > 0.5 / source.fps)
        motion = replace(
            motion,
            intrinsics=intrinsics_matrix(focal, source.width / 2, source.height / 2),
            extras={"frame_times_s": [round(float(t), 4) for t in times]} if uneven else None,
        )
        run = self._run(source.name, seed, temperature, top_p, focal, timings, prompt) | {"num_samples": num_samples}
        return Result("capture", motion, replace(source, frames=len(motion)), run)

    def draw(
        self, visual_ids: Tensor, seeds: Sequence[int], decoding: dict[str, Any], progress: Progress | None = None
    ) -> np.ndarray:
        """uint8 (B, T, H, W, 3) of visual ids (B, K, h, w) with one seed each; `decoding` is from `check_decoding`."""
        if decoding["decoder"] == "direct":
            return self.visual_tokenizer.decode(visual_ids)
        report = share_of(progress, "drawing video", 0, 1, 1)
        return self.diffusion_decoder.decode(visual_ids, seeds, decoding["steps"], decoding["guidance"], report)

    def context(self, prompt: str | None = None) -> Context | None:
        """What the transformer is to read beside its tokens, one row; None for a transformer that reads no text.

        Args:
            prompt: from `check_prompt`; None is no text.
        """
        width = self.engine.model.config.context_dim
        if width is None:
            return None
        if prompt is None or self.text_encoder is None:
            return no_text(width, self.device, self.dtype)
        return self.text_encoder.encode([prompt])

    def capture_ids(
        self,
        visual_ids: Tensor,
        seeds: Sequence[int],
        sampling: Sampling | None = None,
        num_samples: int = CAPTURE_SAMPLES,
        progress: Callable[[int, int], None] | None = None,
        context: Context | None = None,
    ) -> Tensor:
        """Motion ids (B · num_samples, T, 36) of B windows given as visual ids (B, K, h, w), with one seed each.

        `context` is one row that all windows share, see `context()`; None is no text.
        """
        frames = 1 + 8 * (visual_ids.shape[1] - 1)
        rows = [seed + sample * _SAMPLE_STRIDE for seed in seeds for sample in range(num_samples)]
        if context := context or self.context():
            context = context.shared_by(len(visual_ids))
        return self.engine.generate_motion(visual_ids, frames, sampling, rows, num_samples, progress, context)

    def _windows(
        self,
        source: FrameSource,
        timeline: SourceTimeline,
        focal: float,
        seed: int,
        sampling: Sampling,
        num_samples: int,
        progress: Progress | None,
        context: Context | None,
    ) -> Iterator[Motion | None]:
        """Captures the clip window by window; yields the pieces that no later window changes."""
        box = Letterbox(source.height, source.width, self.settings.side)
        squares = (box.apply(frame) for _, frame in resample_stream(source, self.settings.fps, timeline))
        tokenizer, blender = self.motion_tokenizer, MotionBlender()
        windows = stream_windows(squares, self.settings.frames, tokenizer.overlap)
        advance = self.settings.frames - tokenizer.overlap
        total = max(1, math.ceil((source.frames / source.fps * self.settings.fps - tokenizer.overlap) / advance))
        done = 0
        while batch := list(islice(windows, WINDOWS_AT_ONCE)):
            visual = self.visual_tokenizer.encode(np.stack([np.stack(frames) for _, _, frames in batch]))
            report = share_of(progress, "reading motion", done, len(batch), max(total, done + len(batch)))
            seeds = range(seed + done, seed + done + len(batch))
            ids = self.capture_ids(visual, seeds, sampling, num_samples, report, context)
            motions = tokenizer.decode_windows(ids, focal / max(source.height, source.width), num_samples)
            for (start, stop, _), motion in zip(batch, motions, strict=True):
                yield blender.push(start, motion[: stop - start])
            done += len(batch)
        yield blender.finish()

    def _run(
        self,
        name: str,
        seed: int,
        temperature: float,
        top_p: float,
        focal: float,
        timings: dict[str, float],
        prompt: str | None,
    ) -> dict[str, Any]:
        text = {"prompt": prompt, "text_encoder": str(self.text_encoder.source)} if prompt and self.text_encoder else {}
        return {
            "input": name,
            "seed": seed,
            "temperature": temperature,
            "top_p": top_p,
            "focal_px": focal,
            "bundle": {"name": self.bundle.info.name, "sha256": self.bundle.sha256},
            "device": str(self.device),
            "dtype": str(self.dtype).removeprefix("torch."),
            "timings_s": {key: round(value, 3) for key, value in timings.items()},
            **text,
        }


def _picture(image: str | Path | np.ndarray) -> tuple[str, np.ndarray]:
    """A name for the record, and uint8 (H, W, 3)."""
    if not isinstance(image, np.ndarray):
        return Path(image).name, read_image(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        raise InputError(f"an image must be uint8 (H, W, 3) RGB, not {image.dtype} {image.shape}")
    return "array", image


def _content_box(box: Letterbox) -> Letterbox:
    """The letterbox of a picture of the same shape at the square's scale: what is left without the bars."""
    height, width = (max(16, round(size * box.scale)) for size in (box.src_h, box.src_w))
    return Letterbox(height, width, box.side)


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    timings[stage] = timings.get(stage, 0.0) + time.perf_counter() - started
