from __future__ import annotations

import json
import shutil
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from unimo import weights
from unimo.bundle import COMPONENTS, Bundle, BundleSettings, load_bundle, save_bundle, save_component, seal_bundle
from unimo.errors import CheckpointError, ConfigError

PARTS = {
    "motion_tokenizer",
    "visual_tokenizer/discrete",
    "visual_tokenizer/continuous",
    "diffusion_decoder",
    "ar_model",
}


def models(bundle: Bundle) -> dict[str, torch.nn.Module]:
    return {name: bundle.component(name) for name in PARTS}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    debug = load_bundle("debug")
    folder = tmp_path_factory.mktemp("bundle")
    save_bundle(folder, "test", debug.settings, models(debug), {"steps": 3}, "CC0-1.0")
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "bundle"))


def reseal(folder: Path) -> None:
    seal_bundle(folder, "test", load_bundle("debug").settings)


def test_debug_is_the_same_every_time_and_leaves_the_random_state_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, second = models(load_bundle("debug")), models(load_bundle("debug"))
    assert torch.rand(1) == expected
    for name, model in first.items():
        assert not model.training
        for key, value in model.state_dict().items():
            assert torch.equal(value, second[name].state_dict()[key]), key


def test_debug_vocabularies_fit_together() -> None:
    debug = load_bundle("debug")
    assert debug.ar_model.config.visual_ids == debug.visual_tokenizer.num_ids
    assert debug.ar_model.config.motion_ids == debug.motion_tokenizer.config.codebook_size


def test_a_saved_bundle_comes_back(saved: Path) -> None:
    bundle, debug = load_bundle(saved), load_bundle("debug")
    bundle.verify()
    assert bundle.settings == debug.settings
    assert (bundle.info.name, bundle.info.training, bundle.info.licence) == ("test", {"steps": 3}, "CC0-1.0")
    for name, model in models(bundle).items():
        original = models(debug)[name]
        assert model.config == original.config
        for key, value in model.state_dict().items():
            wanted = original.state_dict()[key]
            assert value.dtype == wanted.dtype
            if wanted.ndim < 2:
                assert torch.equal(value, wanted), key
            else:
                assert torch.allclose(value.float(), wanted.float(), rtol=1e-3, atol=1e-6), key


def test_saving_what_was_loaded_changes_no_byte(saved: Path, tmp_path: Path) -> None:
    bundle = load_bundle(saved)
    again = save_bundle(tmp_path, "test", bundle.settings, models(bundle), {"steps": 3}, "CC0-1.0")
    assert again.info == bundle.info
    assert again.sha256 == bundle.sha256


def test_large_components_are_sharded_and_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    debug = load_bundle("debug")
    save_component(tmp_path, "ar_model", debug.ar_model)
    monkeypatch.setattr(weights, "SHARD_BYTES", 500_000 + 20_000)
    save_component(tmp_path, "ar_model", debug.ar_model)
    reseal(tmp_path)
    shards = sorted((tmp_path / "ar_model").glob("*.safetensors"))
    assert len(shards) > 2 and not (tmp_path / "ar_model/model.safetensors").exists()
    index = json.loads((tmp_path / "ar_model/model.safetensors.index.json").read_text())
    assert index["weight_map"].keys() == debug.ar_model.state_dict().keys()
    assert set(index["weight_map"].values()) == {shard.name for shard in shards}
    loaded = load_bundle(tmp_path).ar_model
    assert torch.equal(loaded.norm.weight, debug.ar_model.norm.weight)


def test_one_shard_is_in_memory_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[weakref.ref[torch.Tensor]] = []
    counts = []

    def record(tensors: dict[str, torch.Tensor], path: Path) -> None:
        counts.append(sum(reference() is not None for reference in alive))
        alive.extend(weakref.ref(value) for value in tensors.values())
        save_file(tensors, path)

    monkeypatch.setattr(weights, "SHARD_BYTES", 500_000 + 20_000)
    monkeypatch.setattr(weights, "save_file", record)
    save_component(tmp_path, "ar_model", load_bundle("debug").ar_model)
    assert len(counts) > 2 and set(counts) == {0}


