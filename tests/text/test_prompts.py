"""Prompts: what the pipeline and the commands make of them, and which are refused before any work."""

from __future__ import annotations

import json
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from ar_model import Sampling
from tests.text.samples import JUMPS, WALKS, noise, save_encoder, sizes
from unimo.bundle import Bundle, load_bundle, save_bundle
from unimo.cli.main import app
from unimo.errors import InputError, MissingAssetError
from unimo.media.video import write_video
from unimo.pipeline import UniMoPipeline
from unimo.text import TextEncoder, no_text, text_width


def ids_of(pipeline: UniMoPipeline, prompt: str | None) -> torch.Tensor:
    first = torch.zeros(1, 2, 2, dtype=torch.int64)
    context = pipeline.context(prompt)
    return torch.cat([x.flatten() for x in pipeline.engine.generate_video_motion(first, 2, 9, context=context)])


def test_the_prompt_decides_what_is_written(pipeline: UniMoPipeline) -> None:
    walks, jumps, none = (ids_of(pipeline, prompt) for prompt in (WALKS, JUMPS, None))
    assert torch.equal(walks, ids_of(pipeline, WALKS))
    for one, other in ((walks, jumps), (walks, none), (jumps, none)):
        # a random model says little, and the same noise draws the same id from near logits
        assert not torch.equal(one, other)


def test_generate_reads_and_records_the_prompt(pipeline: UniMoPipeline, t5: Path) -> None:
    picture = noise(32, 32)
    walks, again, jumps, plain, blank = (
        pipeline.generate(picture, prompt=prompt)[0] for prompt in (WALKS, WALKS, JUMPS, None, "  ")
    )
    assert np.array_equal(walks.motion.body_pose, again.motion.body_pose)
    assert not np.allclose(walks.motion.body_pose, jumps.motion.body_pose, atol=1e-3)
    assert not np.allclose(walks.motion.body_pose, plain.motion.body_pose, atol=1e-3)
    assert np.array_equal(plain.motion.body_pose, blank.motion.body_pose)
    assert (walks.run["prompt"], walks.run["text_encoder"]) == (WALKS, str(t5))
    assert "prompt" not in plain.run and "prompt" not in blank.run
    second = pipeline.generate(picture, 2, prompt=WALKS)[1]
    (single,) = pipeline.generate(picture, seed=1, prompt=WALKS)
    assert np.allclose(second.motion.body_pose, single.motion.body_pose, atol=1e-5)


def test_no_text_is_512_zeros_that_are_seen_and_needs_no_encoder(bundle: Bundle, pipeline: UniMoPipeline) -> None:
    bare = UniMoPipeline(bundle)
    context = bare.context()
    assert context is not None and context.mask is None
    assert context.states.shape == (1, 512, 10) and not context.states.any()
    assert torch.equal(ids_of(bare, None), ids_of(pipeline, None))
    half = UniMoPipeline(bundle, dtype="bfloat16").context()
    assert half is not None and half.states.dtype == torch.bfloat16
    assert UniMoPipeline.from_pretrained("debug").context() is None
    assert not no_text(3).states.any() and no_text(3).states.shape == (1, 512, 3)


def test_capture_works_without_text_and_with(bundle: Bundle, pipeline: UniMoPipeline) -> None:
    clip = noise(20, 32, 32)  # several windows
    plain = UniMoPipeline(bundle).capture(clip, fps=15.0, num_samples=2)
    blank, walks = (pipeline.capture(clip, fps=15.0, num_samples=2, prompt=prompt) for prompt in ("", WALKS))
    assert len(plain.motion) == 20 and np.array_equal(plain.motion.body_pose, blank.motion.body_pose)
    assert not np.allclose(plain.motion.body_pose, walks.motion.body_pose, atol=1e-3)
    assert walks.run["prompt"] == WALKS and "prompt" not in plain.run


def test_windows_share_a_context(pipeline: UniMoPipeline) -> None:
    ids = pipeline.visual_tokenizer.encode(noise(2, 9, 32, 32))
    context = pipeline.context(WALKS)
    both = pipeline.capture_ids(ids, [3, 4], Sampling(), 1, context=context)
    assert torch.equal(both[1:], pipeline.capture_ids(ids[1:], [4], Sampling(), 1, context=context))
    assert not torch.equal(both, pipeline.capture_ids(ids, [3, 4], Sampling(), 1))


