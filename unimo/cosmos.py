"""NVIDIA's Cosmos downloads -> components of a bundle.

In: folders as downloaded (`model.pt`, or the TorchScript files; also `mean_std.pt` of the continuous tokenizer and
`aux_vars.pt` of the decoder).
Out: `visual_tokenizer/discrete`, `visual_tokenizer/continuous` and `diffusion_decoder` of a bundle. Sizes are read off
the weights' shapes; what shapes do not tell comes from a preset. Every tensor is accounted for: nothing missing,
nothing left over. One component is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unimo.assets import config_path
from unimo.bundle import COMPONENTS, Bundle, BundleSettings, load_bundle, save_component, seal_bundle
from unimo.config import load_config, to_dict
from unimo.cosmos_files import read_checkpoint, read_prompt, read_statistics, read_torchscript
from unimo.errors import CheckpointError, InputError, MissingAssetError
from unimo.weights import file_record, load_strictly
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
        convert: (weights under NVIDIA's names, source, preset configuration) -> configuration, weights under our
            names; ValueError where they do not fit.
        torchscript: whether it is published as TorchScript too.
        statistics: whether it needs `mean_std.pt`.
        prompt: whether it may have `aux_vars.pt`, the text states of a general prompt.
    """

    option: str
    component: str
    repository: str
    convert: Callable[[Weights, Source, Any], tuple[Any, Weights]]
    torchscript: bool = True
    statistics: bool = False
    prompt: bool = False

    @property
    def page(self) -> str:
        """Where to get it."""
        return f"https://huggingface.co/{self.repository}"


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
        training["cosmos"] = training.get("cosmos", {}) | {component: {"from": source.part.page, "files": provenance}}
        licence = _licence(licence)
        (output / "bundle.json").unlink(missing_ok=True)
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
    """Reads a download into its module, whose tensors are those of the files, in their dtype.

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
    kind = COMPONENTS[source.part.component]
    try:
        config, weights = source.part.convert(state, source, preset)
        if whole := [key for key, weight in weights.items() if not weight.is_floating_point()]:
            raise ValueError(f"{whole[0]} holds {weights[whole[0]].dtype}, not numbers of a network")
        with torch.device("meta"):
            model = kind.build(config)
    except ValueError as error:
        what = f"These are not the weights of --{source.part.option}: {error}."
        raise CheckpointError(what, str(where), f"the files of {source.part.page}") from error
    # names and shapes are compared without values, which are then taken over without a copy
    load_strictly(model, {key: weight.to("meta") for key, weight in weights.items()}, where)
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
        CosmosPart("tokenizer", "visual_tokenizer/discrete", "nvidia/Cosmos-Tokenize1-DV8x16x16-720p", _discrete),
        CosmosPart(
            "continuous",
            "visual_tokenizer/continuous",
            "nvidia/Cosmos-Tokenize1-CV8x8x8-720p",
            _continuous,
            statistics=True,
        ),
        CosmosPart(
            "decoder",
            "diffusion_decoder",
            "nvidia/Cosmos-Predict1-7B-Decoder-DV8x16x16ToCV8x8x8-720p",
            _decoder,
            torchscript=False,
            prompt=True,
        ),
    )
}


def _weight_files(part: CosmosPart, folder: Path, trust_jit: bool) -> tuple[Path, ...]:
    if (folder / WEIGHTS).is_file():
        return (folder / WEIGHTS,)
    sets = TORCHSCRIPT if part.torchscript else ()
    found = next((names for names in sets if all((folder / name).is_file() for name in names)), None)
    if found is None:
        wanted = ", or ".join([WEIGHTS, *(" and ".join(names) for names in sets)])
        raise MissingAssetError(f"The weights of --{part.option} are missing: {wanted}.", str(folder), _get(part))
    if not trust_jit:
        what = (
            f"There is no {WEIGHTS}, only TorchScript ({', '.join(found)}). Loading TorchScript runs the code stored "
            "in it, so it must be allowed."
        )
        raise InputError(what, str(folder), "--trust-jit, if you trust where these files come from")
    return tuple(folder / name for name in found)


def _get(part: CosmosPart) -> str:
    name = part.repository.split("/")[1]
    return f"{part.page}: hf download {part.repository} --local-dir {name}, then --{part.option} {name}"


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
