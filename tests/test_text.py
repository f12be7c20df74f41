"""Prompts: what a tiny T5 gives, what the pipeline and the commands make of it, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import T5Config, T5EncoderModel, T5ForConditionalGeneration, T5Tokenizer
from typer.testing import CliRunner

from ar_model import Sampling, UniMoTransformer
from unimo import text
from unimo.assets import text_encoder_path
from unimo.bundle import Bundle, load_bundle, save_bundle
from unimo.cli import doctor
from unimo.cli.main import app
from unimo.errors import CheckpointError, InputError, MissingAssetError, UniMoError
from unimo.media.video import write_video
from unimo.pipeline import UniMoPipeline
from unimo.text import TextEncoder, no_text, text_width

WORDS = ["a", "man", "jumps", "walks", "slowly"]
SIZES = T5Config(vocab_size=20, d_model=10, d_kv=5, d_ff=16, num_layers=2, num_heads=2)
WALKS, JUMPS = "a man walks slowly", "a man jumps"


def tokenizer() -> T5Tokenizer:
    """A unigram model as T5's, of whole words and single letters."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -4.0)]
    return T5Tokenizer(vocab=pieces + [(f"▁{word}", -2.0) for word in WORDS], extra_ids=0)


def save_encoder(folder: Path, config: T5Config = SIZES) -> Path:
    torch.manual_seed(0)
    T5EncoderModel(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("t5"))


