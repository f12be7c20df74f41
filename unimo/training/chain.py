"""The whole chain that makes the shipped bundle: mocap → clips → tokenizers → tokens → transformer → bundle.

Every stage leaves its result in the work folder and is skipped, or goes on, when it is called again. Each training
stage can start from the weights of a bundle, with a fresh optimiser.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unimo.bundle import BundleInfo, load_bundle, load_motion_tokenizer, save_bundle
from unimo.data.latents import build_latents
from unimo.data.pack import build_pack
from unimo.data.token_folder import TokenFolder
from unimo.data.token_shards import TokenShards
from unimo.data.tokens import TokenPack, tokenize_pack
from unimo.errors import InputError, MissingAssetError, counted
from unimo.evaluation.constant_pose import fit_constant_pose
from unimo.motion.features import from_features
from unimo.motion.library import MotionLibrary
from unimo.motion.split import hold_out
from unimo.motion.tokenizer import MotionTokenizer
from unimo.synth.scene import VALIDATION_SEED
from unimo.training import parallel
from unimo.training.ar import ArTask
from unimo.training.config import OptimizationConfig
from unimo.training.continuous_tokenizer import ContinuousTokenizerTask, measure_statistics
from unimo.training.diffusion_decoder import DiffusionClips, DiffusionDecoderTask
from unimo.training.motion_pool import MotionDataConfig, MotionWindows
from unimo.training.motion_report import draw_curve, draw_reconstructions
from unimo.training.motion_tokenizer import MotionTokenizerTask
from unimo.training.needs import READS, looked_for, missing_parts, training_command
from unimo.training.probe import ProbeConfig, ProbeTask
from unimo.training.shard_source import check_folders, open_shards, shard_sources
from unimo.training.studies import ar_study, motion_study
from unimo.training.sweep import Study
from unimo.training.visual_tokenizer import VisualTokenizerTask
from unimo.training.work_folder import PARTS, WorkFolder

logger = logging.getLogger(__name__)

STAGES = (
    "clips", "motion-tokenizer", "visual-tokenizer", "continuous-tokenizer", "tokens", "latents", "diffusion-decoder",
    "probe", "ar", "bundle",
)  # fmt: skip
_OPTIONAL = ("continuous-tokenizer", "diffusion-decoder")  # a bundle without them decodes directly
_CONSTANT_POSE_CLIPS = 4096  # of shards
# stages that every process of a data-parallel run takes part in
_PARALLEL = ("visual-tokenizer", "continuous-tokenizer", "diffusion-decoder", "probe", "ar")


class Chain(WorkFolder):
    """Runs stages by name; `progress(stage, fraction, text)` is called along the way."""

    def run(self, stages: Sequence[str] = STAGES) -> None:
        """Runs the stages in order.

        Raises:
            InputError: as `check`, or a subject is both trained on and validated.
        """
        self.check(stages)
        parallel.start()
        for stage in stages:
            if parallel.world_size() > 1 and stage == "motion-tokenizer":
                raise InputError("the motion tokenizer trains in one process", fix="run this stage without torchrun")
            if parallel.rank() == 0 or stage in _PARALLEL:
                getattr(self, "stage_" + stage.replace("-", "_"))()
            parallel.wait()
            self.progress(stage, 1.0, "done")

    def check(self, stages: Sequence[str]) -> None:
        """Looks for all trained parts that stages read, before hours of rendering.

        Raises:
            InputError: parts are missing that no stage before trains; the message holds the commands that train them.
                Or a stage has begun on the tokens of other tokenizers, or shards do not go together.
            ConfigError: the transformer's vocabulary is not that of the tokenizers.
        """
        config = self.config
        if missing := missing_parts(stages, self.has):
            what = f"{' and '.join(missing)} must be trained in the work folder first; nothing was rendered"
            fix = [*(training_command(part, config) for part in missing), "then this command again"]
            if set(stages) & set(PARTS):  # a sweep starts from fresh weights
                fix[-1] += ", or add --start-from BUNDLE for the parts of a bundle, such as mini"
            raise InputError(what, looked_for(missing, config.work), "\n       ".join(fix))
        if config.shards:
            check_folders(config.shards, config.validation_shards, self.settings)
        if "ar" in stages:
            self.check_vocabulary(self._training_config("ar"), stages)
        for stage in stages:
            if stage in READS and stage in (*PARTS, "probe") and not set(READS[stage]) & set(stages):
                self._check_tokens(stage)

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
                subjects = f"{counted(len(shared), 'subject')} {'is' if len(shared) == 1 else 'are'}"
                what = f"{subjects} in both training and validation motions: {', '.join(shared[:8])}"
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
        windows = f"drawing {counted(config.data.windows, 'window')} to train on"
        logger.info("%s (data.windows); of thousands this takes a minute or more before the first step", windows)
        self.progress("motion-tokenizer", 0.0, windows)
        task = MotionTokenizerTask(config, self.motion_windows(train, validation, config.data), self.config.device)
        self._train("motion-tokenizer", task, config.optimization, config)
        before = known.training if known else {}
        training = {**before, "motion_tokenizer": self._motion_training(train, validation)}
        name, licence = (known.name, known.licence) if known else (self._bundle_name(), "")
        save_bundle(part, name, self.settings, {"motion_tokenizer": self.motion_tokenizer()}, training, licence)
        self.progress("motion-tokenizer", 1.0, "drawing pictures")
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

    def stage_continuous_tokenizer(self) -> None:
        """Trains the continuous visual tokenizer on the packs, then measures its latents."""
        stage, train = "continuous-tokenizer", self.pack("train")
        config = self._training_config(stage)
        task = ContinuousTokenizerTask(config, train, self.pack("validation"), device=self.config.device)
        clips = config.data.statistics_clips
        finish = lambda: measure_statistics(task.shipped, train, clips)  # noqa: E731
        self._train(stage, task, config.optimization, config, finish)

    def stage_latents(self) -> None:
        """Turns both packs to latents with the frozen continuous tokenizer."""
        tokenizer, config = self.continuous_tokenizer().to(self.config.device), self.config
        for name in ("validation", "train"):
            report = lambda done, total, name=name: self.progress("latents", done / total, name)  # noqa: E731
            folder = config.work / f"latents_{name}"
            build_latents(folder, self.pack(name), tokenizer, workers=config.workers, progress=report)

    def stage_diffusion_decoder(self) -> None:
        """Trains the diffusion decoder on ids and latents."""
        stage = "diffusion-decoder"
        config = self._training_config(stage)
        self._note_tokens(stage)
        train, validation = (
            DiffusionClips(self.pack(name), self.tokens(name), self.latents(name)) for name in ("train", "validation")
        )
        task = DiffusionDecoderTask(
            config, train, validation, self.continuous_tokenizer(), self.settings.fps, self._codes(),
            device=self.config.device,
        )  # fmt: skip
        self._train(stage, task, config.optimization, config)

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
        """Trains the transformer on the token packs, or on token shards."""
        config, shards = self._training_config("ar"), self.config.shards
        with ExitStack() as stack:
            if not shards:
                train, validation = self.tokens("train"), self.tokens("validation")
            else:
                opened = open_shards(shards, self.config.validation_shards, self.settings, self._tokenizers_hash())
                seed, clips = config.optimization.seed, config.data.validation_clips
                train, validation = shard_sources(*opened, seed, self.config.workers, clips)
                stack.enter_context(closing(train))
            self._note_tokens("ar")  # of clips that can be trained on
            task = ArTask(
                config, train, validation, device=self.config.device,
                canonical_focal=self.settings.canonical_focal,
                codes=(self._codes(), self.motion_tokenizer().quantizer.codebook),
            )  # fmt: skip
            self._train("ar", task, config.optimization, config)

    def motion_study(self) -> Study:
        """Ablations of the motion tokenizer, on the mocap of this chain."""

        def draw(data: MotionDataConfig) -> MotionWindows:
            return self.motion_windows(*self.libraries("motions", data.speed[1], data.frames), data)

        return motion_study(draw, self.config.device)

    def ar_study(self) -> Study:
        """Ablations of the transformer, on tokens that are made first where they are not there yet."""
        self.run(["clips", "tokens"])
        tokenizer = MotionTokenizer(
            self.motion_tokenizer().to(self.config.device), self.settings.fps, self.settings.frames,
            self.settings.side, self.settings.canonical_focal, self.settings.body,
        )  # fmt: skip
        codes = (self._codes(), tokenizer.model.quantizer.codebook)
        packs = (self.tokens("train"), self.tokens("validation"))
        return ar_study(*packs, tokenizer, self.settings.canonical_focal, codes, self.config.device)

    def stage_bundle(self) -> None:
        """Seals the parts, those trained here and those of bundles, into the bundle."""
        learned, data = self._learned()
        constant = fit_constant_pose(from_features(torch.from_numpy(learned.features)))
        parts = {stage: part for stage, part in PARTS.items() if self._belongs(stage)}
        for stage in ("ar", "diffusion-decoder"):
            if stage in parts:
                self._check_tokens(stage)
        logs = {stage: self._last_log(stage) for stage in parts}
        components: dict[str, nn.Module] = {part.component: self._trained(stage) for stage, part in parts.items()}
        training: dict[str, Any] = {
            **data,
            "start_from": self.config.start_from and Path(self.config.start_from).name,
            "stages": logs,
            "settings": {stage: self._kept(stage) for stage in logs},
            "probe": self._last_log("probe"),
            "constant_pose": constant.to_json(),
        }
        save_bundle(self.config.bundle, self._bundle_name(), self.settings, components, training)

    def _learned(self) -> tuple[TokenPack, dict[str, Any]]:
        """Clips that the transformer learned (of shards the first few), and where they come from, without paths."""
        config = self.config
        if not config.shards:
            pack, source = self.tokens("train"), ", ".join(path.resolve().name for path in config.mocap)
            return pack, {"data": f"{config.credit or source}, rendered by unimo.synth", "clips": len(pack)}
        shards = TokenShards([TokenFolder.open(path) for path in config.shards])
        source = f"shards of unimo data prepare: {', '.join(path.resolve().name for path in config.shards)}"
        data = {"data": config.credit or source, "clips": len(shards), "shards": shards.fingerprint}
        return shards.first(_CONSTANT_POSE_CLIPS), data

    def _belongs(self, stage: str) -> bool:
        """Whether a part goes into the bundle; another visual tokenizer voids what draws from its ids."""
        if stage not in _OPTIONAL or (self.config.work / f"{stage}.safetensors").is_file():
            return True
        return self.has(stage) and not (self.config.work / "visual-tokenizer.safetensors").is_file()

    def _bundle_name(self) -> str:
        """The folder's name; a bundle inside the work folder is called as that one is."""
        bundle, work = self.config.bundle.resolve(), self.config.work.resolve()
        return work.name if bundle.parent == work else bundle.name

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

