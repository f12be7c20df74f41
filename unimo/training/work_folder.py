"""The work folder of the training chain: what its stages have left there, and how each of them trains and resumes.

In: a `ChainConfig`. Out: packs, tokens, latents and trained parts by name. A part that was not trained here is taken
from the bundle that the training starts from.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from ar_model import ARConfig, UniMoTransformer
from motion_tokenizer import MotionVQVAE
from unimo.assets import config_path
from unimo.bundle import COMPONENTS, Bundle, BundleSettings, load_bundle
from unimo.config import load_config, to_dict
from unimo.data.latents import LatentPack
from unimo.data.pack import ClipPack
from unimo.data.token_folder import Preparation
from unimo.data.tokens import TokenPack, weights_hash
from unimo.errors import CheckpointError, ConfigError, InputError, MissingAssetError
from unimo.files import atomic_write
from unimo.synth.scene import SceneConfig
from unimo.training import parallel
from unimo.training.ar import ArTrainingConfig
from unimo.training.checkpoint import checkpoint_paths
from unimo.training.code_start import fitting_state
from unimo.training.config import OptimizationConfig
from unimo.training.continuous_tokenizer import ContinuousTokenizerTrainingConfig
from unimo.training.diffusion_decoder import DiffusionDecoderTrainingConfig
from unimo.training.loop import Trainer
from unimo.training.motion_tokenizer import MotionTokenizerTrainingConfig
from unimo.training.task import Task
from unimo.training.visual_tokenizer import VisualTokenizerTrainingConfig
from unimo.weights import load_strictly
from visual_tokenizer import ContinuousVisualTokenizer, DiffusionDecoder, DiscreteVisualTokenizer


@dataclass(frozen=True)
class Part:
    """A trained part: its component in bundles, its folder in configs/, its network and its training configuration."""

    component: str
    configs: str
    model_class: type
    config_class: type


PARTS = {
    "motion-tokenizer": Part("motion_tokenizer", "motion_tokenizer", MotionVQVAE, MotionTokenizerTrainingConfig),
    "visual-tokenizer": Part(
        "visual_tokenizer/discrete", "visual_tokenizer", DiscreteVisualTokenizer, VisualTokenizerTrainingConfig
    ),
    "continuous-tokenizer": Part(
        "visual_tokenizer/continuous", "visual_tokenizer/continuous", ContinuousVisualTokenizer,
        ContinuousTokenizerTrainingConfig,
    ),
    "diffusion-decoder": Part(
        "diffusion_decoder", "diffusion_decoder", DiffusionDecoder, DiffusionDecoderTrainingConfig
    ),
    "ar": Part("ar_model", "ar_model", UniMoTransformer, ArTrainingConfig),
}  # fmt: skip

Progress = Callable[[str, float, str], None]
_MAKE = "add {} to --stages of tools/train_mini.py, before this stage"


@dataclass(frozen=True)
class ChainConfig:
    """What to make and how long to train.

    Attributes:
        mocap: motion files, folders or zips for training (`MotionLibrary.from_files`).
        validation_mocap: the same for validation; its subjects must not be among the training subjects. Without any,
            about a tenth of the training subjects is held out.
        work: folder of intermediate results.
        bundle: folder of the finished bundle.
        preset: name of the configs.
        clips, validation_clips: how many clips to render.
        minutes: wall-clock budget by training stage, in place of the one in its config.
        training: training configurations by stage, in place of the preset's or of the one that a run began with.
        start_from: bundle whose weights a training stage starts from unless the work folder holds checkpoints of it;
            what the bundle lacks starts afresh. Tokenizers that were not trained in the work folder are taken from it
            too. The transformer then skips its first reading steps; those of `reading_every` stay. Of a transformer
            of the other motion layout all but the parts that write motion is taken, and nothing is skipped.
        workers: rendering processes, tokenising threads, and threads of each process that read shards.
        device: of the training stages.
        shards: prepared folders whose token shards the transformer learns, instead of a pack of clips rendered here.
            The tokenizers, when they are neither trained here nor in `start_from`, are those of the bundle that made
            them.
        validation_shards: prepared folders whose tokens are validated; by default those of the split "validation" of
            `shards`.
        credit: whose data it is, for bundle.json; None gives the names of the files.
    """

    mocap: Sequence[Path]
    validation_mocap: Sequence[Path]
    work: Path
    bundle: Path
    preset: str = "mini"
    clips: int = 30000
    validation_clips: int = 256
    minutes: dict[str, float] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    start_from: str | None = None
    workers: int = 2
    device: str = "cpu"
    shards: Sequence[Path] = ()
    validation_shards: Sequence[Path] = ()
    credit: str | None = None


class WorkFolder:
    """Reads and trains parts in `config.work`; `progress(stage, fraction, text)` is called along the way."""

    def __init__(self, config: ChainConfig, progress: Progress | None = None) -> None:
        self.config, self.progress = config, progress or (lambda stage, fraction, text: None)
        self.settings = load_config(BundleSettings, config_path("bundle", config.preset))
        s = self.settings
        self.scene = SceneConfig(side=s.side, frames=s.frames, fps=s.fps, body=s.body)

    def pack(self, name: str) -> ClipPack:
        """The pack "train" or "validation"."""
        return ClipPack(self.config.work / "packs" / name)

    def tokens(self, name: str) -> TokenPack:
        """The token pack "train" or "validation".

        Raises:
            InputError: it is not there, or other tokenizers than those in the work folder made it.
        """
        path = self.config.work / f"tokens_{name}.npz"
        if not path.is_file():
            raise InputError("there are no tokens yet", str(path), _MAKE.format("tokens"))
        tokens = TokenPack.load(path)
        if tokens.tokenizers != self._tokenizers_hash():
            what = "the tokenizers were trained on after the tokens were made"
            raise InputError(what, str(path), _MAKE.format("tokens"))
        return tokens

    def latents(self, name: str) -> LatentPack:
        """The latents of the clips "train" or "validation".

        Raises:
            InputError: they are not there, or another tokenizer than that in the work folder made them.
        """
        folder = self.config.work / f"latents_{name}"
        latents = LatentPack(folder)
        if latents.tokenizer != weights_hash(self.continuous_tokenizer()):
            what = "the continuous tokenizer was trained on after the latents were made"
            raise InputError(what, str(folder), _MAKE.format("latents"))
        return latents

    def _codes(self) -> torch.Tensor:
        """The quantiser's code of every visual id, (N,c)."""
        quantizer = self.visual_tokenizer().quantizer
        return quantizer.codes(torch.arange(quantizer.num_ids)[None])[0].T

    def _tokenizers_hash(self) -> str:
        return weights_hash(self.visual_tokenizer(), self.motion_tokenizer())

    def motion_tokenizer(self) -> MotionVQVAE:
        """The trained motion tokenizer."""
        return self._trained("motion-tokenizer")

    def visual_tokenizer(self) -> DiscreteVisualTokenizer:
        """The trained discrete visual tokenizer."""
        return self._trained("visual-tokenizer")

    def continuous_tokenizer(self) -> ContinuousVisualTokenizer:
        """The trained continuous visual tokenizer."""
        return self._trained("continuous-tokenizer")

    def _made_from(self, stage: str) -> str:
        """Hash of the frozen tokenizers whose tokens or latents a stage learns."""
        if stage == "diffusion-decoder":
            return weights_hash(self.visual_tokenizer(), self.continuous_tokenizer())
        return self._tokenizers_hash()

    def _check_tokens(self, stage: str) -> None:
        """Raises InputError when a stage was trained on the tokens of other tokenizers, as its weights here tell."""
        note = self.config.work / stage / "tokenizers.txt"
        trained = checkpoint_paths(note.parent) or (self.config.work / f"{stage}.safetensors").is_file()
        if trained and note.is_file() and note.read_text() != self._made_from(stage):
            kept = shlex.quote(str(note.parent))
            fix = f"mv {kept} {kept}_before, or another --work; then this command again"
            raise InputError(f"{stage} was trained on tokens of other tokenizers", str(note.parent), fix)

    def _note_tokens(self, stage: str) -> None:
        """Checks, and notes which tokenizers a stage is trained on."""
        self._check_tokens(stage)
        if parallel.rank() == 0:
            with atomic_write(self.config.work / stage / "tokenizers.txt") as path:
                path.write_text(self._made_from(stage))

    def _training_config(self, stage: str) -> Any:
        """The config of a stage; a run that has begun keeps the one it began with, in `work/<stage>/config.json`."""
        kept, part = self.config.work / stage / "config.json", PARTS[stage]
        config = self.config.training.get(stage)
        if config is None:
            file = kept if kept.is_file() else config_path(part.configs, self.config.preset)
            config = load_config(part.config_class, file)
        if stage == "ar" and self._start_reads(config.model):
            config = replace(config, data=replace(config.data, reading_steps=0))
        minutes = self.config.minutes.get(stage, config.optimization.minutes)
        config = replace(config, optimization=replace(config.optimization, minutes=minutes))
        return config

    def _train(
        self,
        stage: str,
        task: Task,
        optimization: OptimizationConfig,
        config: Any = None,
        finish: Callable[[], None] | None = None,
    ) -> dict[str, float]:
        """Trains in `work/<stage>`, going on where it stopped; leaves `work/<stage>.safetensors` and keeps `config`.

        `finish` is called on the trained weights before they are written.
        """
        if self._in_start(stage):
            earlier = load_bundle(str(self.config.start_from)).component(PARTS[stage].component)
            shipped = task.shipped
            transformer = isinstance(shipped, UniMoTransformer)
            try:
                state = fitting_state(shipped, earlier) if transformer else earlier.state_dict()
            except ValueError as error:
                fix = "the bundle's values for these, or no --start-from"
                raise CheckpointError(str(error), str(self.config.start_from), fix) from error
            load_strictly(shipped, state, Path(str(self.config.start_from)))

        def report(fraction: float, numbers: dict[str, Any]) -> None:
            self.progress(stage, fraction, f"loss {numbers['loss']:.3f}")

        folder = self.config.work / stage
        if config is not None:
            _check_model(folder, config)
            with atomic_write(folder / "config.json") as path:
                path.write_text(json.dumps(to_dict(config), indent=2) + "\n", encoding="utf-8")
        metrics = Trainer(task, optimization, folder, resume=True, progress=report).run()
        if parallel.rank() > 0:
            return metrics
        if finish is not None:
            finish()
        with atomic_write(self.config.work / f"{stage}.safetensors") as path:
            save_file({key: value.contiguous().cpu().clone() for key, value in task.shipped.state_dict().items()}, path)
        return metrics

    def has(self, stage: str) -> bool:
        """Whether the part of a stage was trained here, or comes with a bundle."""
        return (self.config.work / f"{stage}.safetensors").is_file() or self._bundle_of(stage) is not None

    def _in_start(self, stage: str) -> bool:
        """Whether training starts from a bundle that has the part of a stage."""
        if stage not in PARTS or not self.config.start_from:
            return False
        return PARTS[stage].component in load_bundle(self.config.start_from).info.components

    def _start_reads(self, model: ARConfig) -> bool:
        """Whether training starts from a transformer that writes motion as `model` does, so has learned to read."""
        if not self._in_start("ar"):
            return False
        return _network_in(load_bundle(str(self.config.start_from)), "ar").motion_layout == model.motion_layout

    def check_vocabulary(self, config: ArTrainingConfig, to_train: Sequence[str] = ()) -> None:
        """Compares a transformer's vocabularies with the tokenizers, those that will be trained by their configuration.

        Args:
            config: of the transformer.
            to_train: stages of this run.

        Raises:
            ConfigError: they differ.
        """
        ids = {
            "visual_ids": self._network("visual-tokenizer", to_train).num_ids,
            "motion_ids": self._network("motion-tokenizer", to_train).codebook_size,
        }
        if wrong := {name: known for name, known in ids.items() if getattr(config.model, name) != known}:
            pairs = [f"{name} is {getattr(config.model, name)}, they have {known}" for name, known in wrong.items()]
            what = f"the transformer's vocabulary is not that of the tokenizers: {' and '.join(pairs)}"
            settings = " ".join(f"--set model.{name}={known}" for name, known in wrong.items())
            where = ", ".join(map(str, self.config.shards)) or self.config.start_from or str(self.config.work)
            fix = f"the --config that goes with these tokenizers, or {settings}"
            raise ConfigError(what, where, fix)

    def _network(self, stage: str, to_train: Sequence[str]) -> Any:
        """The sizes of a part's network."""
        if stage in to_train:
            return self._training_config(stage).model
        if (self.config.work / f"{stage}.safetensors").is_file():
            return load_config(PARTS[stage].config_class, self.config.work / stage / "config.json").model
        return _network_in(_open_bundle(str(self._bundle_of(stage)), self.config.shards), stage)

    def _bundle_of(self, stage: str) -> str | None:
        """The bundle that a part comes with unless it was trained here; tokenizers also with the one of `shards`."""
        if self._in_start(stage):
            return self.config.start_from
        if not self.config.shards or stage not in ("motion-tokenizer", "visual-tokenizer"):
            return None
        return Preparation.of(self.config.shards[0]).bundle

    def _trained(self, stage: str) -> Any:
        part, path = PARTS[stage], self.config.work / f"{stage}.safetensors"
        if not path.is_file() and (bundle := self._bundle_of(stage)):
            return _open_bundle(bundle, self.config.shards).component(part.component)
        if not path.is_file():
            raise InputError(f"{stage} has not been trained yet", str(path), _MAKE.format(stage))
        config = load_config(part.config_class, self.config.work / stage / "config.json")
        model = part.model_class(config.model)
        load_strictly(model, load_file(path), path)
        return model.eval()

    def _last_log(self, stage: str) -> dict[str, Any]:
        """What the last validation of a stage measured; empty when the stage came from a bundle as it was."""
        path = self.config.work / stage / "log.jsonl"
        lines = path.read_text().splitlines() if path.is_file() else []
        return json.loads(([line for line in lines if '"validation"' in line] or ["{}"])[-1])

    def _kept(self, stage: str) -> dict[str, Any]:
        """How a stage was trained, apart from the network's sizes; empty when it came from a bundle as it was."""
        path = self.config.work / stage / "config.json"
        kept = json.loads(path.read_text()) if path.is_file() else {}
        return {key: value for key, value in kept.items() if key != "model"}