@pytest.fixture
def copy(t5: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(t5, tmp_path / "copy")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The debug bundle with a transformer that reads text."""
    debug = load_bundle("debug")
    parts = {name: debug.component(name) for name in ("motion_tokenizer", "visual_tokenizer/discrete")}
    torch.manual_seed(0)
    # large weights, so that what it reads decides what it writes
    config = replace(debug.component("ar_model").config, context_dim=10, init_std=0.5)
    parts["ar_model"] = UniMoTransformer(config)
    return save_bundle(tmp_path_factory.mktemp("bundle"), "text", debug.settings, parts)


@pytest.fixture(scope="module")
def pipeline(bundle: Bundle, t5: Path) -> UniMoPipeline:
    return UniMoPipeline(bundle, text_encoder=t5)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8)


def alone(folder: Path, ids: list[int]) -> torch.Tensor:
    """States (M, width) of ids that stand alone, without padding, by transformers."""
    model = T5EncoderModel.from_pretrained(folder).eval()
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).last_hidden_state[0]


# ---------------------------------------------------------------- the encoder


def test_a_prompt_is_what_t5_says_and_zeros_behind_it(t5: Path) -> None:
    context = TextEncoder(t5).encode([WALKS, JUMPS])
    assert context.states.shape == (2, 512, 10) and context.mask is None
    for row, ids in enumerate(([4, 5, 7, 8, 1], [4, 5, 6, 1])):  # </s> is 1
        torch.testing.assert_close(context.states[row, : len(ids)], alone(t5, ids), atol=1e-5, rtol=1e-4)
        assert context.states[row, : len(ids)].abs().amax(1).min() > 0.1
        assert not context.states[row, len(ids) :].any()


def test_a_row_does_not_depend_on_the_others(t5: Path) -> None:
    encoder = TextEncoder(t5)
    both = encoder.encode([JUMPS, "a man " * 200]).states
    torch.testing.assert_close(both[:1], encoder.encode([JUMPS]).states, atol=1e-6, rtol=1e-5)
    assert both[1, 400].any() and not both[1, 401:].any()


def test_a_long_prompt_is_cut_before_its_end_token(t5: Path) -> None:
    (states,) = TextEncoder(t5).encode(["jumps " * 600]).states
    torch.testing.assert_close(states, alone(t5, [6] * 511 + [1]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close_and_of_the_dtype_asked_for(t5: Path, dtype: torch.dtype) -> None:
    half, full = TextEncoder(t5, dtype=dtype), TextEncoder(t5)
    states = half.encode([WALKS]).states
    assert states.dtype == dtype and next(half._parts[1].parameters()).dtype == torch.bfloat16
    error = (states.float() - full.encode([WALKS]).states).abs().max()
    assert 0 < error < 0.1


def test_the_encoder_of_a_whole_t5_in_shards_is_the_same(t5: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = T5ForConditionalGeneration(SIZES)
    whole.encoder.load_state_dict(T5EncoderModel.from_pretrained(t5).encoder.state_dict())
    whole.save_pretrained(tmp_path, max_shard_size="4KB")
    tokenizer().save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    torch.testing.assert_close(TextEncoder(tmp_path).encode([WALKS]).states, TextEncoder(t5).encode([WALKS]).states)


def test_a_folder_with_a_sentencepiece_model_alone(copy: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    pytest.importorskip("google.protobuf")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (copy / name).unlink()
    lines = copy / "lines.txt"
    lines.write_text(f"{WALKS}\n{JUMPS}\n" * 9)
    sentencepiece.SentencePieceTrainer.train(
        input=str(lines), model_prefix=str(copy / "spiece"), vocab_size=18, hard_vocab_limit=False,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2,
    )  # fmt: skip
    settings = json.loads((copy / "config.json").read_text())
    larger = save_encoder(copy.parent / "larger", T5Config(**settings | {"vocab_size": 128}))
    shutil.copy(larger / "model.safetensors", copy)
    shutil.copy(larger / "config.json", copy)
    ids = sentencepiece.SentencePieceProcessor(model_file=str(copy / "spiece.model")).encode(WALKS)
    (states,) = TextEncoder(copy).encode([WALKS]).states
    torch.testing.assert_close(states[: len(ids) + 1], alone(copy, [*ids, 1]), atol=1e-5, rtol=1e-4)
    assert not states[len(ids) + 1 :].any()


def test_reading_says_nothing_and_leaves_transformers_as_it_was(t5: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    TextEncoder(t5).encode([WALKS])
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
    assert capfd.readouterr() == ("", "")


# ---------------------------------------------------------------- what is refused


def without(*names: str):  # noqa: ANN201
    return lambda folder: [(folder / name).unlink() for name in names]


def to_pickle(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def setting(**values: object):  # noqa: ANN201
    def change(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return change


def without_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({name: value for name, value in tensors.items() if "final_layer_norm" not in name}, folder / "x")
    (folder / "x").rename(folder / "model.safetensors")


def cut_off(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-100])


@pytest.mark.parametrize(
    ("damage", "kind", "message"),
    [
        (without("config.json"), MissingAssetError, "holds no config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), CheckpointError, "config.json cannot be read"),
        (setting(model_type="bert"), InputError, "the text encoder is no T5"),
        (setting(d_model="wide"), CheckpointError, "d_model is 'wide'"),
        (without("model.safetensors"), MissingAssetError, "no weights in safetensors (model.safetensors)\n"),
        (to_pickle, MissingAssetError, "only pytorch_model.bin, a pickle, which is never read"),
        (without("tokenizer.json"), MissingAssetError, "neither tokenizer.json nor spiece.model"),
        (without_a_tensor, CheckpointError, "lack 1 tensor, encoder.final_layer_norm.weight the first"),
        (cut_off, CheckpointError, "the text encoder cannot be read"),
        (setting(d_model=8), CheckpointError, "the text encoder cannot be read"),
    ],
)
def test_other_folders_are_refused(copy: Path, damage, kind: type[UniMoError], message: str) -> None:
    damage(copy)
    with pytest.raises(kind) as error:
        encoder = TextEncoder(copy)
        assert encoder.width
        encoder.encode([WALKS])
    assert message in str(error.value) and str(copy) in str(error.value)


def test_a_tokenizer_of_more_words_than_the_model_is_refused(tmp_path: Path) -> None:
    save_encoder(tmp_path, T5Config(**SIZES.to_dict() | {"vocab_size": 6}))
    with pytest.raises(CheckpointError, match="tokenizer knows 9 words, its model 6"):
        TextEncoder(tmp_path).encode([WALKS])


def test_missing_libraries_name_the_extra(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"transformers", "torch"}

    def version(name: str) -> str:
        if name not in there:
            raise PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(text, "version", version)
    assert TextEncoder(copy).width == 10  # tokenizer.json needs no sentencepiece
    (copy / "tokenizer.json").rename(copy / "spiece.model")
    with pytest.raises(MissingAssetError, match="needs sentencepiece and protobuf, not installed here") as error:
        _ = TextEncoder(copy).folder
    assert "pip install 'unimo[text]'" in str(error.value)
    with pytest.raises(MissingAssetError, match="needs sentencepiece and protobuf"):
        dict((name, check) for name, _, check in doctor.CHECKS)["text (--prompt)"]()
    there.clear()
    with pytest.raises(MissingAssetError, match="reading text needs transformers, not installed here"):
        _ = TextEncoder("nowhere").folder


def test_doctor_says_that_text_can_be_read() -> None:
    pytest.importorskip("sentencepiece")
    said = dict((name, check) for name, _, check in doctor.CHECKS)["text (--prompt)"]()
    assert said.startswith("transformers ") and "sentencepiece " in said and "--text-encoder" in said


def test_where_a_text_encoder_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(name: str, allow_patterns: list[str]) -> str:
        asked.append((name, allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    monkeypatch.chdir(tmp_path)
    assert text_encoder_path(str(tmp_path)) == tmp_path and asked == []
    for name in ("mini", str(tmp_path / "none"), Path("someone/t5")):
        with pytest.raises(MissingAssetError, match="there is no text encoder"):
            text_encoder_path(name)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=f"this is a file; a text encoder is a folder(.|\n)*looked: {tmp_path}/file"):
        text_encoder_path("file")
    assert asked == []
    assert text_encoder_path("someone/t5") == tmp_path
    assert asked == [("someone/t5", ["*.json", "*.safetensors", "spiece.model"])]
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: (_ for _ in ()).throw(OSError("no net")))
    with pytest.raises(
        MissingAssetError, match=r"could not be fetched from Hugging Face \(no net\)(.|\n)*give a folder"
    ):
        text_encoder_path("someone/t5")


@pytest.mark.parametrize("name", ["", "  "])
def test_an_empty_name_is_no_folder(name: str, t5: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(t5)  # where "" would be taken for the folder one is in
    with pytest.raises(InputError, match="no text encoder is named: the name is empty\n  try: --text-encoder FOLDER"):
        _ = TextEncoder(name).folder


def test_a_relative_folder_is_found_and_stays(t5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(t5.parent)
    for name in (t5.name, f"./{t5.name}", f"../{t5.parent.name}/{t5.name}"):
        encoder = TextEncoder(name)
        assert encoder.width == 10 and encoder.folder.is_absolute() and not encoder.remote
    monkeypatch.chdir(tmp_path)
    assert encoder.encode([WALKS]).states.any()
    for name in ("t6", "./t6", "../t6/deep"):
        with pytest.raises(MissingAssetError, match=f"there is no text encoder '{name}'\n  looked: /.*t6"):
            _ = TextEncoder(name).folder
    (tmp_path / "models").mkdir()
    assert not TextEncoder("models/t5").remote and TextEncoder("owner/t5").remote  # a folder "models" is here


# ---------------------------------------------------------------- the pipeline


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
    wide = save_encoder(tmp_path / "wide", T5Config(**SIZES.to_dict() | {"d_model": 12}))
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


# ---------------------------------------------------------------- the commands


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