def test_wrong_prompts_are_refused_before_any_weights_are_read(
    bundle: Bundle, t5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = save_bundle(tmp_path / "deaf", "deaf", bundle.settings, {"ar_model": load_bundle("debug").ar_model})
    wide = save_encoder(tmp_path / "wide", sizes(d_model=12))
    monkeypatch.setattr(Bundle, "component", lambda *_: pytest.fail("weights were read"))
    monkeypatch.setattr(TextEncoder, "_parts", property(lambda *_: pytest.fail("the encoder was read")))
    assert (text_width(bundle), text_width(deaf), text_width(load_bundle("debug"))) == (10, None, None)
    for pipeline, kind, message in (
        (UniMoPipeline.from_pretrained("debug", text_encoder=t5), InputError, "of this bundle reads no text"),
        (UniMoPipeline(deaf, text_encoder=tmp_path / "none"), InputError, "of this bundle reads no text"),
        (UniMoPipeline(bundle), InputError, "a prompt needs a text encoder, and none is given\n  try: --text-encoder"),
        (UniMoPipeline(bundle, text_encoder=wide), InputError, "of 10 channels, and this text encoder gives 12"),
        (UniMoPipeline(bundle, text_encoder=tmp_path / "none"), MissingAssetError, "there is no text encoder"),
    ):
        for act in (
            lambda: pipeline.generate(noise(32, 32), prompt=WALKS),  # noqa: B023
            lambda: pipeline.capture(noise(9, 32, 32), fps=15.0, prompt=WALKS),  # noqa: B023
        ):
            with pytest.raises(kind) as error:
                act()
            assert message in str(error.value)


def run(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return str(result.exception)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_commands_take_a_prompt(bundle: Bundle, t5: Path, tmp_path: Path) -> None:
    picture, clip = tmp_path / "picture.png", tmp_path / "clip.mp4"
    Image.fromarray(noise(40, 40)).save(picture)
    write_video(clip, noise(9, 32, 32), 15)
    common = ("--bundle", bundle.path, "--no-render", "--quiet", "--device", "cpu", "--output")
    for command, source in (("generate", ("--image", picture)), ("capture", ("--video", clip))):
        start, made = (command, *source, *common), {}
        for name, prompt in (("a", WALKS), ("b", WALKS), ("c", JUMPS)):
            run(*start, tmp_path / command / name, "--text-encoder", t5, "--prompt", prompt)
            made[name] = np.load(tmp_path / command / name / "motion.npz")["poses"]
            record = json.loads((tmp_path / command / name / "run.json").read_text())
            assert (record["prompt"], record["text_encoder"]) == (prompt, str(t5))
        assert np.array_equal(made["a"], made["b"]) and not np.allclose(made["a"], made["c"], atol=1e-3)
        run(*start, tmp_path / command / "none")
        assert "prompt" not in json.loads((tmp_path / command / "none" / "run.json").read_text())
        left_out = tmp_path / command / "not"
        said = run(*start, left_out, "--text-encoder", t5, "--prompt", WALKS, "--dry-run")
        assert WALKS in said
        assert "a prompt needs a text encoder" in run(*start, left_out, "--prompt", WALKS, "--dry-run")
        deaf = run(*start, left_out, "--bundle", "debug", "--prompt", WALKS, "--text-encoder", t5, "--dry-run")
        assert "reads no text" in deaf and not left_out.exists()


def test_a_text_encoder_is_looked_at_without_a_prompt_and_never_fetched_in_vain(
    bundle: Bundle, t5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("something was fetched"))
    picture, clip = tmp_path / "picture.png", tmp_path / "clip.mp4"
    Image.fromarray(noise(40, 40)).save(picture)
    write_video(clip, noise(9, 32, 32), 15)
    common = ("--bundle", bundle.path, "--no-render", "--quiet", "--device", "cpu", "--output", tmp_path / "out")
    for start in (("generate", "--image", picture, *common), ("capture", "--video", clip, *common)):
        for wrong, message in (("none", "there is no text encoder 'none'"), ("", "the name is empty")):
            assert message in run(*start, "--text-encoder", wrong)
        (tmp_path / "empty").mkdir(exist_ok=True)
        assert "holds no config.json" in run(*start, "--text-encoder", "empty")
        for more in ((), ("--prompt", WALKS)):
            said = " ".join(run(*start, "--text-encoder", "someone/t5", "--dry-run", *more).split())
            assert "Dry run" in said
            assert ("someone/t5, fetched from Hugging Face when it is not in its cache" in said) == bool(more)
        said = " ".join(run(*start, "--text-encoder", t5, "--dry-run", "--prompt", WALKS).split())
        assert "text encoder" in said and "Hugging Face" not in said
    assert not (tmp_path / "out").exists()
