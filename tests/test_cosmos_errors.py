"""Everything that is missing or wrong in NVIDIA's downloads is said, and nothing of it is run."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests import cosmos_downloads as nvidia
from unimo.bundle import COMPONENTS, load_bundle
from unimo.cosmos import PARTS, find_source, import_cosmos, read_component
from unimo.cosmos_files import read_checkpoint
from unimo.errors import CheckpointError, InputError, MissingAssetError, UniMoError

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")


def read(option: str, folder: Path) -> nn.Module:
    part = PARTS[option]
    return read_component(find_source(part, folder, True), COMPONENTS[part.component].preset("base"))


# ---------------------------------------------------------------------- what is missing


def test_nothing_given(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No download was given.\n  try: --tokenizer FOLDER, --continuous FOLDER"):
        import_cosmos({}, tmp_path)


@pytest.mark.parametrize(
    ("option", "files", "error", "message"),
    [
        ("tokenizer", None, MissingAssetError, "There is no folder for --tokenizer."),
        (
            "tokenizer",
            ["encoder.jit"],
            MissingAssetError,
            "The weights of --tokenizer are missing: model.pt, or encoder.jit and decoder.jit, or autoencoder.jit.",
        ),
        (
            "decoder",
            ["autoencoder.jit", "aux_vars.pt"],
            MissingAssetError,
            "weights of --decoder are missing: model.pt.",
        ),
        (
            "continuous",
            ["model.pt"],
            MissingAssetError,
            "mean_std.pt is missing: the mean and deviation of the latents",
        ),
    ],
)
def test_missing_files(tmp_path: Path, option: str, files: list[str] | None, error: type, message: str) -> None:
    folder = tmp_path / "download"
    if files is not None:
        folder.mkdir()
        [(folder / name).touch() for name in files]
    with pytest.raises(error) as raised:
        import_cosmos({option: folder}, tmp_path / "bundle", trust_jit=True)
    text, repository = str(raised.value), PARTS[option].repository
    assert message in text and f"looked: {folder}" in text
    assert f"try: https://huggingface.co/{repository}: hf download {repository} --local-dir" in text
    assert f"--{option} {repository.split('/')[1]}" in text
    assert not (tmp_path / "bundle").exists()


def test_a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "model.pt").touch()
    with pytest.raises(InputError, match="--decoder takes the folder of a download, not a file.\n  looked: .*model.pt"):
        import_cosmos({"decoder": tmp_path / "model.pt"}, tmp_path / "bundle")
    nvidia.save_model(tmp_path / "dd", nvidia.nvidia_names(nvidia.decoder()))
    with pytest.raises(InputError, match="A bundle is a folder; this is a file."):
        import_cosmos({"decoder": tmp_path / "dd"}, tmp_path / "model.pt")


def test_torchscript_is_not_loaded_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("encoder.jit", "decoder.jit", "autoencoder.jit"):
        (tmp_path / name).touch()
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("TorchScript was loaded"))
    with pytest.raises(InputError) as error:
        import_cosmos({"tokenizer": tmp_path}, tmp_path / "bundle")
    assert "only TorchScript (encoder.jit, decoder.jit). Loading TorchScript runs the code stored" in str(error.value)
    assert "try: --trust-jit, if you trust where these files come from" in str(error.value)


def test_every_folder_is_looked_through_before_anything_is_read(tmp_path: Path) -> None:
    folders = {"tokenizer": tmp_path / "dv", "decoder": tmp_path / "none"}
    nvidia.save_model(folders["tokenizer"], {"x": torch.zeros(1)})
    with pytest.raises(MissingAssetError, match="There is no folder for --decoder"):
        import_cosmos(folders, tmp_path / "bundle")


# ---------------------------------------------------------------------- what is broken


class Evil:
    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.victim),)


def broken_files() -> dict[str, tuple[Callable[[Path, bytes], object], str]]:
    """What is done to a whole model.pt, and what is said."""
    return {
        "empty": (
            lambda file, data: file.write_bytes(b""),
            "cannot be read as a PyTorch file of weights: it is empty.",
        ),
        "cut off": (lambda file, data: file.write_bytes(data[:-900]), "weights: it is cut off or damaged."),
        "text": (lambda file, data: file.write_text("not found\n"), "it is cut off or damaged, or something else."),
        "a page": (lambda file, data: file.write_text("<!DOCTYPE html>"), "it is a web page, not a download."),
        "a pointer": (
            lambda file, data: file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
            "it is a pointer of Git LFS, not the file itself (git lfs pull fetches it).",
        ),
        "noise": (lambda file, data: file.write_bytes(data[:2000] + bytes(500) + data[2500:]), "it is damaged"),
        "a folder": (lambda file, data: (file.unlink(), file.mkdir()), "weights of --decoder are missing: model.pt."),
        "a protocol of pickle that torch refuses": (
            lambda file, data: file.write_bytes(pickle.dumps({"a": 1}, protocol=5)),
            "it is cut off or damaged, or something else.",
        ),
        "a list": (lambda file, data: torch.save([1], file), "model.pt holds a list, not weights by name"),
        "no weights": (lambda file, data: torch.save({"_extra_state": 1}, file), "model.pt holds no weights"),
        "a number": (lambda file, data: torch.save({"step": 1}, file), "model.pt holds 'step', which is no tensor"),
        "TorchScript": (
            lambda file, data: torch.jit.trace(nn.Linear(1, 1), torch.zeros(1)).save(str(file)),
            "it is damaged or of another kind",
        ),
        "twice": (
            lambda file, data: torch.save({"model.a": torch.zeros(1), "network.a": torch.zeros(1)}, file),
            "model.pt holds the same weights under several prefixes",
        ),
    }


@pytest.mark.parametrize("what", broken_files())
def test_a_broken_model_pt(tmp_path: Path, what: str) -> None:
    folder = nvidia.save_model(tmp_path / "dd", nvidia.nvidia_names(nvidia.decoder()))
    act, message = broken_files()[what]
    act(folder / "model.pt", (folder / "model.pt").read_bytes())
    with pytest.raises((CheckpointError, MissingAssetError)) as error:
        import_cosmos({"decoder": folder}, tmp_path / "bundle")
    assert message in str(error.value) and f"looked: {folder}" in str(error.value)
    assert_no_advice_of_torch(error.value)
    assert not (tmp_path / "bundle").exists()


def assert_no_advice_of_torch(error: UniMoError) -> None:
    """torch advises to load a file unsafely, in several wordings."""
    said = f"{error.what} {error.fix}"
    for word in ("weights_only", "Weights only", "load(", "trust", "safe_globals", "ickle", "PytorchStream", "miniz"):
        assert word not in said, said


def test_whatever_is_wrong_with_a_file_torch_is_not_quoted(tmp_path: Path) -> None:
    """Bytes changed one place at a time, through the whole of a small archive and of a plain pickle."""
    archive, plain = tmp_path / "archive.pt", tmp_path / "plain.pt"
    torch.save({"net.x": torch.zeros(2)}, archive)
    torch.save({"net.x": torch.zeros(2)}, plain, _use_new_zipfile_serialization=False)
    refused = 0
    for file in (archive, plain):
        data = file.read_bytes()
        for place in range(0, len(data), 7):
            file.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
            try:
                read_checkpoint(file)
            except CheckpointError as error:
                refused += 1
                assert_no_advice_of_torch(error)
    assert refused > 50


@pytest.mark.parametrize("archive", [True, False])
def test_code_in_a_pickle_is_not_run(tmp_path: Path, archive: bool) -> None:
    folder, content = tmp_path / "dd", {"net.x": torch.zeros(1), "y": Evil(tmp_path / "victim")}
    folder.mkdir()
    if archive:
        torch.save(content, folder / "model.pt")
    else:
        (folder / "model.pt").write_bytes(pickle.dumps(Evil(tmp_path / "victim")))
    with pytest.raises(CheckpointError) as error:
        read_checkpoint(folder / "model.pt")
    assert not (tmp_path / "victim").exists()
    if archive:
        assert "model.pt holds more than weights (posix.mkdir): reading it would run code" in str(error.value)
    assert_no_advice_of_torch(error.value)


def test_broken_torchscript(tmp_path: Path) -> None:
    program: Any = torch.jit.trace(nn.Linear(1, 1), torch.zeros(1))
    program.save(str(tmp_path / "whole.jit"))
    whole = (tmp_path / "whole.jit").read_bytes()
    torch.save({"x": torch.zeros(1)}, tmp_path / "weights.pt")
    weights = (tmp_path / "weights.pt").read_bytes()
    for content, message in (
        (b"not a program", "it is cut off or damaged, or something else."),
        (b"", "it is empty."),
        (whole[:-200], "it is cut off or damaged."),
        (weights, "it is damaged or of another kind."),
    ):
        (tmp_path / "autoencoder.jit").write_bytes(content)
        with pytest.raises(CheckpointError) as error:
            import_cosmos({"tokenizer": tmp_path}, tmp_path / "bundle", trust_jit=True)
        assert f"autoencoder.jit cannot be read as a TorchScript file: {message}" in str(error.value)
        assert_no_advice_of_torch(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(10)], "does not hold two tensors, mean and deviation"),
        ((torch.zeros(10), "x"), "does not hold two tensors"),
        ((torch.zeros(12), torch.ones(12)), "holds 12 means and 12 deviations; the latents have 5 channels"),
        ((torch.zeros(10), torch.ones(5)), "holds 10 means and 5 deviations"),
        ((torch.zeros(10), torch.zeros(10)), "holds a deviation that is not positive, or no number"),
        ((torch.full((10,), torch.nan), torch.ones(10)), "holds a deviation that is not positive, or no number"),
    ],
)
def test_broken_statistics(tmp_path: Path, content: object, message: str) -> None:
    folder = nvidia.save_model(tmp_path / "cv", nvidia.nvidia_names(nvidia.continuous()))
    torch.save(content, folder / "mean_std.pt")
    with pytest.raises(CheckpointError, match=f"{message}(.|\n)*looked: {folder / 'mean_std.pt'}"):
        read("continuous", folder)


def test_statistics_are_rows_of_channels(tmp_path: Path) -> None:
    folder = nvidia.save_model(tmp_path / "cv", nvidia.nvidia_names(nvidia.continuous()))
    torch.save((torch.arange(10.0).view(1, 5, 2, 1, 1), torch.ones(10).bfloat16()), folder / "mean_std.pt")
    model = read("continuous", folder)
    assert model.config.statistics_frames == 2  # type: ignore[union-attr]
    assert torch.equal(model.latents_mean, torch.arange(10.0).view(5, 2))  # type: ignore[arg-type]


CONV = "encoder.conv_in.0.conv3d.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("decoder.conv_in.1.conv3d.bias"), r"1 missing \(decoder.conv_in.conv_t.bias\)"),
        (lambda s: s.pop(CONV), r"missing \(encoder.conv_in.conv_s.weight"),
        (lambda s: s.update(lpips=torch.zeros(1)), r"1 unexpected \(lpips\)"),
        (
            lambda s: s.update({"decoder.conv_in.1.conv3d.bias": torch.zeros(3)}),
            r"1 of another shape \(decoder.conv_in.conv_t.bias\)",
        ),
        (lambda s: s.update({CONV: torch.zeros(())}), r"weight of a 3-D convolution must have 5 axes, got \(\)"),
        (lambda s: s.update({CONV: torch.zeros(9, 192, 1, 3, 3)}), r"levels are \[8, 16, 24\] wide: no multiples of"),
        (
            lambda s: s.update({CONV: torch.zeros(8, 192, 1, 3, 3).int()}),
            "conv_s.weight holds torch.int32, not numbers",
        ),
        # an older release, whose unused convolutions halve nothing
        (
            lambda s: s.update({"encoder.down.1.downsample.conv2.conv3d.bias": torch.zeros(16)}),
            r"1 unexpected \(encoder.down_blocks.1.downsamplers.0.conv2.bias\)",
        ),
    ],
)
def test_weights_must_fit(tmp_path: Path, change: Callable[[dict[str, Tensor]], object], message: str) -> None:
    state = nvidia.nvidia_names(nvidia.discrete()) | {"quantizer._levels": torch.tensor(nvidia.DISCRETE.fsq_levels)}
    change(state)
    folder = nvidia.save_model(tmp_path / "dv", state)
    with pytest.raises(CheckpointError, match=f"{message}(.|\n)*looked: {folder / 'model.pt'}"):
        import_cosmos({"tokenizer": folder}, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("option", "given", "names"),
    [
        ("decoder", nvidia.continuous, "--tokenizer or --continuous"),
        ("tokenizer", nvidia.decoder, "--decoder"),
        ("tokenizer", nvidia.transformer, "--ar"),
        ("ar", nvidia.decoder, "--decoder"),
        ("ar", nvidia.discrete, "--tokenizer or --continuous"),
    ],
)
def test_weights_of_another_download(tmp_path: Path, option: str, given: Callable, names: str) -> None:
    folder = nvidia.save_model(tmp_path / "other", nvidia.nvidia_names(given()))
    with pytest.raises(CheckpointError) as error:
        read(option, folder)
    text, page = str(error.value), f"https://huggingface.co/{PARTS[option].repository}"
    assert f"These are not the weights of --{option}: they have the names of {names}.\n" in text
    assert f"try: {names} FOLDER; --{option} takes the files of {page}" in text


@pytest.mark.parametrize(
    ("option", "files", "told"),
    [
        ("ar", [], "model.pt. The folder is empty."),
        ("ar", ["x.txt"], "model.pt. The folder holds x.txt."),
        (
            "ar",
            ["encoder.jit", "config.json"],
            "model.pt. The folder holds config.json, encoder.jit: a tokenizer, for --tokenizer or --continuous.",
        ),
        ("tokenizer", list("hgfedcba"), "autoencoder.jit. The folder holds a, b, c, d, e, f, …."),
    ],
)
def test_what_a_folder_holds_instead(tmp_path: Path, option: str, files: list[str], told: str) -> None:
    for name in files:
        (tmp_path / name).touch()
    with pytest.raises(MissingAssetError) as error:
        find_source(PARTS[option], tmp_path)
    assert told in str(error.value)


@pytest.mark.parametrize("option", PARTS)
def test_a_bundle_is_no_download(tmp_path: Path, option: str) -> None:
    (tmp_path / "my bundle").mkdir()
    (tmp_path / "my bundle" / "bundle.json").touch()
    with pytest.raises(InputError) as error:
        find_source(PARTS[option], tmp_path / "my bundle")
    said = str(error.value)
    assert f"already; --{option} takes a download of NVIDIA's.\n  looked: {tmp_path}" in said
    assert f"try: use the bundle as it is, with --bundle '{tmp_path}/my bundle'; or https://huggingface.co/" in said


def test_a_bad_second_download_leaves_the_bundle_whole(tmp_path: Path) -> None:
    original = nvidia.continuous()
    good = nvidia.save_statistics(nvidia.save_model(tmp_path / "cv", nvidia.nvidia_names(original)), original)
    bad = nvidia.save_model(tmp_path / "dd", {"net.x": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="no weight called x"):
        import_cosmos({"decoder": bad, "continuous": good}, tmp_path / "bundle")
    bundle = load_bundle(tmp_path / "bundle")
    bundle.verify()
    assert list(bundle.info.components) == ["visual_tokenizer/continuous"]
    assert (
        json.loads((tmp_path / "bundle/bundle.json").read_text())["training"]["cosmos"].keys()
        == bundle.info.components.keys()
    )