def _network_in(bundle: Bundle, stage: str) -> Any:
    """The sizes of a part's network in a bundle."""
    kind = COMPONENTS[PARTS[stage].component]
    if bundle.path is None:
        return kind.preset("debug")
    return load_config(kind.config_class, bundle.path / kind.folder / "config.json")


def _open_bundle(name: str, shards: Sequence[Path]) -> Bundle:
    """A bundle; one that is only named by the prepare.json of shards need not be on this machine."""
    try:
        return load_bundle(name)
    except MissingAssetError as error:
        if not shards:
            raise
        what = f"the tokenizers that made these shards are those of the bundle {name!r}, which is not found by its name"
        raise InputError(what, str(shards[0]), "--start-from FOLDER, where that bundle is") from error


def _check_model(folder: Path, config: Any) -> None:
    """Raises InputError when checkpoints in a folder are of another network than the configuration's."""
    kept = folder / "config.json"
    if not kept.is_file() or not checkpoint_paths(folder):
        return
    before, now = json.loads(kept.read_text()).get("model"), to_dict(config)["model"]
    if differs := [key for key in now if before is not None and before.get(key, now[key]) != now[key]]:
        what = f"the checkpoints here are of another network: {', '.join(differs)} differ"
        raise InputError(what, str(folder), "the settings that the run began with, or another --work")
