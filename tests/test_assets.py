from __future__ import annotations

from pathlib import Path

import pytest

from unimo import assets
from unimo.errors import ConfigError, InputError, MissingAssetError


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small checkout: one config, one bundle, one example."""
    package = tmp_path / "root" / "unimo"
    for file in (
        "pyproject.toml",
        "configs/ar_model/mini.yaml",
        "assets/bundles/mini/bundle.json",
        "assets/examples/person.jpg",
    ):
        path = package.parent / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    monkeypatch.setattr(assets, "_PACKAGE", package)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return package.parent


def test_cache_dir_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UNIMO_CACHE", str(tmp_path))
    assert assets.cache_dir() == tmp_path
    monkeypatch.delenv("UNIMO_CACHE")
    assert assets.cache_dir() == Path.home() / ".cache" / "unimo"


def test_checkout_files_are_found(checkout: Path) -> None:
    assert assets.config_path("ar_model", "mini") == checkout / "configs/ar_model/mini.yaml"
    assert assets.bundle_path("mini") == checkout / "assets/bundles/mini"
    assert assets.example_path("person.jpg") == checkout / "assets/examples/person.jpg"


def test_an_installed_wheel_has_its_own_copies(checkout: Path) -> None:
    (checkout / "pyproject.toml").unlink()
    for file in ("_configs/ar_model/mini.yaml", "_bundles/mini/bundle.json"):
        path = checkout / "unimo" / file
        path.parent.mkdir(parents=True)
        path.write_text("{}")
    assert assets.config_path("ar_model", "mini") == checkout / "unimo/_configs/ar_model/mini.yaml"
    assert assets.bundle_path("mini") == checkout / "unimo/_bundles/mini"
    with pytest.raises(MissingAssetError, match="an installed package, which carries no examples"):
        assets.example_path("person.jpg")


def test_unknown_presets_and_kinds_suggest_a_name(checkout: Path) -> None:
    with pytest.raises(ConfigError, match="There is no ar_model preset called 'mimi'[^?]*did you mean 'mini'"):
        assets.config_path("ar_model", "mimi")
    with pytest.raises(ConfigError, match="kind of configuration called 'ar_modle'[^?]*did you mean 'ar_model'"):
        assets.config_path("ar_modle", "mini")


def test_a_folder_of_the_user_is_a_bundle_and_a_file_is_not(checkout: Path, tmp_path: Path) -> None:
    assert assets.bundle_path(tmp_path) == tmp_path
    file = tmp_path / "bundle.json"
    file.write_text("{}")
    with pytest.raises(InputError, match="is a file; a bundle is a folder that holds bundle.json"):
        assets.bundle_path(file)


def test_missing_bundles_say_where_we_looked(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingAssetError) as error:
        assets.bundle_path("huge")
    assert str(checkout / "assets/bundles/huge") in str(error.value)
    assert "'mini' (shipped), 'debug' (random weights), a folder, or a Hugging Face id owner/name" in str(error.value)
    with pytest.raises(MissingAssetError, match="there is no bundle './no/where'"):
        assets.bundle_path("./no/where")


def test_a_hub_id_that_cannot_be_fetched_names_both_places(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def offline(*_: object, **__: object) -> str:
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(MissingAssetError) as error:
        assets.bundle_path("someone/unimo-base")
    message = str(error.value)
    assert "no folder 'someone/unimo-base' here, and it could not be fetched from Hugging Face (no network)." in message
    assert "https://huggingface.co/someone/unimo-base" in message and "hf auth login" in message


def test_a_shipped_folder_of_ablations_is_found_beside_another_of_its_name(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ar_model").mkdir()
    (tmp_path / "ar_model" / "code.py").touch()
    assert (assets.ablations_path("ar_model") / "layout_frame.yaml").is_file()
    (tmp_path / "ar_model" / "mine.yaml").touch()
    assert (assets.ablations_path("ar_model") / "mine.yaml").is_file()
