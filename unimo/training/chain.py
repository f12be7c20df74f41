"""The whole chain that makes the shipped bundle: mocap → clips → tokenizers → tokens → transformer → bundle.

Every stage leaves its result in the work folder and is skipped, or goes on, when it is called again. Each training
stage can start from the weights of a bundle, with a fresh optimiser.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ar_model import UniMoTransformer
from motion_tokenizer import MotionVQVAE
from unimo.assets import config_path
from unimo.bundle import BundleInfo, BundleSettings, load_bundle, load_motion_tokenizer, load_strictly, save_bundle
from unimo.config import load_config, to_dict
from unimo.data.pack import ClipPack, build_pack
from unimo.data.tokens import TokenPack, tokenize_pack, weights_hash
from unimo.errors import InputError, MissingAssetError
from unimo.evaluation.constant_pose import fit_constant_pose
from unimo.files import atomic_write
from unimo.motion.features import from_features
from unimo.motion.library import MotionLibrary
from unimo.motion.split import hold_out
from unimo.synth.scene import VALIDATION_SEED, SceneConfig
from unimo.training import parallel
from unimo.training.ar import ArTask, ArTrainingConfig
from unimo.training.config import OptimizationConfig
from unimo.training.loop import Trainer
from unimo.training.motion_pool import MotionDataConfig, MotionWindows
from unimo.training.motion_report import draw_curve, draw_reconstructions
from unimo.training.motion_tokenizer import MotionTokenizerTask, MotionTokenizerTrainingConfig
from unimo.training.probe import ProbeConfig, ProbeTask
from unimo.training.task import Task
from unimo.training.visual_tokenizer import VisualTokenizerTask, VisualTokenizerTrainingConfig
from visual_tokenizer import DiscreteVisualTokenizer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """A trained part: its name in bundles and folder in configs/, its network and its training configuration."""

    name: str
    model_class: type
    config_class: type


PARTS = {
    "motion-tokenizer": Part("motion_tokenizer", MotionVQVAE, MotionTokenizerTrainingConfig),
    "visual-tokenizer": Part("visual_tokenizer", DiscreteVisualTokenizer, VisualTokenizerTrainingConfig),
    "ar": Part("ar_model", UniMoTransformer, ArTrainingConfig),
}
STAGES = ("clips", "motion-tokenizer", "visual-tokenizer", "tokens", "probe", "ar", "bundle")

Progress = Callable[[str, float, str], None]


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
            tokenizers that were not trained in the work folder are taken from it too. The transformer then skips
            its first reading steps; those of `reading_every` stay.
        workers: rendering processes and tokenising threads.
        device: of the training stages.
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


class Chain:
    """Runs stages by name; `progress(stage, fraction, text)` is called along the way."""

    def __init__(self, config: ChainConfig, progress: Progress | None = None) -> None:
        self.config, self.progress = config, progress or (lambda stage, fraction, text: None)
        self.settings = load_config(BundleSettings, config_path("bundle", config.preset))
        s = self.settings
        self.scene = SceneConfig(side=s.side, frames=s.frames, fps=s.fps, body=s.body)

    def run(self, stages: Sequence[str] = STAGES) -> None:
        """Runs the stages in order.

        Raises:
            InputError: a stage's input is missing, or a subject is both trained on and validated.
        """
        parallel.start()
        for stage in stages:
            if parallel.world_size() > 1 and stage == "motion-tokenizer":
                raise InputError("the motion tokenizer trains in one process", fix="run this stage without torchrun")
            if parallel.rank() == 0 or stage in ("visual-tokenizer", "probe", "ar"):
                getattr(self, "stage_" + stage.replace("-", "_"))()
            parallel.wait()
            self.progress(stage, 1.0, "done")

    def libraries(self, stage: str, speed: float, frames: int | None = None) -> tuple[MotionLibrary, MotionLibrary]:
        """Training and validation motions on the open body, long enough for a window.

        Args:
            stage: for reports of progress.
            speed: highest playback speed of training windows.
            frames: of a window; default the bundle's.
        """

        config = self.config
        report = lambda done, total: self.progress(stage, 0.0, f"reading {done}/{total}")  # noqa: E731
        read = lambda sources: MotionLibrary.from_files(sources, workers=config.workers, progress=report)  # noqa: E731
        train = read(config.mocap)
        if config.validation_mocap:
            validation = read(config.validation_mocap)
            if shared := sorted(set(train.subjects) & set(validation.subjects)):
                what = f"{len(shared)} subjects are in both training and validation motions: {', '.join(shared[:8])}"
                raise InputError(what, ", ".join(map(str, config.validation_mocap)), "give motions of other subjects")
        else:  # split before short motions go, or every window length would have a split of its own
            train, validation = hold_out(train)
        seconds = ((frames or self.scene.frames) - 1) / self.scene.fps
        return train.at_least(seconds * speed), validation.at_least(seconds * self.scene.speed[1])

    def stage_clips(self) -> None:
        """Renders the training and validation packs."""
        train, validation = self.libraries("clips", self.scene.speed[1])
        config = self.config
        parts = (
            ("validation", validation, VALIDATION_SEED, config.validation_clips),
            ("train", train, 0, config.clips),
        )
        for name, library, first, count in parts:
            seeds = range(first, first + count)
            report = lambda done, total, name=name: self.progress("clips", done / total, f"{name} {done}/{total}")  # noqa: E731
            build_pack(config.work / "packs" / name, library, seeds, self.scene, config.workers, report)

    def motion_windows(self, train: MotionLibrary, validation: MotionLibrary, data: MotionDataConfig) -> MotionWindows:
        """Windows of these motions in the bundle's camera."""
        return MotionWindows.draw(train, validation, self.scene, self.settings.canonical_focal, data)

    def stage_motion_tokenizer(self) -> None:
        """Trains the motion tokenizer on windows in random cameras; needs no rendered clips.

        Leaves it as a part of the bundle `work/bundle` too, and pictures of what it learned in `work/motion-tokenizer`.
        """
        folder, part = self.config.work / "motion-tokenizer", self.config.work / "bundle"
        known = self._known_bundle(part)
        config = self._training_config("motion-tokenizer")
        if config.model.partwise:
            raise InputError("the partwise baseline cannot become a part of a bundle", fix="run it by --sweep")
        train, validation = self.libraries("motion-tokenizer", config.data.speed[1], config.data.frames)
        task = MotionTokenizerTask(config, self.motion_windows(train, validation, config.data), self.config.device)
        self._train("motion-tokenizer", task, config.optimization, config)
        before = known.training if known else {}
        training = {**before, "motion_tokenizer": self._motion_training(train, validation)}
        name, licence = (known.name, known.licence) if known else (self.config.work.resolve().name, "")
        save_bundle(part, name, self.settings, {"motion_tokenizer": self.motion_tokenizer()}, training, licence)
        draw_curve(folder / "log.jsonl", folder / "curve.png")
        pictures = folder / "reconstructions.png"
        try:
            draw_reconstructions(load_motion_tokenizer(part), task.validation, pictures)
        except MissingAssetError as error:
            pictures.unlink(missing_ok=True)
            logger.warning("reconstructions.png could not be drawn: %s; `unimo doctor` says more", error.what)

    def stage_visual_tokenizer(self) -> None:
        """Trains the visual tokenizer on the packs."""
        config = self._training_config("visual-tokenizer")
        task = VisualTokenizerTask(
            config, self.pack("train"), self.pack("validation"), device=self.config.device,
            canonical_focal=self.settings.canonical_focal,
        )  # fmt: skip
        self._train("visual-tokenizer", task, config.optimization, config)

    def stage_tokens(self) -> None:
        """Turns both packs to tokens with the frozen tokenizers."""
        for name in ("validation", "train"):
            path = self.config.work / f"tokens_{name}.npz"
            if path.is_file() and TokenPack.load(path).tokenizers == self._tokenizers_hash():
                continue
            report = lambda done, total, name=name: self.progress("tokens", done / total, name)  # noqa: E731
            tokens = tokenize_pack(
                self.pack(name), self.visual_tokenizer().to(self.config.device),
                self.motion_tokenizer().to(self.config.device), self.settings.canonical_focal,
                workers=self.config.workers, progress=report,
            )  # fmt: skip
            tokens.save(path)

    def stage_probe(self) -> None:
        """Fits the pose probe; what it recovers is the last line of its log."""
        minutes = self.config.minutes.get("probe", 8.0)
        optimization = OptimizationConfig(
            steps=3000,
            minutes=minutes,
            batch_size=64,
            learning_rate=1.0e-3,
            beta2=0.98,
            weight_decay=0.05,
            validate_every=500,
            precision="bfloat16",
            ema_decay=0.99,
        )
        self._note_tokens("probe")
        task = ProbeTask(
            ProbeConfig(), optimization, self._codes(), self.tokens("train"), self.tokens("validation"),
            device=self.config.device,
        )  # fmt: skip
        self._train("probe", task, optimization)

    def stage_ar(self) -> None:
        """Trains the transformer on the token packs."""
        config = self._training_config("ar")
        self._note_tokens("ar")
        task = ArTask(
            config, self.tokens("train"), self.tokens("validation"), device=self.config.device,
            canonical_focal=self.settings.canonical_focal,
            codes=(self._codes(), self.motion_tokenizer().quantizer.codebook),
        )  # fmt: skip
        self._train("ar", task, config.optimization, config)

    def stage_bundle(self) -> None:
        """Seals the trained parts into the bundle."""
        constant = fit_constant_pose(from_features(torch.from_numpy(self.tokens("train").features)))
        self._check_tokens("ar")
        logs = {stage: self._last_log(stage) for stage in PARTS}
        components: dict[str, nn.Module] = {
            "motion_tokenizer": self.motion_tokenizer(),
            "visual_tokenizer/discrete": self.visual_tokenizer(),
            "ar_model": self._trained("ar"),
        }
        training: dict[str, Any] = {
            "data": "CMU motion capture (mocap.cs.cmu.edu), rendered by unimo.synth",
            "clips": len(self.tokens("train")),
            "stages": logs,
            "settings": {stage: self._kept(stage) for stage in logs},
            "probe": self._last_log("probe"),
            "constant_pose": constant.to_json(),
        }
        save_bundle(self.config.bundle, self.config.preset, self.settings, components, training)

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
            raise InputError("there are no tokens yet", str(path), "run the stage tokens first")
        tokens = TokenPack.load(path)
        if tokens.tokenizers != self._tokenizers_hash():
            raise InputError("the tokenizers were trained on after the tokens were made", str(path), "run tokens again")
        return tokens

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
        """The trained visual tokenizer."""
        return self._trained("visual-tokenizer")

    def _known_bundle(self, bundle: Path) -> BundleInfo | None:
        """What a bundle says of itself; None when it is not there yet.

        Raises:
            InputError: its clips are of another geometry.
        """
        if not (bundle / "bundle.json").is_file():
            return None
        info = load_bundle(bundle).info
        if info.settings != self.settings:
            raise InputError("the bundle here is for clips of another geometry", str(bundle), "another --work")
        return info

    def _motion_training(self, train: MotionLibrary, validation: MotionLibrary) -> dict[str, Any]:
        """Where the motion tokenizer comes from, for bundle.json; folders by name alone."""
        config, stage = self.config, "motion-tokenizer"
        return {
            "data": [path.resolve().name for path in config.mocap],
            "validation_data": [path.resolve().name for path in config.validation_mocap],
            "clips": len(train),
            "validation_clips": len(validation),
            "subjects": len(train.subjects),
            "validation_subjects": list(validation.subjects),
            "left_out": len(train.skipped),
            "settings": self._kept(stage),
            "validation": self._last_log(stage),
        }

    def _check_tokens(self, stage: str) -> None:
        """Raises InputError when a stage was trained on the tokens of other tokenizers."""
        note = self.config.work / stage / "tokenizers.txt"
        if note.is_file() and note.read_text() != self._tokenizers_hash():
            raise InputError(f"{stage} was trained on tokens of other tokenizers", str(note.parent), "move it away")

    def _note_tokens(self, stage: str) -> None:
        """Checks, and notes which tokenizers a stage is trained on."""
        self._check_tokens(stage)
        if parallel.rank() == 0:
            with atomic_write(self.config.work / stage / "tokenizers.txt") as path:
                path.write_text(self._tokenizers_hash())

    def _training_config(self, stage: str) -> Any:
        """The config of a stage; a run that has begun keeps the one it began with, in `work/<stage>/config.json`."""
        kept, part = self.config.work / stage / "config.json", PARTS[stage]
        config = self.config.training.get(stage)
        if config is None:
            file = kept if kept.is_file() else config_path(part.name, self.config.preset)
            config = load_config(part.config_class, file)
        if stage == "ar" and self.config.start_from:  # shipped weights can read
            config = replace(config, data=replace(config.data, reading_steps=0))
        minutes = self.config.minutes.get(stage, config.optimization.minutes)
        config = replace(config, optimization=replace(config.optimization, minutes=minutes))
        return config

    def _train(self, stage: str, task: Task, optimization: OptimizationConfig, config: Any = None) -> dict[str, float]:
        """Trains in `work/<stage>`, going on where it stopped; leaves `work/<stage>.safetensors` and keeps `config`."""
        if self.config.start_from and stage != "probe":
            load_strictly(task.shipped, self._bundled(stage).state_dict(), Path(self.config.start_from))

        def report(fraction: float, numbers: dict[str, Any]) -> None:
            self.progress(stage, fraction, f"loss {numbers['loss']:.3f}")

        folder = self.config.work / stage
        if config is not None:
            with atomic_write(folder / "config.json") as path:
                path.write_text(json.dumps(to_dict(config), indent=2) + "\n", encoding="utf-8")
        metrics = Trainer(task, optimization, folder, resume=True, progress=report).run()
        if parallel.rank() > 0:
            return metrics
        with atomic_write(self.config.work / f"{stage}.safetensors") as path:
            save_file({key: value.contiguous().cpu().clone() for key, value in task.shipped.state_dict().items()}, path)
        return metrics

    def _bundled(self, stage: str) -> Any:
        """The part of the bundle `start_from` that a stage trains."""
        return getattr(load_bundle(str(self.config.start_from)), PARTS[stage].name)

    def _trained(self, stage: str) -> Any:
        part, path = PARTS[stage], self.config.work / f"{stage}.safetensors"
        if not path.is_file() and self.config.start_from:
            return self._bundled(stage)
        if not path.is_file():
            raise InputError(f"the stage {stage} has not been trained yet", str(path), f"run the stage {stage} first")
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
