"""NVIDIA's Cosmos downloads -> components of a bundle.

In: folders as downloaded (`model.pt`, or the TorchScript files; also `mean_std.pt` of the continuous tokenizer and
`aux_vars.pt` of the decoder).
Out: `visual_tokenizer/discrete`, `visual_tokenizer/continuous`, `diffusion_decoder` and `ar_model` of a bundle. Sizes
are read off the weights' shapes; what shapes do not tell comes from a preset. Every tensor is accounted for: nothing
missing, nothing left over. `model.pt` is mapped from disk, and one tensor or small file of it copied at a time.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unimo.assets import config_path
from unimo.bundle import COMPONENTS, Bundle, BundleSettings, load_bundle, save_component, seal_bundle
from unimo.config import load_config, to_dict
from unimo.cosmos_ar import fresh_parts, is_fresh, transformer_config
from unimo.cosmos_files import read_checkpoint, read_prompt, read_statistics, read_torchscript
from unimo.errors import CheckpointError, InputError, MissingAssetError
from unimo.weights import check_fit, file_record, without_weights
from visual_tokenizer import rename_cosmos_keys, rename_diffusion_decoder_keys
from visual_tokenizer.diffusion_keys import diffusion_decoder_sizes
from visual_tokenizer.keys import autoencoder_sizes, stored_fsq_levels

LICENCE = (
    "Licensed by NVIDIA Corporation under the NVIDIA Open Model License "
    "(https://www.nvidia.com/en-us/agreements/enterprise-software/nvidia-open-model-license/)"
)
WEIGHTS, STATISTICS, PROMPT = "model.pt", "mean_std.pt", "aux_vars.pt"
# the pair first: it is what NVIDIA's own pipelines run
TORCHSCRIPT = (("encoder.jit", "decoder.jit"), ("autoencoder.jit",))
Report = Callable[[str], None]
Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Source:
    """The files of one download.

    Attributes:
        part: what was downloaded.
        weights: `model.pt`, or the TorchScript files.
        statistics: `mean_std.pt`, where the part has one.
        prompt: `aux_vars.pt`, where it is there.
    """

    part: CosmosPart
    weights: tuple[Path, ...]
    statistics: Path | None
    prompt: Path | None

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        return self.weights + tuple(file for file in (self.statistics, self.prompt) if file)


@dataclass(frozen=True)
class CosmosPart:
    """One of NVIDIA's downloads.

    Attributes:
        option: its name in `import_cosmos` and, after two hyphens, on the command line.
        component: what it becomes in a bundle.
        repository: its name on Hugging Face.
        names: what the names of its weights begin with.
        convert: (weights under NVIDIA's names, source, preset configuration) -> configuration, weights under our
            names; ValueError where they do not fit.
        torchscript: whether it is published as TorchScript too.
        statistics: whether it needs `mean_std.pt`.
        prompt: whether it may have `aux_vars.pt`, the text states of a general prompt.
        with_text: name on Hugging Face of the release of the same kind that reads text.
        is_fresh: whether NVIDIA has no weight for a parameter of the component.
        fresh: (configuration, weights under our names) -> weights of those parameters; asked for when everything else
            was found to fit.
    """

    option: str
    component: str
    repository: str
    names: tuple[str, ...]
    convert: Callable[[Weights, Source, Any], tuple[Any, Weights]]
    torchscript: bool = True
    statistics: bool = False
    prompt: bool = False
    with_text: str | None = None
    is_fresh: Callable[[str], bool] = lambda key: False
    fresh: Callable[[Any, Weights], Weights] = lambda config, weights: {}

    @property
    def page(self) -> str:
        """Where to get it."""
        return f"https://huggingface.co/{self.repository}"

    def origin(self, config: Any) -> str:
        """The page of the release that a component of this configuration is."""
        text = self.with_text is not None and config.context_dim is not None
        return f"https://huggingface.co/{self.with_text}" if text else self.page


def import_cosmos(
    folders: Mapping[str, Path],
    output: Path,
    preset: str = "base",
    dtype: torch.dtype = torch.bfloat16,
    trust_jit: bool = False,
    overwrite: bool = False,
    report: Report = lambda line: None,
) -> Bundle:
    """Makes a bundle of NVIDIA's downloads, or adds them to one, whose name, settings and other components stay.

    Every folder is looked through before anything is read, and the bundle is whole after each component.

    Args:
        folders: downloaded folder by option, a key of `PARTS`; at least one.
        output: the bundle's folder, made when missing.
        preset: of `configs`: clip geometry of a new bundle, and sizes that weights do not tell.
        dtype: that matrices are stored in.
        trust_jit: read TorchScript files where there is no `model.pt`; this runs the code stored in them.
        overwrite: replace components that `output` has already.
        report: told what is being done.

    Raises:
        InputError: no folder is given, one is a file, TorchScript is not trusted, or a component is there already.
        MissingAssetError: a folder or a file is not there.
        CheckpointError: a file is damaged, or its weights do not fit.
        ConfigError: an unknown preset.
    """
    if not folders:
        raise InputError("No download was given.", fix=", ".join(f"--{option} FOLDER" for option in PARTS))
    sources = [find_source(PARTS[option], Path(folders[option]), trust_jit) for option in PARTS if option in folders]
    presets = {source.part.option: COMPONENTS[source.part.component].preset(preset) for source in sources}
    _check_output(output, [source.part.component for source in sources], overwrite)
    if (output / "bundle.json").is_file():
        info = load_bundle(output.absolute()).info
        name, settings, licence, training = info.name, info.settings, info.licence, dict(info.training)
    else:
        name, settings, licence, training = output.absolute().name, _settings(preset), "", {}
    bundle = None
    for source in sources:
        component = source.part.component
        report(f"{component}: reading {', '.join(str(file) for file in source.files)}")
        model = read_component(source, presets[source.part.option])
        provenance = {file.name: to_dict(file_record(file)) for file in source.files}
        record = {"from": source.part.origin(model.config), "files": provenance}
        training["cosmos"] = training.get("cosmos", {}) | {component: record}
        licence = _licence(licence)
        # bundle.json stays: it keeps the name and settings, and no longer fits a component that is written half
        save_component(output, component, model, dtype)
        del model  # before the next one is read
        bundle = seal_bundle(output, name, settings, training, licence)
    assert bundle is not None
    return bundle


def find_source(part: CosmosPart, folder: Path, trust_jit: bool = False) -> Source:
    """Finds a download's files, without reading them.

    Raises:
        InputError: `folder` is a file, or there is TorchScript only and it is not trusted.
        MissingAssetError: the folder or a file is not there.
    """
    if not folder.is_dir():
        if folder.exists():
            raise InputError(f"--{part.option} takes the folder of a download, not a file.", str(folder), _get(part))
        raise MissingAssetError(f"There is no folder for --{part.option}.", str(folder), _get(part))
    weights = _weight_files(part, folder, trust_jit)
    statistics = folder / STATISTICS if part.statistics else None
    if statistics is not None and not statistics.is_file():
        what = f"{STATISTICS} is missing: the mean and deviation of the latents, which the diffusion decoder needs."
        raise MissingAssetError(what, str(folder), _get(part))
    prompt = folder / PROMPT
    return Source(part, weights, statistics, prompt if part.prompt and prompt.is_file() else None)


def read_component(source: Source, preset: Any) -> nn.Module:
    """Reads a download into its module, whose tensors are those of the files, in their dtype; fresh ones are float32.

    Args:
        source: from `find_source`.
        preset: configuration that gives what the weights' shapes do not tell.

    Raises:
        CheckpointError: a file is damaged, or its weights do not fit.
    """
    where = source.weights[0] if len(source.weights) == 1 else source.weights[0].parent
    state: Weights = {}
    for file in source.weights:
        state |= read_checkpoint(file) if file.name == WEIGHTS else read_torchscript(file)
    part, kind = source.part, COMPONENTS[source.part.component]
    _check_kind(part, state, where)
    try:
        config, weights = part.convert(state, source, preset)
        if whole := [key for key, weight in weights.items() if not weight.is_floating_point()]:
            raise ValueError(f"{whole[0]} holds {weights[whole[0]].dtype}, not numbers of a network")
        with without_weights():
            model = kind.build(config)
        lacking = {key: value for key, value in model.state_dict().items() if part.is_fresh(key)}
        check_fit(model, lacking | weights, where)
        weights |= part.fresh(config, weights)
    except ValueError as error:
        what = f"These are not the weights of --{part.option}: {error}."
        raise CheckpointError(what, str(where), f"the files of {part.page}") from error
    model.load_state_dict(weights, strict=True, assign=True)
    return model.eval()


def _discrete(state: Weights, source: Source, preset: Any) -> tuple[Any, Weights]:
    weights = rename_cosmos_keys(state)
    levels = stored_fsq_levels(state) or preset.fsq_levels
    if (conv := weights.get("quant_conv.weight")) is not None and len(conv) != len(levels):
        raise ValueError(f"{len(conv)} channels are quantised, to levels {levels}")
    return replace(preset, **autoencoder_sizes(weights), fsq_levels=levels), weights


def _continuous(state: Weights, source: Source, preset: Any) -> tuple[Any, Weights]:
    assert source.statistics is not None
    weights = rename_cosmos_keys(state)
    conv = weights.get("quant_conv.weight")
    channels = preset.latent_channels if conv is None else len(conv)
    mean, std = read_statistics(source.statistics, channels)
    sizes = autoencoder_sizes(weights)
    config = replace(preset, **sizes, latent_channels=channels, statistics_frames=mean.shape[1])
    return config, weights | {"latents_mean": mean, "latents_std": std}


def _transformer(state: Weights, source: Source, preset: Any) -> tuple[Any, Weights]:
    return transformer_config(state, preset), dict(state)


def _decoder(state: Weights, source: Source, preset: Any) -> tuple[Any, Weights]:
    weights = rename_diffusion_decoder_keys(state)
    # NVIDIA trained and runs it on 8 latent frames
    config = replace(preset, **diffusion_decoder_sizes(weights, preset.patch_size), window=8, overlap=2)
    if source.prompt is None:
        return config, weights
    prompt = read_prompt(source.prompt, config.text_dim)
    return replace(config, prompt_tokens=len(prompt)), weights | {"prompt": prompt}


PARTS = {
    part.option: part
    for part in (
        CosmosPart(
            "tokenizer",
            "visual_tokenizer/discrete",
            "nvidia/Cosmos-Tokenize1-DV8x16x16-720p",
            ("encoder.", "decoder."),
            _discrete,
        ),
        CosmosPart(
            "continuous",
            "visual_tokenizer/continuous",
            "nvidia/Cosmos-Tokenize1-CV8x8x8-720p",
            ("encoder.", "decoder."),
            _continuous,
            statistics=True,
        ),
        CosmosPart(
            "decoder",
            "diffusion_decoder",
            "nvidia/Cosmos-Predict1-7B-Decoder-DV8x16x16ToCV8x8x8-720p",
            ("net.",),
            _decoder,
            torchscript=False,
            prompt=True,
        ),
        CosmosPart(
            "ar",
            "ar_model",
            "nvidia/Cosmos-Predict1-4B",
            ("tok_embeddings.", "layers."),
            _transformer,
            torchscript=False,
            with_text="nvidia/Cosmos-Predict1-5B-Video2World",
            is_fresh=is_fresh,
            fresh=fresh_parts,
        ),
    )
}


def _weight_files(part: CosmosPart, folder: Path, trust_jit: bool) -> tuple[Path, ...]:
    if (folder / WEIGHTS).is_file():
        return (folder / WEIGHTS,)
    if (folder / "bundle.json").is_file():
        what = f"This folder is a UniMo bundle already; --{part.option} takes a download of NVIDIA's."
        fix = f"use the bundle as it is, with --bundle {shlex.quote(str(folder))}; or {_get(part)}"
        raise InputError(what, str(folder.absolute()), fix)
    sets = TORCHSCRIPT if part.torchscript else ()
    found = next((names for names in sets if all((folder / name).is_file() for name in names)), None)
    if found is None:
        wanted = ", or ".join([WEIGHTS, *(" and ".join(names) for names in sets)])
        what = f"The weights of --{part.option} are missing: {wanted}.{_holds(part, folder)}"
        raise MissingAssetError(what, str(folder), _get(part))
    if not trust_jit:
        what = (
            f"There is no {WEIGHTS}, only TorchScript ({', '.join(found)}). Loading TorchScript runs the code stored "
            "in it, so it must be allowed."
        )
        raise InputError(what, str(folder), "--trust-jit, if you trust where these files come from")
    return tuple(folder / name for name in found)


def _holds(part: CosmosPart, folder: Path) -> str:
    """What a folder holds instead of a part's weights, and what takes that."""
    names = sorted(path.name for path in folder.iterdir())
    if not names:
        return " The folder is empty."
    told = f" The folder holds {', '.join(names[:6])}{', …' * (len(names) > 6)}"
    scripted = {name for each in TORCHSCRIPT for name in each}
    if not part.torchscript and not scripted.isdisjoint(names):
        options = [f"--{other.option}" for other in PARTS.values() if other.torchscript]
        return f"{told}: a tokenizer, for {' or '.join(options)}."
    return f"{told}."


def _check_kind(part: CosmosPart, state: Weights, where: Path) -> None:
    """Raises CheckpointError where all names are those of other parts."""
    others = [f"--{other.option}" for other in PARTS.values() if any(key.startswith(other.names) for key in state)]
    if others and f"--{part.option}" not in others:
        names = " or ".join(others)
        what = f"These are not the weights of --{part.option}: they have the names of {names}."
        raise CheckpointError(what, str(where), f"{names} FOLDER; --{part.option} takes the files of {part.page}")


def _get(part: CosmosPart) -> str:
    name = part.repository.split("/")[1]
    other = f" (or {part.with_text})" if part.with_text else ""
    return f"{part.page}: hf download {part.repository} --local-dir {name}, then --{part.option} {name}{other}"


def _check_output(output: Path, components: list[str], overwrite: bool) -> None:
    if output.exists() and not output.is_dir():
        raise InputError("A bundle is a folder; this is a file.", str(output), "--output FOLDER")
    there = [name for name in components if (output / name / "config.json").is_file()]
    if there and not overwrite:
        raise InputError(f"The bundle already holds {', '.join(there)}.", str(output), "--overwrite")


def _settings(preset: str) -> BundleSettings:
    return load_config(BundleSettings, config_path("bundle", preset))


def _licence(others: str) -> str:
    """The bundle's licence with NVIDIA's part in it."""
    if not others or LICENCE in others:
        return others or LICENCE
    return f"{others}; components listed under training.cosmos: {LICENCE}"
