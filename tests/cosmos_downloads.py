"""Downloads as NVIDIA publishes them, made of tiny random modules: `model.pt`, TorchScript files, `mean_std.pt`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ar_model import ARConfig, UniMoTransformer
from visual_tokenizer import (
    AutoencoderConfig,
    ContinuousTokenizerConfig,
    ContinuousVisualTokenizer,
    DiffusionDecoder,
    DiffusionDecoderConfig,
    DiscreteVisualTokenizer,
    VisualTokenizerConfig,
)

SIZES = {"channels": 8, "channel_multipliers": (1, 2, 3), "num_res_blocks": 1, "z_channels": 6}
DISCRETE = VisualTokenizerConfig(**SIZES, fsq_levels=(8, 3, 5))
CONTINUOUS = ContinuousTokenizerConfig(**SIZES, latent_channels=5, statistics_frames=8)
DECODER = DiffusionDecoderConfig(
    num_blocks=3, num_heads=2, head_dim=16, latent_channels=5, num_ids=120, token_dim=7, text_dim=10, adaln_lora_dim=9,
    mlp_ratio=3.0,
)  # fmt: skip
TRANSFORMER = ARConfig(
    dim=48, layers=2, heads=4, kv_heads=2, ffn_hidden=40, head_dim=12, visual_ids=60, visual_embedding_rows=60,
    absolute_positions=False,
)  # fmt: skip
# the one that reads text has rows that the head has not, the first of which begins a video
TEXT_TRANSFORMER = replace(TRANSFORMER, visual_embedding_rows=64, absolute_positions=True, context_dim=10)
_MOTION = ("motion_", "special_")
_STATISTICS = {"latents_mean", "latents_std"}
_TO_NVIDIA = (
    (r"\.conv_s\.", ".0.conv3d."),
    (r"\.conv_t\.", ".1.conv3d."),
    (r"\.(conv[123]|conv_shortcut|to_[qkv])\.(weight|bias)$", r".\1.conv3d.\2"),
    (r"^((?:post_)?quant_conv)\.", r"\1.conv3d."),
    (r"\.to_out\.0\.", ".proj_out.conv3d."),
    (r"\.conv_shortcut\.", ".nin_shortcut."),
    (r"\.to_([qkv])\.", r".\1."),
    (r"\.mid_block\.resnets\.0\.", ".mid.block_1."),
    (r"\.mid_block\.resnets\.1\.", ".mid.block_2."),
    (r"\.mid_block\.attentions\.0\.", ".mid.attn_1.0."),
    (r"\.mid_block\.temp_attentions\.0\.", ".mid.attn_1.1."),
    (r"\.(down|up)_blocks\.", r".\1."),
    (r"\.resnets\.", ".block."),
    (r"\.(down|up)samplers\.0\.", r".\1sample."),
)
_DECODER_TO_NVIDIA = (
    (r"^transformer\.patch_embed\.proj\.", "x_embedder.proj.1."),
    (r"^transformer\.time_embed\.norm\.", "affline_norm."),
    (r"^transformer\.time_embed\.t_embedder\.", "t_embedder.1."),
    (r"^transformer\.norm_out\.linear_", "final_layer.adaLN_modulation."),
    (r"^transformer\.proj_out\.", "final_layer.linear."),
    (r"^transformer\.transformer_blocks\.(\d+)\.", r"blocks.block\1."),
    (r"\.to_([qkv])\.", r".to_\1.0."),
    (r"\.norm_([qk])\.", r".to_\1.1."),
    (r"\.ff\.net\.0\.proj\.", ".ff.layer1."),
    (r"\.ff\.net\.2\.", ".ff.layer2."),
    (r"\.attn1\.", ".blocks.0.block.attn."),
    (r"\.attn2\.", ".blocks.1.block.attn."),
    (r"\.ff\.", ".blocks.2.block."),
    (r"\.norm1\.linear_", ".blocks.0.adaLN_modulation."),
    (r"\.norm2\.linear_", ".blocks.1.adaLN_modulation."),
    (r"\.norm3\.linear_", ".blocks.2.adaLN_modulation."),
)


def random_weights(model: nn.Module) -> nn.Module:
    """Fills every parameter, zero ones too, so that a weight in the wrong place shows."""
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            generator = torch.Generator().manual_seed(number)
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def discrete() -> DiscreteVisualTokenizer:
    return random_weights(DiscreteVisualTokenizer(DISCRETE))  # type: ignore[return-value]


def continuous() -> ContinuousVisualTokenizer:
    model = random_weights(ContinuousVisualTokenizer(CONTINUOUS))
    generator = torch.Generator().manual_seed(99)
    model.latents_mean.copy_(torch.randn(5, 8, generator=generator))  # type: ignore[union-attr, operator]
    model.latents_std.copy_(0.5 + torch.rand(5, 8, generator=generator))  # type: ignore[union-attr, operator]
    return model  # type: ignore[return-value]


def decoder() -> DiffusionDecoder:
    return random_weights(DiffusionDecoder(DECODER))  # type: ignore[return-value]


def transformer(text: bool = False) -> UniMoTransformer:
    """Cosmos-AR as NVIDIA has it: without the table where it reads no text, with the plain table where it does."""
    return random_weights(UniMoTransformer(TEXT_TRANSFORMER if text else TRANSFORMER))  # type: ignore[return-value]


def nvidia_names(model: nn.Module) -> dict[str, Tensor]:
    """A module's weights under NVIDIA's names, with the constants that NVIDIA stores."""
    state = {key: value.detach() for key, value in model.state_dict().items() if key not in _STATISTICS}
    if isinstance(model, UniMoTransformer):
        return {f"model.{key}": value for key, value in state.items() if not key.startswith(_MOTION)}
    if isinstance(model, DiffusionDecoder):
        named = {f"net.{_renamed(key, _DECODER_TO_NVIDIA)}": value for key, value in state.items()}
        return named | {"net.pos_embedder.seq": torch.arange(128.0), "logvar.0.freqs": torch.ones(4)}
    config = model.config
    assert isinstance(config, AutoencoderConfig)
    top = len(config.channel_multipliers) - 1
    flipped = {
        re.sub(r"\.up_blocks\.(\d+)\.", lambda match: f".up_blocks.{top - int(match[1])}.", key): value
        for key, value in state.items()
    }
    constants = {"encoder.patcher3d.wavelets": torch.ones(2), "decoder.unpatcher3d._arange": torch.arange(2)}
    return {_renamed(key, _TO_NVIDIA): value for key, value in flipped.items()} | constants


def save_model(folder: Path, state: Mapping[str, object], name: str = "model.pt") -> Path:
    """`folder` with `model.pt`."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state), folder / name)
    return folder


