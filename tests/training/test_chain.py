"""The whole chain at debug size: mocap in, a bundle out that loads; a second call trains nothing; weights are kept."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from unimo.assets import config_path
from unimo.bundle import load_bundle, save_bundle
from unimo.config import load_config, to_dict
from unimo.errors import InputError
from unimo.motion.library import MotionLibrary
from unimo.synth.gait import gait_library
from unimo.synth.scene import VALIDATION_SEED
from unimo.training.ar import ArTrainingConfig
from unimo.training.chain import STAGES, Chain
from unimo.training.loop import Trainer
from unimo.training.motion_tokenizer import MotionTokenizerTrainingConfig
from unimo.training.sweep import Ablation, run_sweep
from unimo.training.work_folder import PARTS, ChainConfig

SMALL = ["data.windows=4", "data.validation_windows=2", "optimization.steps=2"]
TRAIN, VALIDATION = Path("train"), Path("validation")


def walks(sources: list[Path], *_: Any, **__: Any) -> MotionLibrary:
    """Stands in for retargeting: other walkers for other sources."""
    walkers = gait_library(4, seconds=3.0)
    return MotionLibrary({TRAIN: walkers[:2], VALIDATION: walkers[2:]}[sources[0]])


@dataclass
class Finished:
    config: ChainConfig
    told: list[tuple[str, float]]


@pytest.fixture
def mocap(monkeypatch: pytest.MonkeyPatch, inline_pool: None) -> None:
    monkeypatch.setattr(MotionLibrary, "from_files", staticmethod(walks))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chain")


@pytest.fixture
def finished(work: Path, mocap: None) -> Finished:
    """The chain's work folder; the first test that asks for it runs all stages."""
    config = ChainConfig(
        [TRAIN], [VALIDATION], work / "work", work / "bundle", "debug", clips=3, validation_clips=2,
        minutes={"probe": 1e-4},
    )  # fmt: skip
    told: list[tuple[str, float]] = []
    if not (work / "bundle" / "bundle.json").is_file():
        keep_config(config.work, "motion-tokenizer", MotionTokenizerTrainingConfig, "motion_tokenizer", SMALL)
        Chain(config, lambda stage, done, text: told.append((stage, done))).run()
        (work / "told.json").write_text(json.dumps(told))
    return Finished(config, [tuple(item) for item in json.loads((work / "told.json").read_text())])


def keep_config(folder: Path, stage: str, cls: type, kind: str, overrides: list[str]) -> None:
    config = load_config(cls, config_path(kind, "debug"), overrides)
    (folder / stage).mkdir(parents=True)
    (folder / stage / "config.json").write_text(json.dumps(to_dict(config)))


def test_every_stage_leaves_its_result_and_the_bundle_loads(finished) -> None:
    chain = Chain(finished.config)
    assert [stage for stage, done in finished.told if done == 1.0 and stage != "clips"][-1] == "bundle"
    assert list(dict.fromkeys(stage for stage, _ in finished.told)) == list(STAGES)
    assert chain.pack("train").seeds == [0, 1, 2]
    assert chain.pack("validation").seeds == [VALIDATION_SEED, VALIDATION_SEED + 1]
    assert set(chain.pack("train").subjects) <= {"gait000", "gait001"}
    assert set(chain.pack("validation").subjects) <= {"gait002", "gait003"}
    assert len(chain.tokens("train")) == 3 and len(chain.tokens("validation")) == 2
    assert set(load_bundle(finished.config.work / "bundle").info.components) == {"motion_tokenizer"}
    bundle = load_bundle(finished.config.bundle)
    bundle.verify()
    assert bundle.settings == chain.settings and bundle.info.name == "bundle"
    training = bundle.info.training
    assert training["clips"] == 3 and len(training["constant_pose"]["pose"]) == 22
    assert training["probe"]["constant_pose.mpjpe_mm"] > 0
    assert {stage: row["step"] for stage, row in training["stages"].items()} == {
        "motion-tokenizer": 2, "visual-tokenizer": 4, "continuous-tokenizer": 4, "diffusion-decoder": 4, "ar": 4,
    }  # fmt: skip