def test_tied_weights_are_written_twice(tmp_path: Path) -> None:
    model = load_bundle("debug").ar_model
    model.output.weight = model.tok_embeddings.weight
    save_component(tmp_path, "ar_model", model)
    reseal(tmp_path)
    loaded = load_bundle(tmp_path).ar_model
    assert torch.equal(loaded.output.weight, loaded.tok_embeddings.weight)
    assert loaded.output.weight.data_ptr() != loaded.tok_embeddings.weight.data_ptr()


@pytest.mark.parametrize("name", sorted(PARTS))
def test_loading_fills_every_tensor(saved: Path, name: str) -> None:
    whole, half = (load_bundle(saved).component(name, dtype) for dtype in (torch.float32, torch.bfloat16))
    built = COMPONENTS[name].build(whole.config)
    expected = dict(built.named_parameters()) | dict(built.named_buffers())
    for model, dtype in ((whole, torch.float32), (half, torch.bfloat16)):
        found = dict(model.named_parameters()) | dict(model.named_buffers())
        assert found.keys() == expected.keys() and not model.training
        for key, value in found.items():
            wanted = expected[key]
            assert value.device.type == "cpu" and value.is_contiguous() and value.data_ptr() % 64 == 0, key
            assert value.dtype == (dtype if wanted.is_floating_point() else wanted.dtype), key
            assert value.requires_grad == wanted.requires_grad, key
    for key, value in half.state_dict().items():
        assert torch.equal(value, whole.state_dict()[key].to(value.dtype)), key


def test_without_weights_other_threads_build_as_ever() -> None:
    with weights.without_weights():
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(torch.nn.Linear, 2, 2).result()
        mine = torch.nn.Linear(2, 2)
    assert mine.weight.is_meta and not other.weight.is_meta and not torch.nn.Linear(2, 2).weight.is_meta


def test_a_stored_dtype_is_chosen_by_the_numbers() -> None:
    matrix = torch.tensor([[1.0, -1e5]])
    assert weights._stored_dtype(matrix, torch.float16) == torch.float32
    assert weights._stored_dtype(-matrix, torch.float16) == torch.float32
    assert weights._stored_dtype(torch.tensor([[1.0, float("nan")]]), torch.float16) == torch.float32
    assert weights._stored_dtype(matrix, torch.bfloat16) == torch.bfloat16
    assert weights._stored_dtype(matrix[0], torch.bfloat16) == torch.float32
    assert weights._stored_dtype(matrix.long(), torch.bfloat16) == torch.int64


def test_values_beyond_half_precision_are_kept(tmp_path: Path) -> None:
    model = load_bundle("debug").ar_model
    with torch.no_grad():
        model.output.weight[0, 0] = 1e6
    save_component(tmp_path, "ar_model", model)
    reseal(tmp_path)
    assert load_bundle(tmp_path).ar_model.output.weight[0, 0] == 1e6


def test_a_changed_file_is_refused_by_name(folder: Path) -> None:
    file = folder / "ar_model/model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    bundle = load_bundle(folder)
    for act in (lambda: bundle.ar_model, bundle.verify):
        with pytest.raises(CheckpointError) as error:
            act()
        assert "model.safetensors differs from what bundle.json records (sha256 or size)" in str(error.value)
        assert str(file) in str(error.value)
    assert bundle.motion_tokenizer is not None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda data: data[:-100], "model.safetensors is cut off or damaged."),
        (lambda data: data[:7], "model.safetensors is no safetensors file."),
        (lambda data: b"", "model.safetensors is empty."),
        (lambda data: b"version https://git-lfs.github.com/spec/v1\n", "model.safetensors is a pointer of Git LFS"),
        (lambda data: b"<html>", "model.safetensors is a web page, not a download."),
        (lambda data: data[:9] + b"!" + data[10:], "model.safetensors is cut off or damaged."),
    ],
)
def test_weights_that_cannot_be_read_say_what_they_are(folder: Path, content, message: str) -> None:
    file = folder / "ar_model/model.safetensors"
    file.write_bytes(content(file.read_bytes()))
    reseal(folder)
    bundle = load_bundle(folder)
    for act in (lambda: bundle.ar_model, lambda: bundle.parameters("ar_model")):
        with pytest.raises(CheckpointError) as error:
            act()
        said = str(error.value)
        assert f"The weights cannot be read: {message}" in said and f"looked: {file}\n  try: fetch" in said
        assert "deserializing" not in said and "header" not in said


