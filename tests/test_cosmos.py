"""NVIDIA's downloads become components that compute the same."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tests import cosmos_downloads as nvidia
from unimo.bundle import COMPONENTS, load_bundle, save_bundle
from unimo.cosmos import LICENCE, PARTS, import_cosmos
from unimo.errors import CheckpointError, InputError
from unimo.media.diffusion import DiffusionVideoDecoder
from visual_tokenizer import (
    ContinuousVisualTokenizer,
    DiffusionSampler,
    rename_cosmos_keys,
    rename_diffusion_decoder_keys,
)
from visual_tokenizer.diffusion_keys import diffusion_decoder_sizes
from visual_tokenizer.keys import autoencoder_sizes

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
ROOT = Path(__file__).resolve().parents[1]
CASES = ROOT / "tests" / "fixtures" / "parity" / "cases"
WHOLE = Path(os.environ.get("UNIMO_SHARED", ROOT.parent / "shared")) / "parity"
needs_whole = pytest.mark.skipif(not WHOLE.is_dir(), reason="the shared folder with the whole fixtures is absent")
VIDEO = torch.rand(1, 3, 9, 32, 32, generator=torch.Generator().manual_seed(5)) * 2 - 1


def import_one(option: str, folder: Path, output: Path, trust_jit: bool = False) -> nn.Module:
    """The component of a download, imported in full precision and loaded from the bundle."""
    bundle = import_cosmos({option: folder}, output, dtype=torch.float32, trust_jit=trust_jit)
    bundle.verify()
    return load_bundle(output).component(PARTS[option].component)


def assert_same(model: nn.Module, original: nn.Module) -> None:
    assert model.config == original.config
    expected = original.state_dict()
    assert model.state_dict().keys() == expected.keys()
    for key, value in model.state_dict().items():
        assert torch.equal(value, expected[key]), key


# ---------------------------------------------------------------------- what is right


@torch.no_grad()
def test_all_three_come_from_model_pt_and_compute_the_same(tmp_path: Path) -> None:
    originals = nvidia.discrete(), nvidia.continuous(), nvidia.decoder()
    extra = {"net.blocks.block0.blocks.0.block.attn._extra_state": torch.zeros(3, dtype=torch.uint8)}
    folders = {
        "tokenizer": nvidia.save_model(tmp_path / "dv", nvidia.nvidia_names(originals[0])),
        "continuous": nvidia.save_model(tmp_path / "cv", {"model": nvidia.nvidia_names(originals[1])}),
        "decoder": nvidia.save_model(tmp_path / "dd", nvidia.nvidia_names(originals[2]) | extra),
    }
    nvidia.save_statistics(tmp_path / "cv", originals[1])
    # the number of levels is the file's, the values are not stored in model.pt: those of a preset
    with pytest.raises(CheckpointError, match=r"3 channels are quantised, to levels \(8, 8, 8, 5, 5, 5\)"):
        import_cosmos(folders, tmp_path / "bundle")
    weights = torch.load(tmp_path / "dv/model.pt") | {"quantizer._levels": torch.tensor([8, 3, 5])}
    nvidia.save_model(tmp_path / "dv", {f"network.{key}": value for key, value in weights.items()})

    told: list[str] = []
    import_cosmos(folders, tmp_path / "bundle", dtype=torch.float32, report=told.append)
    assert [line.split(":")[0] for line in told] == [PARTS[option].component for option in folders]
    bundle = load_bundle(tmp_path / "bundle")
    bundle.verify()
    discrete, continuous, decoder = (bundle.component(PARTS[option].component) for option in folders)
    for model, original in zip((discrete, continuous, decoder), originals, strict=True):
        assert_same(model, original)
    assert torch.equal(discrete.encode(VIDEO), originals[0].encode(VIDEO))
    assert torch.equal(discrete(VIDEO)[0], originals[0](VIDEO)[0])
    latents = continuous.encode(VIDEO)
    assert torch.equal(continuous.normalize(latents), originals[1].normalize(originals[1].encode(VIDEO)))
    noisy, ids, text = torch.randn(1, 5, 2, 8, 8), torch.randint(0, 120, (1, 2, 4, 4)), torch.randn(1, 6, 10)
    outputs = [each(noisy, torch.tensor([0.3]), ids, text) for each in (decoder, originals[2])]
    assert torch.equal(*outputs) and outputs[0].std() > 0


@pytest.mark.parametrize("whole", [False, True], ids=["encoder and decoder", "autoencoder"])
def test_torchscript(tmp_path: Path, whole: bool) -> None:
    original, other = nvidia.discrete(), nvidia.continuous()
    dv = nvidia.save_torchscript(tmp_path / "dv", nvidia.nvidia_names(original), nvidia.DISCRETE.fsq_levels, whole)
    cv = nvidia.save_torchscript(tmp_path / "cv", nvidia.nvidia_names(other), whole=whole)
    nvidia.save_statistics(cv, other)
    names = ["autoencoder.jit"] if whole else ["decoder.jit", "encoder.jit"]
    assert sorted(path.name for path in dv.iterdir()) == names
    assert_same(import_one("tokenizer", dv, tmp_path / "bundle", trust_jit=True), original)
    assert_same(import_one("continuous", cv, tmp_path / "bundle", trust_jit=True), other)


def test_model_pt_is_preferred_to_torchscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = nvidia.continuous()
    folder = nvidia.save_statistics(nvidia.save_model(tmp_path / "cv", nvidia.nvidia_names(original)), original)
    nvidia.save_torchscript(folder, nvidia.nvidia_names(original), whole=True)
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("TorchScript was loaded"))
    assert_same(import_one("continuous", folder, tmp_path / "bundle", trust_jit=True), original)


@pytest.mark.parametrize("option", ["tokenizer", "continuous", "decoder"])
def test_released_sizes_are_read_off_the_weights(option: str) -> None:
    """Sizes of NVIDIA's releases, 7 billion weights too: without memory, from weights of the right shapes."""
    kind = COMPONENTS[PARTS[option].component]
    config = kind.preset("base")
    with torch.device("meta"):
        names = nvidia.nvidia_names(kind.build(config))
    if option == "decoder":
        assert sum(value.numel() for value in names.values()) > 7e9
        found = diffusion_decoder_sizes(rename_diffusion_decoder_keys(names), config.patch_size)
        wanted = {"num_blocks": 28, "num_heads": 32, "head_dim": 128, "latent_channels": 16, "num_ids": 64000}
        wanted |= {"token_dim": 32, "text_dim": 1024, "adaln_lora_dim": 256, "mlp_ratio": 4.0}
    else:
        found = autoencoder_sizes(rename_cosmos_keys(names))
        wanted = {"channels": 128, "channel_multipliers": (2, 4, 4), "num_res_blocks": 2, "z_channels": 16}
    assert found == wanted == {key: getattr(config, key) for key in wanted}