def test_the_bundle_holds_the_trained_weights_and_not_fresh_ones(finished) -> None:
    bundle = load_bundle(finished.config.bundle)
    shipped = {stage: bundle.component(part.component) for stage, part in PARTS.items()}
    for stage, model in shipped.items():
        trained = load_file(finished.config.work / f"{stage}.safetensors")
        assert trained.keys() == model.state_dict().keys()
        for key, value in model.state_dict().items():
            assert torch.allclose(value.float(), trained[key].float(), rtol=2e-3, atol=1e-4), (stage, key)
    fresh, visual = load_bundle("debug").visual_tokenizer.state_dict(), shipped["visual-tokenizer"].state_dict()
    assert any(not torch.allclose(fresh[key], value, atol=1e-2) for key, value in visual.items())


def test_ablations_of_the_transformer_run_on_the_chains_tokens(finished, tmp_path: Path) -> None:
    study = Chain(finished.config).ar_study()
    change = {"motion_layout": "frame", "depth": {"dim": 24, "layers": 1, "heads": 2, "ffn_hidden": 32, "code_dim": 4}}
    ablations = {"frame": Ablation({"Layout": "frame"}, change={"model": change})}
    base, short = config_path("ar_model", "debug"), ["optimization.steps=1"]
    table = run_sweep(study, ablations, base, short, [0], 5, tmp_path)
    assert "| frame | 1 | 1 |" in table.read_text() and "not run" not in table.read_text()
    result = json.loads((tmp_path / "frame" / "seed_0" / "result.json").read_text())
    assert result["capture.mpjpe_mm"] > 0 and result["v2m.motion_loss"] > 1


def test_tokens_are_those_of_the_trained_tokenizers(finished) -> None:
    chain = Chain(finished.config)
    tokens = chain.tokens("validation")
    with torch.inference_mode():
        ids = chain.motion_tokenizer().encode(torch.from_numpy(tokens.features))
    assert np.array_equal(ids.numpy(), tokens.motion_ids)


def test_a_second_call_trains_and_draws_nothing_again(finished, monkeypatch) -> None:
    def not_again(*_: object) -> None:
        raise AssertionError("done again")

    weights = load_bundle(finished.config.bundle).ar_model.state_dict()
    monkeypatch.setattr(Trainer, "_train_step", not_again)
    monkeypatch.setattr("unimo.data.pack.render_clips", not_again)
    monkeypatch.setattr("unimo.training.chain.tokenize_pack", not_again)
    Chain(finished.config).run(["clips", "tokens", "ar", "bundle"])
    again = load_bundle(finished.config.bundle).ar_model.state_dict()
    assert all(torch.equal(weights[key], again[key]) for key in weights)


def test_training_starts_from_the_weights_of_a_bundle(finished, tmp_path) -> None:
    model = load_bundle(finished.config.bundle).ar_model
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5)
    bundle = load_bundle(finished.config.bundle)
    tokenizers = {"motion_tokenizer": bundle.motion_tokenizer, "visual_tokenizer/discrete": bundle.visual_tokenizer}
    save_bundle(tmp_path / "start", "start", bundle.settings, {"ar_model": model, **tokenizers})
    shutil.copytree(finished.config.work / "packs", tmp_path / "packs")
    still = ["optimization.steps=1", "optimization.learning_rate=1e-9", "optimization.weight_decay=0"]
    still.append("data.reading_steps=5")
    keep_config(tmp_path, "ar", ArTrainingConfig, "ar_model", still)
    Chain(replace(finished.config, work=tmp_path, start_from=str(tmp_path / "start"))).run(["tokens", "ar"])
    trained, start = load_file(tmp_path / "ar.safetensors"), load_bundle(tmp_path / "start").ar_model.state_dict()
    assert all(torch.allclose(start[key], trained[key], atol=1e-6) for key in start)
    # the kept config says that the reading steps were skipped
    assert json.loads((tmp_path / "ar" / "config.json").read_text())["data"]["reading_steps"] == 0


