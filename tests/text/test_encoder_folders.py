"""Which folders are a text encoder, where they are looked for, and what is refused."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.text.samples import WALKS, save_encoder, sizes
from unimo import extras
from unimo.assets import text_encoder_path
from unimo.cli import doctor
from unimo.errors import CheckpointError, InputError, MissingAssetError, UniMoError
from unimo.text import TextEncoder


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
    save_encoder(tmp_path, sizes(vocab_size=6))
    with pytest.raises(CheckpointError, match="tokenizer knows 9 words, its model 6"):
        TextEncoder(tmp_path).encode([WALKS])


def test_missing_libraries_name_the_extra(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"transformers", "torch"}

    def version(name: str) -> str:
        if name not in there:
            raise PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(extras, "version", version)
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