def test_bfloat16_weights_stay_what_they_are(tmp_path: Path) -> None:
    original = nvidia.continuous()
    state = {key: value.bfloat16() for key, value in nvidia.nvidia_names(original).items()}
    folder = nvidia.save_statistics(nvidia.save_model(tmp_path / "cv", state), original)
    import_cosmos({"continuous": folder}, tmp_path / "bundle")
    stored = load_file(tmp_path / "bundle/visual_tokenizer/continuous/model.safetensors")
    statistics = {"latents_mean", "latents_std"}  # keep their precision
    assert {value.dtype for key, value in stored.items() if key not in statistics} == {torch.bfloat16}
    expected = original.state_dict()
    assert all(torch.equal(value, expected[key].to(value.dtype)) for key, value in stored.items())
    assert all(stored[key].dtype == torch.float32 for key in statistics)


def test_a_bundle_keeps_what_it_has(tmp_path: Path) -> None:
    debug = load_bundle("debug")
    output = tmp_path / "bundle"
    parts = {"motion_tokenizer": debug.motion_tokenizer, "visual_tokenizer/discrete": debug.visual_tokenizer}
    save_bundle(output, "mine", debug.settings, parts, {"steps": 3}, "CC0-1.0")
    kept = {file: file.read_bytes() for file in (output / "motion_tokenizer").iterdir()}
    levels = {"quantizer._levels": torch.tensor(nvidia.DISCRETE.fsq_levels)}
    folder = nvidia.save_model(tmp_path / "dv", nvidia.nvidia_names(nvidia.discrete()) | levels)
    before = (output / "bundle.json").read_bytes()
    with pytest.raises(InputError, match="The bundle already holds visual_tokenizer/discrete(.|\n)*--overwrite"):
        import_cosmos({"tokenizer": folder}, output)
    assert (output / "bundle.json").read_bytes() == before
    for _ in range(2):
        info = import_cosmos({"tokenizer": folder}, output, overwrite=True).info
    assert {file: file.read_bytes() for file in (output / "motion_tokenizer").iterdir()} == kept
    assert (info.name, info.settings, info.training["steps"]) == ("mine", debug.settings, 3)
    assert info.licence == f"CC0-1.0; components listed under training.cosmos: {LICENCE}"
    assert set(info.components) == set(parts)
    assert load_bundle(output).visual_tokenizer.config == nvidia.DISCRETE


def test_a_new_bundle_says_where_its_weights_are_from(tmp_path: Path) -> None:
    original = nvidia.continuous()
    folder = nvidia.save_statistics(nvidia.save_model(tmp_path / "cv", nvidia.nvidia_names(original)), original)
    info = import_cosmos({"continuous": folder}, tmp_path / "cosmos").info
    assert (info.name, info.licence, info.settings.frames, info.settings.side) == ("cosmos", LICENCE, 65, 512)
    record = info.training["cosmos"]["visual_tokenizer/continuous"]
    assert record["from"] == "https://huggingface.co/nvidia/Cosmos-Tokenize1-CV8x8x8-720p"
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("model.pt", "mean_std.pt")}
    assert {name: file["sha256"] for name, file in record["files"].items()} == digests