def test_tokens_of_other_tokenizers_are_refused_and_made_anew(finished, tmp_path) -> None:
    shutil.copytree(finished.config.work, tmp_path / "work")
    chain = Chain(replace(finished.config, work=tmp_path / "work"))
    path = tmp_path / "work" / "motion-tokenizer.safetensors"
    weights = load_file(path)
    save_file({key: value + 0.1 if key.startswith("encoder") else value for key, value in weights.items()}, path)
    with pytest.raises(InputError, match="trained on after the tokens were made"):
        chain.tokens("train")
    chain.run(["tokens"])
    assert len(chain.tokens("train")) == 3


def test_a_subject_in_both_sets_is_refused(mocap, tmp_path) -> None:
    config = ChainConfig([TRAIN], [TRAIN], tmp_path, tmp_path / "bundle", "debug")
    with pytest.raises(InputError, match="2 subjects are in both .* gait000, gait001"):
        Chain(config).run(["clips"])
    assert not (tmp_path / "packs").exists()


def test_tokens_before_tokenizers_say_which_stage_is_missing(finished, tmp_path) -> None:
    shutil.copytree(finished.config.work / "packs", tmp_path / "packs")
    with pytest.raises(InputError, match="visual-tokenizer must be trained in the work folder first"):
        Chain(replace(finished.config, work=tmp_path)).run(["tokens"])


def test_a_bundle_is_not_sealed_from_a_transformer_of_other_tokens(finished, tmp_path) -> None:
    work = tmp_path / "work"
    shutil.copytree(finished.config.work, work)
    (work / "ar" / "tokenizers.txt").write_text("others")
    chain = Chain(replace(finished.config, work=work, bundle=tmp_path / "bundle"))
    for stage in ("ar", "bundle"):
        with pytest.raises(InputError, match="ar was trained on tokens of other tokenizers"):
            chain.run([stage])
    assert not (tmp_path / "bundle").exists()


def test_shipped_weights_skip_the_first_reading_steps(finished, tmp_path) -> None:
    overrides = ["data.reading_steps=5", "data.reading_every=3"]
    wanted = load_config(ArTrainingConfig, config_path("ar_model", "debug"), overrides)
    config = replace(finished.config, work=tmp_path, training={"ar": wanted})
    assert Chain(config)._training_config("ar").data.reading_steps == 5
    started = Chain(replace(config, start_from="debug"))._training_config("ar").data
    assert (started.reading_steps, started.reading_every) == (0, 3)


FRAME = ["model.motion_layout=frame", "model.depth={dim: 24, layers: 1, heads: 2, ffn_hidden: 32, code_dim: 4}"]


def test_the_other_motion_layout_starts_from_the_rest_of_a_bundles_transformer(finished, tmp_path) -> None:
    overrides = [*FRAME, "data.reading_steps=1", "optimization.steps=1", "optimization.learning_rate=1e-9"]
    wanted = load_config(ArTrainingConfig, config_path("ar_model", "debug"), overrides)
    work = tmp_path / "work"
    shutil.copytree(finished.config.work, work, ignore=shutil.ignore_patterns("ar*"))
    config = replace(finished.config, work=work, training={"ar": wanted}, start_from=str(finished.config.bundle))
    chain = Chain(config)
    assert chain._training_config("ar").data.reading_steps == 1  # its motion parts have not learned to read
    chain.run(["ar"])
    mine, earlier = load_file(work / "ar.safetensors"), load_bundle(finished.config.bundle).ar_model.state_dict()
    assert torch.allclose(mine["layers.0.attention.wq.weight"], earlier["layers.0.attention.wq.weight"], atol=1e-5)
    assert "depth.output.weight" in mine and "motion_output.weight" not in mine


def test_a_run_does_not_go_on_with_another_network(finished, tmp_path) -> None:
    work = tmp_path / "work"
    shutil.copytree(finished.config.work, work)
    kept = (work / "ar" / "config.json").read_text()
    for overrides in (FRAME, ["model.unified_rope=true"]):
        wanted = load_config(ArTrainingConfig, config_path("ar_model", "debug"), overrides)
        with pytest.raises(InputError, match="checkpoints here are of another network"):
            Chain(replace(finished.config, work=work, training={"ar": wanted})).run(["ar"])
    assert (work / "ar" / "config.json").read_text() == kept
