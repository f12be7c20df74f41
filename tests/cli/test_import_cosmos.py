"""`unimo bundle import-cosmos` as a user meets it: files, messages, exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests import cosmos_downloads as nvidia
from unimo.bundle import load_bundle
from unimo.cli.main import run

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")


def unimo(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Runs `unimo bundle import-cosmos`: exit code, standard output, standard error."""
    with pytest.raises(SystemExit) as stop:
        run(["bundle", "import-cosmos", *(str(argument) for argument in arguments)])
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All three: `dv` as TorchScript, `cv` and `dd` as model.pt."""
    folder, continuous = tmp_path_factory.mktemp("downloads"), nvidia.continuous()
    nvidia.save_torchscript(folder / "dv", nvidia.nvidia_names(nvidia.discrete()), nvidia.DISCRETE.fsq_levels)
    nvidia.save_statistics(nvidia.save_model(folder / "cv", nvidia.nvidia_names(continuous)), continuous)
    nvidia.save_model(folder / "dd", nvidia.nvidia_names(nvidia.decoder()))
    return folder


def test_three_downloads_become_a_bundle(downloads: Path, tmp_path: Path, capsys) -> None:
    given = ("--tokenizer", downloads / "dv", "--continuous", downloads / "cv", "--decoder", downloads / "dd")
    given += ("--output", tmp_path / "bundle")
    code, _, err = unimo(capsys, *given)
    assert code == 2 and "only TorchScript (encoder.jit, decoder.jit)" in err and "--trust-jit" in err
    assert not (tmp_path / "bundle").exists()
    code, out, err = unimo(capsys, *given, "--trust-jit")
    assert (code, err) == (0, "")
    parts = ["visual_tokenizer/discrete", "visual_tokenizer/continuous", "diffusion_decoder"]
    assert f"diffusion_decoder: reading {downloads / 'dd' / 'model.pt'}" in out
    assert f"wrote {tmp_path / 'bundle'}, which holds {', '.join(parts)}" in out
    bundle = load_bundle(tmp_path / "bundle")
    bundle.verify()
    assert list(bundle.info.components) == parts and bundle.settings.side == 512
    for part, original in zip(parts, (nvidia.discrete(), nvidia.continuous(), nvidia.decoder()), strict=True):
        model = bundle.component(part)
        assert model.config == original.config
        for key, value in original.state_dict().items():
            statistics = key.startswith("latents_")  # keep their precision, as vectors do
            stored = value.bfloat16().float() if value.ndim > 1 and not statistics else value
            assert torch.equal(model.state_dict()[key], stored), key


def test_again_only_with_overwrite_and_quietly(downloads: Path, tmp_path: Path, capsys) -> None:
    only = ("--continuous", downloads / "cv", "--output", tmp_path / "bundle")
    assert unimo(capsys, *only, "--preset", "mini", "--quiet") == (0, "", "")
    code, _, err = unimo(capsys, *only)
    assert code == 2 and "The bundle already holds visual_tokenizer/continuous." in err and "--overwrite" in err
    assert unimo(capsys, *only, "--overwrite", "--dtype", "float32")[0] == 0
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.settings.side == 128
    weight = nvidia.continuous().quant_conv.weight
    assert torch.equal(bundle.component("visual_tokenizer/continuous").quant_conv.weight, weight)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "No download was given."),
        (("--tokenizer", "{in}/none"), "https://huggingface.co/nvidia/Cosmos-Tokenize1-DV8x16x16-720p"),
        (("--continuous", "{in}/dv"), "mean_std.pt is missing"),
        (("--decoder", "{in}/dv"), "https://huggingface.co/nvidia/Cosmos-Predict1-7B-Decoder-DV8x16x16ToCV8x8x8-720p"),
        (("--decoder", "{in}/dd/model.pt"), "takes the folder of a download, not a file"),
        (("--ar", "{in}/none"), "https://huggingface.co/nvidia/Cosmos-Predict1-4B"),
        (("--ar", "{in}/dv"), "a tokenizer, for --tokenizer or --continuous"),
        (("--ar", "{in}/dd"), "they have the names of --decoder"),
        (("--decoder", "{in}/cv"), "These are not the weights of --decoder"),
        (("--decoder", "{in}/dd", "--dtype", "int4"), "unknown dtype 'int4'"),
        (("--decoder", "{in}/dd", "--preset", "huge"), "There is no diffusion_decoder preset called 'huge'"),
    ],
)
def test_what_is_refused(downloads: Path, tmp_path: Path, capsys, arguments: tuple[str, ...], message: str) -> None:
    given = [text.replace("{in}", str(downloads)) for text in arguments]
    code, _, err = unimo(capsys, *given, "--output", tmp_path / "bundle", "--trust-jit")
    assert code == 2 and message in err and "Traceback" not in err
    assert not (tmp_path / "bundle").exists()


def test_a_transformer_joins_a_bundle(downloads: Path, tmp_path: Path, capsys) -> None:
    nvidia.save_model(tmp_path / "4b", nvidia.nvidia_names(nvidia.transformer()))
    output = ("--output", tmp_path / "bundle")
    assert unimo(capsys, "--continuous", downloads / "cv", *output)[0] == 0
    code, out, err = unimo(capsys, "--ar", tmp_path / "4b", *output)
    assert (code, err) == (0, "")
    assert f"ar_model: reading {tmp_path / '4b' / 'model.pt'}" in out
    assert "which holds visual_tokenizer/continuous, ar_model" in out
    with pytest.raises(SystemExit) as stop:
        run(["bundle", "verify", str(tmp_path / "bundle")])
    assert not stop.value.code and "ar_model: whole, 0.08 M parameters" in capsys.readouterr().out


def test_the_flag_says_what_it_does(capsys) -> None:
    code, out, _ = unimo(capsys, "--help")
    assert code == 0 and "Runs the code stored in the .jit files" in " ".join(out.replace("│", " ").split())