# ---------------------------------------------------------------------- the reference's numbers


def reference(folder: Path, name: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A fixture's tensors, and its weights under NVIDIA's names."""
    tensors = load_file(folder / f"{name}.safetensors")
    return tensors, {key[3:]: value for key, value in tensors.items() if key.startswith("sd.")}


def other_half(original: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """A fixture's weights, where it has one half of a tokenizer alone with a random other one."""
    return nvidia.nvidia_names(nvidia.random_weights(original)) | weights


def build(option: str, **sizes: object) -> nn.Module:
    kind = COMPONENTS[PARTS[option].component]
    return kind.build(kind.config_class(**sizes))


@torch.no_grad()
@pytest.mark.parametrize("folder", [CASES, pytest.param(WHOLE, marks=needs_whole)], ids=["committed", "whole"])
def test_discrete_fixture(tmp_path: Path, folder: Path) -> None:
    tensors, weights = reference(folder, "dv8x16x16_tiny")
    state = other_half(build("tokenizer", channels=8), weights)
    model = import_one("tokenizer", nvidia.save_model(tmp_path / "dv", state), tmp_path / "bundle")
    for clip in ("t1", "t9") if folder == WHOLE else ("t1",):
        drawn, ids = model(tensors[f"{clip}.in.video"])
        assert torch.equal(ids, tensors[f"{clip}.out.indices"].long())
        if folder == WHOLE:
            torch.testing.assert_close(drawn, tensors[f"{clip}.out.reconstruction"], atol=1e-3, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("folder", [CASES, pytest.param(WHOLE, marks=needs_whole)], ids=["committed", "whole"])
def test_continuous_fixture(tmp_path: Path, folder: Path) -> None:
    tensors, weights = reference(folder, "cv8x8x8_tiny")
    original = build("continuous", channels=8)
    download = nvidia.save_model(tmp_path / "cv", other_half(original, weights))
    nvidia.save_statistics(download, original)  # type: ignore[arg-type]
    model = import_one("continuous", download, tmp_path / "bundle")
    for clip in ("t1", "t9"):
        video = model.decode_latents(tensors[f"{clip}.in.random_latent"])
        torch.testing.assert_close(video, tensors[f"{clip}.out.video_of_random_latent"], atol=1e-3, rtol=0)
        if folder == WHOLE:
            drawn, latents = model(tensors[f"{clip}.in.video"])
            torch.testing.assert_close(latents, tensors[f"{clip}.out.latent"], atol=1e-4, rtol=0)
            torch.testing.assert_close(drawn, tensors[f"{clip}.out.reconstruction"], atol=1e-3, rtol=0)


@torch.no_grad()
def test_decoder_fixture(tmp_path: Path) -> None:
    tensors, weights = reference(CASES, "diffusion_decoder_tiny")
    model = import_one("decoder", nvidia.save_model(tmp_path / "dd", weights), tmp_path / "bundle")
    inputs = (tensors["in.x"], tensors["in.timestep"], tensors["in.tokens"][:, 0], tensors["in.context"], 24.0)
    torch.testing.assert_close(model(*inputs), tensors["out.net_cond"], atol=1e-3, rtol=0)


def test_the_general_prompt_is_kept_and_read_where_there_is_no_text(tmp_path: Path) -> None:
    names = nvidia.nvidia_names(nvidia.decoder())
    plain = import_one("decoder", nvidia.save_model(tmp_path / "dd", names), tmp_path / "plain")
    prompt = nvidia.save_prompt(tmp_path / "dd")
    model = import_one("decoder", tmp_path / "dd", tmp_path / "bundle")
    assert plain.prompt is None and torch.equal(model.prompt, prompt) and model.config.prompt_tokens == 4

    tokenizer = nvidia.random_weights(ContinuousVisualTokenizer(nvidia.CONTINUOUS))
    ids, noise = torch.randint(120, (1, 2, 2, 2)), torch.randn(1, 5, 2, 4, 4)
    drawn = [DiffusionVideoDecoder(each, tokenizer, 24.0).decode(ids, [0], steps=2) for each in (model, plain)]
    assert not np.array_equal(*drawn)
    text = DiffusionSampler(model).sample(ids, noise, prompt[None], steps=2)
    assert not torch.allclose(text, DiffusionSampler(model).sample(ids, noise, steps=2))


def test_a_prompt_of_another_width_is_refused(tmp_path: Path) -> None:
    nvidia.save_model(tmp_path / "dd", nvidia.nvidia_names(nvidia.decoder()))
    nvidia.save_prompt(tmp_path / "dd", channels=11)
    with pytest.raises(CheckpointError, match="aux_vars.pt holds text states of 11 channels; the decoder reads 10"):
        import_cosmos({"decoder": tmp_path / "dd"}, tmp_path / "bundle")