def save_statistics(folder: Path, model: ContinuousVisualTokenizer) -> Path:
    """`folder` with `mean_std.pt`, flat, as NVIDIA's."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save((model.latents_mean.flatten(), model.latents_std.flatten()), folder / "mean_std.pt")
    return folder


def save_prompt(folder: Path, channels: int = 10) -> Tensor:
    """Writes `folder/aux_vars.pt`, and returns the text states (4, channels) in it."""
    folder.mkdir(parents=True, exist_ok=True)
    context = torch.randn(1, 4, channels, generator=torch.Generator().manual_seed(5))
    torch.save({"context": context, "context_mask": torch.ones(1, 4)}, folder / "aux_vars.pt")
    return context[0]


def save_torchscript(
    folder: Path, state: Mapping[str, Tensor], levels: tuple[int, ...] = (), whole: bool = False
) -> Path:
    """`folder` with `autoencoder.jit`, or with `encoder.jit` and `decoder.jit`; `levels` of a quantiser."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = {"quantizer._levels": torch.tensor(levels, dtype=torch.int32)} if levels else {}
    encoder = {key: value for key, value in state.items() if key.startswith(("encoder.", "quant_conv."))}
    decoder = {key: value for key, value in state.items() if key not in encoder}
    inverse = {f"inv_quant.{key}": value for key, value in tables.items()}
    parts = {"encoder": encoder | tables, "decoder": decoder | inverse}
    for name, tensors in {"autoencoder": {**state, **tables}}.items() if whole else parts.items():
        torch.jit.trace(_Tree(tensors), torch.zeros(1)).save(str(folder / f"{name}.jit"))
    return folder


class _Tree(nn.Module):
    """A module whose state dict is the given one; it computes nothing."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        for key, value in state.items():
            *path, name = key.split(".")
            module: nn.Module = self
            for part in path:
                if part not in module._modules:
                    module.add_module(part, nn.Module())
                module = getattr(module, part)
            if value.is_floating_point():
                module.register_parameter(name, nn.Parameter(value))
            else:
                module.register_buffer(name, value)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + 1


def _renamed(key: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key
