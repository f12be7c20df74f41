"""A bundle: the folder of weights that `from_pretrained` loads, and the one place that writes one.

In: a folder with `bundle.json` and, per component, `config.json` and `model.safetensors` (or shards with an index).
Out: ready modules in float32 or a smaller dtype, eval mode. Every file is checked against its recorded size and sha256,
every tensor against the model: nothing missing, nothing left over. "debug" needs no folder: random weights, tiny sizes.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from unimo.assets import bundle_path, config_path
from unimo.config import load_config, read_yaml, to_dict
from unimo.errors import CheckpointError, ConfigError
from unimo.files import atomic_write
from unimo.weights import (
    FileRecord,
    count_numbers,
    file_record,
    load_strictly,
    read_tensors,
    without_weights,
    write_weights,
)

if TYPE_CHECKING:
    from ar_model import UniMoTransformer
    from motion_tokenizer import MotionVQVAE
    from unimo.motion.tokenizer import MotionTokenizer
    from visual_tokenizer import DiscreteVisualTokenizer

FORMAT_VERSION = 1
DECODERS = ("diffusion", "direct")
DIFFUSION_PARTS = {"diffusion_decoder", "visual_tokenizer/continuous"}


@dataclass(frozen=True)
class ComponentKind:
    """A component of a bundle: its folder, its leaf package, and there its model and config classes."""

    folder: str
    package: str
    model: str
    config: str

    def build(self, config: Any) -> nn.Module:
        """A model with fresh weights."""
        return getattr(importlib.import_module(self.package), self.model)(config)

    @property
    def config_class(self) -> type:
        """The frozen dataclass of its sizes."""
        return getattr(importlib.import_module(self.package), self.config)

    def preset(self, name: str) -> Any:
        """The `model` part of the training configuration `configs/<kind>/<name>.yaml`."""
        path = config_path(self.folder.removesuffix("/discrete"), name)
        return load_config(self.config_class, read_yaml(path).get("model", {}), where=f"{path}, model")


COMPONENTS = {
    folder: ComponentKind(folder, *names)
    for folder, *names in (
        ("motion_tokenizer", "motion_tokenizer", "MotionVQVAE", "MotionTokenizerConfig"),
        ("visual_tokenizer/discrete", "visual_tokenizer", "DiscreteVisualTokenizer", "VisualTokenizerConfig"),
        ("visual_tokenizer/continuous", "visual_tokenizer", "ContinuousVisualTokenizer", "ContinuousTokenizerConfig"),
        ("diffusion_decoder", "visual_tokenizer", "DiffusionDecoder", "DiffusionDecoderConfig"),
        ("ar_model", "ar_model", "UniMoTransformer", "ARConfig"),
    )
}


@dataclass(frozen=True)
class BundleSettings:
    """The clip geometry that all components of a bundle share.

    Attributes:
        fps: frame rate of the tokens.
        frames: T, the trained window, 1 + 8n.
        side: pixels of the square frame.
        canonical_focal: focal length of the tokens' camera, in sides of the square.
        body: body model that the betas belong to.
        decoder: what draws generated video unless told otherwise: "diffusion" or "direct".
    """

    fps: float
    frames: int
    side: int
    canonical_focal: float
    body: str = "open"
    decoder: str = "direct"

    def __post_init__(self) -> None:
        if self.frames < 9 or self.frames % 8 != 1:
            raise ValueError(f"frames must be 1 + 8n with n >= 1, not {self.frames}")
        if min(self.fps, self.side, self.canonical_focal) <= 0:
            raise ValueError("fps, side and canonical_focal must be positive")
        if self.body not in ("open", "smplx"):
            raise ValueError(f"body must be open or smplx, not {self.body!r}")
        if self.decoder not in DECODERS:
            raise ValueError(f"decoder must be {' or '.join(DECODERS)}, not {self.decoder!r}")


@dataclass(frozen=True)
class BundleInfo:
    """What `bundle.json` holds.

    Attributes:
        format_version: layout of the folder.
        name: short name.
        settings: clip geometry.
        components: per component folder, per file name, its record.
        licence: SPDX id or sentence for the weights.
        training: free-form provenance (data, steps, commit).
    """

    format_version: int
    name: str
    settings: BundleSettings
    components: dict[str, dict[str, FileRecord]] = field(default_factory=dict)
    licence: str = ""
    training: dict[str, Any] = field(default_factory=dict)


class Bundle:
    """A checked bundle whose components load when first asked for.

    Attributes:
        path: the folder, or None for "debug".
        info: what bundle.json says.
    """

    def __init__(self, path: Path | None, info: BundleInfo) -> None:
        self.path, self.info = path, info

    @property
    def settings(self) -> BundleSettings:
        return self.info.settings

    @cached_property
    def motion_tokenizer(self) -> MotionVQVAE:
        """Raises CheckpointError when files or tensors do not fit; so do the other two."""
        return self.component("motion_tokenizer")

    @cached_property
    def visual_tokenizer(self) -> DiscreteVisualTokenizer:
        return self.component("visual_tokenizer/discrete")

    @cached_property
    def ar_model(self) -> UniMoTransformer:
        return self.component("ar_model")

    @cached_property
    def sha256(self) -> str:
        """Identifies the bundle: the hash of bundle.json, which holds those of all files ("debug": random weights)."""
        return file_record(self.path / "bundle.json").sha256 if self.path else "debug"

    def verify(self) -> None:
        """Checks every file of every component against bundle.json, without building models.

        Raises:
            CheckpointError: naming the first file that is missing or differs.
        """
        for name in self.info.components if self.path else ():
            self._verified_files(name)

    def parameters(self, name: str) -> int:
        """How many numbers a component stores, by the headers of its files; 0 without files ("debug").

        Raises:
            CheckpointError: a file is missing or its header cannot be read.
        """
        files = self.info.components.get(name, {}) if self.path else {}
        return sum(count_numbers(Path(self.path or "", name, file)) for file in files if file.endswith(".safetensors"))

    def component(self, name: str, dtype: torch.dtype = torch.float32) -> Any:
        """Reads a component anew.

        Args:
            name: a key of `COMPONENTS`.
            dtype: of its floating-point numbers. Loading takes the memory of the component in this dtype, no more.

        Raises:
            CheckpointError: an unknown component, a file is missing or damaged, or its tensors do not fit the model.
            ConfigError: its config.json has an unknown key or a wrong value.
        """
        if name not in COMPONENTS:
            what = f"There is no component called {name!r} (there are: {', '.join(COMPONENTS)})."
            raise CheckpointError(what, str(self.path), "update UniMo, or fetch the bundle again")
        kind = COMPONENTS[name]
        if self.path is None:
            config = kind.preset("debug")
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                return kind.build(config).to(dtype).eval()
        files = self._verified_files(name)
        config = load_config(kind.config_class, files["config.json"])
        with without_weights():
            model = kind.build(config)
        load_strictly(model, read_tensors(files, self.path / name, dtype), self.path / name, assign=True)
        return model.to(dtype).eval()

    def _verified_files(self, name: str) -> dict[str, Path]:
        assert self.path is not None
        folder = self.path / name
        if name not in self.info.components:
            have = ", ".join(self.info.components) or "none"
            raise CheckpointError(
                f"The bundle has no component {name!r} (it has: {have}).", str(self.path / "bundle.json")
            )
        files = {}
        for file, expected in self.info.components[name].items():
            path = folder / file
            if Path(file).name != file:
                raise CheckpointError(f"bundle.json names a file outside its component: {file!r}.", str(self.path))
            if not path.is_file():
                raise CheckpointError("A file of the bundle is missing.", str(path), "fetch the bundle again")
            if file_record(path) != expected:
                what = f"{file} differs from what bundle.json records (sha256 or size): it is damaged or was changed."
                raise CheckpointError(what, str(path), "fetch the bundle again")
            files[file] = path
        if "config.json" not in files:
            raise CheckpointError(f"The component {name!r} has no config.json.", str(folder), "fetch the bundle again")
        return files


def load_bundle(name_or_path: str | Path = "mini") -> Bundle:
    """Opens a bundle; weights are read when a component is first used.

    Args:
        name_or_path: a folder, "mini" (shipped), "debug" (random weights) or a Hugging Face id.

    Raises:
        MissingAssetError: no such bundle.
        CheckpointError: bundle.json is missing, malformed or of a newer format.
    """
    if str(name_or_path) == "debug":
        settings = load_config(BundleSettings, config_path("bundle", "debug"))
        return Bundle(None, BundleInfo(FORMAT_VERSION, "debug", settings, {name: {} for name in COMPONENTS}))
    path = bundle_path(name_or_path)
    file = path / "bundle.json"
    if not file.is_file():
        raise CheckpointError("The folder holds no bundle.json, so it is no bundle.", str(path), "'mini' or 'debug'")
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError(f"a mapping is wanted, not a {type(values).__name__}")
        info = load_config(BundleInfo, values, where=str(file))
    except (ValueError, ConfigError) as error:
        reason = error.what if isinstance(error, ConfigError) else str(error)
        what = f"bundle.json cannot be understood: {reason}"
        raise CheckpointError(what, str(file), "fetch the bundle again") from error
    if info.format_version != FORMAT_VERSION:
        what = f"bundle.json has format {info.format_version}; this version of UniMo reads format {FORMAT_VERSION}."
        raise CheckpointError(what, str(file), "update UniMo")
    return Bundle(path, info)


def load_motion_tokenizer(bundle: str | Path | Bundle = "mini", device: str | torch.device = "cpu") -> MotionTokenizer:
    """The motion tokenizer of a bundle, which need hold nothing else; names and errors as for `load_bundle`."""
    from unimo.motion.tokenizer import MotionTokenizer

    opened = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
    s, model = opened.settings, opened.component("motion_tokenizer").to(device)
    return MotionTokenizer(model, s.fps, s.frames, s.side, s.canonical_focal, s.body)


def save_bundle(
    folder: str | Path,
    name: str,
    settings: BundleSettings,
    components: Mapping[str, nn.Module],
    training: Mapping[str, Any] | None = None,
    licence: str = "Apache-2.0",
) -> Bundle:
    """Writes components and seals the folder; components already there and not given again stay.

    Args:
        folder: made when missing.
        name: short name of the bundle.
        settings: clip geometry.
        components: modules by component folder (a key of `COMPONENTS`), each with its config as `.config`.
        training: provenance, plain JSON.
        licence: of the weights.
    """
    folder = Path(folder)
    (folder / "bundle.json").unlink(missing_ok=True)
    for component, model in components.items():
        save_component(folder, component, model)
    return seal_bundle(folder, name, settings, training, licence)


def save_component(folder: str | Path, name: str, model: nn.Module, dtype: torch.dtype = torch.float16) -> None:
    """Writes `folder/name/config.json` and the weights, replacing what stood there; `seal_bundle` must follow.

    `dtype` is that of matrices, see `write_weights`.
    """
    if name not in COMPONENTS:
        raise ConfigError(f"There is no component called {name!r}.", None, f"one of: {', '.join(COMPONENTS)}")
    target = Path(folder) / name
    # a folder without config.json is no component: it goes first and comes last, so half of one is never sealed
    (target / "config.json").unlink(missing_ok=True)
    write_weights(target, model, dtype)
    with atomic_write(target / "config.json") as path:
        path.write_text(json.dumps(to_dict(model.config), indent=2) + "\n")


def seal_bundle(
    folder: str | Path,
    name: str,
    settings: BundleSettings,
    training: Mapping[str, Any] | None = None,
    licence: str = "Apache-2.0",
) -> Bundle:
    """Writes bundle.json over the components that lie in `folder`; arguments as in `save_bundle`."""
    folder = Path(folder)
    components = {}
    for component in COMPONENTS:
        if (folder / component / "config.json").is_file():
            files = sorted((folder / component).glob("*.json")) + sorted((folder / component).glob("*.safetensors"))
            components[component] = {file.name: file_record(file) for file in files}
    info = BundleInfo(FORMAT_VERSION, name, settings, components, licence, dict(training or {}))
    with atomic_write(folder / "bundle.json") as path:
        path.write_text(json.dumps(to_dict(info), indent=2) + "\n")
    return Bundle(folder, info)


