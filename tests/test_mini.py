"""The shipped bundle end to end on the shipped examples: what `make demo` does, without drawing."""

from __future__ import annotations

import numpy as np
import pytest

from unimo import UniMoPipeline
from unimo.assets import example_path
from unimo.bundle import load_bundle
from unimo.media.images import read_image
from unimo.media.letterbox import Letterbox
from unimo.media.source import FrameSource
from unimo.metrics.video import box_downsampled, psnr_db


def first_frames(name: str, count: int, step: int) -> list:
    """Every `step`-th of the first `count` frames of an example, with their times."""
    return [pair for pair, _ in zip(FrameSource.of(example_path(name)), range(count), strict=False)][::step]


@pytest.fixture(scope="module")
def pipeline() -> UniMoPipeline:
    return UniMoPipeline.from_pretrained("mini")


def test_every_file_is_what_bundle_json_records():
    bundle = load_bundle("mini")
    bundle.verify()
    sizes = [record.size for files in bundle.info.components.values() for record in files.values()]
    assert max(sizes) <= 15_000_000 and sum(sizes) <= 60_000_000


def test_generate_writes_the_reference_first_and_the_same_for_the_same_seed(pipeline):
    image = read_image(example_path("synthetic.png"))
    first, second = (pipeline.generate(image, seed=3)[0] for _ in range(2))
    frames = np.stack(list(first.frames))
    assert frames.shape == (17, 128, 128, 3) and len(first.motion) == 17
    assert np.array_equal(frames, np.stack(list(second.frames)))
    assert np.array_equal(first.motion.body_pose, second.motion.body_pose)
    reference = Letterbox(*image.shape[:2], 128).apply(image)
    assert psnr_db(frames[0], reference) > 20


def test_both_decoders_draw_a_clip_closer_than_a_16_times_smaller_copy(pipeline):
    clip = np.stack([Letterbox(*frame.shape[:2], 128).apply(frame) for _, frame in first_frames("clip.mp4", 33, 2)])
    ids, best = pipeline.visual_tokenizer.encode(clip), psnr_db(box_downsampled(clip), clip)
    direct = psnr_db(pipeline.visual_tokenizer.decode(ids), clip)
    diffusion = psnr_db(pipeline.diffusion_decoder.decode(ids[None], [0])[0], clip)
    continuous = psnr_db(pipeline.diffusion_decoder.reconstruct(clip[None])[0], clip)
    assert direct > best + 1 and diffusion > best - 1 and continuous > direct + 2


def test_capture_has_a_motion_frame_for_every_frame_of_the_clip(pipeline):
    motion = pipeline.capture(example_path("clip.mp4"), frames=40).motion
    assert len(motion) == 40 and motion.fps == 30 and motion.axes == "camera"
    assert (motion.transl[:, 2] > 1).all() and (motion.transl[:, 2] < 15).all()