def test_parameters_are_counted_without_reading_weights(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = load_bundle(saved)
    states = {name: model.state_dict() for name, model in models(bundle).items()}
    wanted = {name: sum(value.numel() for value in state.values()) for name, state in states.items()}
    monkeypatch.setattr(weights, "load_file", lambda *_: pytest.fail("weights were read"))
    assert {name: bundle.parameters(name) for name in PARTS} == wanted
    assert load_bundle("debug").parameters("ar_model") == 0


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "ar_model/model.safetensors").unlink()
    with pytest.raises(
        CheckpointError, match=r"A file of the bundle is missing.\n  looked: .*ar_model/model.safetensors"
    ):
        _ = load_bundle(folder).ar_model


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("norm.weight"), r"1 missing \(norm.weight\)"),
        (lambda t: t.update(extra=torch.zeros(1)), r"1 unexpected \(extra\)"),
        (lambda t: t.update({"norm.weight": torch.zeros(3)}), r"1 of another shape \(norm.weight\)"),
    ],
)
def test_tensors_must_fit_exactly(folder: Path, change, message: str) -> None:
    file = folder / "ar_model/model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)
    reseal(folder)
    with pytest.raises(CheckpointError, match=f"The weights do not fit the model: {message}.*\n  looked: .*ar_model"):
        _ = load_bundle(folder).ar_model


def test_an_unknown_key_of_a_component_config_is_a_config_error(folder: Path) -> None:
    file = folder / "ar_model/config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "laiers": 3}))
    reseal(folder)
    with pytest.raises(ConfigError, match=r"Unknown configuration key 'laiers'[^?]*did you mean 'layers'\?"):
        _ = load_bundle(folder).ar_model


def test_a_component_that_is_not_there(folder: Path) -> None:
    shutil.rmtree(folder / "ar_model")
    reseal(folder)
    with pytest.raises(
        CheckpointError, match=r"no component 'ar_model' \(it has: motion_tokenizer, visual_tokenizer/disc"
    ):
        _ = load_bundle(folder).ar_model


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "bundle.json cannot be understood: "),
        ("[1]", "bundle.json cannot be understood: a mapping is wanted, not a list"),
        ("{}", "be understood: format_version is missing; name is missing; settings is missing.\n  looked: "),
    ],
)
def test_malformed_bundle_json(folder: Path, text: str, message: str) -> None:
    (folder / "bundle.json").write_text(text)
    with pytest.raises(CheckpointError) as error:
        load_bundle(folder)
    assert message in str(error.value) and str(folder / "bundle.json") in str(error.value)


def test_a_newer_format_asks_for_an_update(folder: Path) -> None:
    content = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps({**content, "format_version": 9}))
    with pytest.raises(CheckpointError, match="has format 9; this version of UniMo reads format 1(.|\n)*update UniMo"):
        load_bundle(folder)


def test_a_file_outside_the_bundle_is_refused(folder: Path) -> None:
    content = json.loads((folder / "bundle.json").read_text())
    content["components"]["ar_model"]["../../secret"] = {"size": 1, "sha256": "0"}
    (folder / "bundle.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="bundle.json names a file outside its component: '../../secret'"):
        load_bundle(folder).verify()


def test_a_folder_without_bundle_json(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="The folder holds no bundle.json, so it is no bundle."):
        load_bundle(tmp_path)


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match=r"frames must be 1 \+ 8n with n >= 1, not 16"):
        BundleSettings(15, 16, 128, 1.2)
    with pytest.raises(ValueError, match="body must be open or smplx"):
        BundleSettings(15, 17, 128, 1.2, "smpl")


def test_unknown_component_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="There is no component called 'brain'"):
        save_component(tmp_path, "brain", torch.nn.Linear(1, 1))
    assert set(COMPONENTS) == PARTS
