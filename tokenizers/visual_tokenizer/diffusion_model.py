"""The diffusion decoder: visual ids and a noisy latent -> an estimate of the clean latent.

In: ids (B, K, h, w) of the discrete tokenizer and a noisy state (B, C, K, H, W) on the latent grid of the continuous
one, H = 2h, W = 2w; the state is `sigma_data` times normalised latents, plus noise. Out: the same shape.
The network is diffusers' `CosmosTransformer3DModel` with the token embedding of Cosmos's 7B decoder concatenated as
channels; noise levels are those of Karras et al. 2022 (EDM), as in diffusers' `EDMEulerScheduler`.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.transformers.transformer_cosmos import CosmosTransformer3DModel
from torch import Tensor, nn
from torch.nn import functional as F

from visual_tokenizer.diffusion_config import DiffusionDecoderConfig

EPSILON = 1e-6  # of every norm in NVIDIA's code; diffusers leaves 1e-5 in those of queries and keys


class DiffusionDecoder(nn.Module):
    """Token embedding and transformer; see the module's text for shapes.

    Attributes:
        prompt: (M, text_dim) text states for clips without text (Cosmos's `aux_vars.pt`), or None.
    """

    prompt: Tensor | None

    def __init__(self, config: DiffusionDecoderConfig) -> None:
        super().__init__()
        self.config = config
        prompt = torch.zeros(config.prompt_tokens, config.text_dim or 1) if config.prompt_tokens else None
        self.register_buffer("prompt", prompt)
        self.token_embedder = nn.Embedding(config.num_ids, config.token_dim)
        self.transformer = CosmosTransformer3DModel(
            in_channels=config.in_channels,
            out_channels=config.latent_channels,
            num_attention_heads=config.num_heads,
            attention_head_dim=config.head_dim,
            num_layers=config.num_blocks,
            mlp_ratio=config.mlp_ratio,
            text_embed_dim=config.text_dim or 1,
            adaln_lora_dim=config.adaln_lora_dim,
            max_size=config.max_size,
            patch_size=config.patch_size,
            rope_scale=config.rope_scale,
            concat_padding_mask=False,  # diffusers' own needs torchvision
            extra_pos_embed_type=None,
        )
        rope: Any = self.transformer.rope
        rope.base_fps = config.base_fps
        for block in self.transformer.transformer_blocks:
            if config.text_dim is None:
                block.register_module("norm2", _NoModulation())
                block.register_module("attn2", _NoAttention())
        for name, module in self.transformer.named_modules():
            if name.endswith((".norm_q", ".norm_k")):
                module.eps = EPSILON  # pyright: ignore[reportArgumentType]

    def condition(self, ids: Tensor) -> Tensor:
        """Embeds ids and doubles each frame's sides bilinearly.

        Args:
            ids: (B, K, h, w) integers in [0, num_ids).

        Returns:
            (B, token_dim, K, H, W).

        Raises:
            ValueError: wrong shape, dtype or range.
        """
        self._check_ids(ids)
        cells = self.token_embedder(ids.long()).flatten(0, 1).permute(0, 3, 1, 2)  # (B K, token_dim, h, w)
        cells = F.interpolate(cells, scale_factor=self.config.token_upsample, mode="bilinear", align_corners=False)
        return cells.unflatten(0, ids.shape[:2]).transpose(1, 2)

    def forward(
        self, latents: Tensor, time: Tensor, ids: Tensor, text: Tensor | None = None, fps: float | None = None
    ) -> Tensor:
        """The bare network.

        Args:
            latents: (B, C, K, H, W), already scaled to unit variance (`c_in`).
            time: (B,) noise level as the network sees it, 0.25 ln(sigma).
            ids: (B, K, h, w) integers in [0, num_ids).
            text: (B, M, text_dim) text states of any floating type, all attended; None for none, which equals zeros.
            fps: frames per second of the video; None for `base_fps`.

        Returns:
            (B, C, K, H, W) in the weights' dtype.

        Raises:
            ValueError: wrong shape, dtype or range.
        """
        self.check(latents, ids, text)
        if time.shape != latents.shape[:1]:
            raise ValueError(f"time must be ({len(latents)},), one number a sample, got {tuple(time.shape)}")
        latents, condition = latents.to(self.token_embedder.weight.dtype), self.condition(ids)
        mask = latents.new_zeros(len(latents), 1, *latents.shape[2:])
        if text is None:
            text = latents.new_zeros(len(latents), 1, self.config.text_dim or 1)
        inputs = torch.cat([latents, condition, mask], dim=1)
        return self.transformer(inputs, time, text.to(latents.dtype), fps=self.frame_rate(fps), return_dict=False)[0]

    def denoise(
        self, noisy: Tensor, sigma: Tensor, ids: Tensor, text: Tensor | None = None, fps: float | None = None
    ) -> Tensor:
        """Estimates the clean state, with EDM's preconditioning (Karras et al. 2022, table 1).

        Args:
            noisy: (B, C, K, H, W) state plus noise of standard deviation sigma.
            sigma: (B,) noise levels, positive.
            ids, text, fps: as in `forward`.

        Returns:
            (B, C, K, H, W) float32.

        Raises:
            ValueError: wrong shape, dtype or range.
        """
        if sigma.shape != noisy.shape[:1] or not bool((sigma > 0).all()):
            raise ValueError(f"sigma must be ({len(noisy)},) positive numbers, got {tuple(sigma.shape)}")
        data = self.config.sigma_data
        level = sigma.float().view(-1, 1, 1, 1, 1)
        total = level.square() + data**2
        output = self(noisy * total.rsqrt(), 0.25 * sigma.float().log(), ids, text, fps)
        return data**2 / total * noisy + level * data * total.rsqrt() * output.float()

    def denoise_noised(
        self,
        latents: Tensor,
        ids: Tensor,
        sigma: Tensor,
        noise: Tensor,
        text: Tensor | None = None,
        fps: float | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What a training loss needs: `(weight * (denoised - state).square()).mean()` is EDM's.

        Args:
            latents: (B, C, K, H, W) clean normalised latents.
            ids: (B, K, h, w); all 0 (and no text) for the unconditional branch.
            sigma: (B,) noise levels, positive.
            noise: as latents, standard normal.
            text, fps: as in `forward`.

        Returns:
            state (sigma_data times latents), denoised, both (B, C, K, H, W) float32, and weight (B, 1, 1, 1, 1).

        Raises:
            ValueError: wrong shape, dtype or range.
        """
        if noise.shape != latents.shape:
            raise ValueError(f"noise must be {tuple(latents.shape)} as latents, got {tuple(noise.shape)}")
        data = self.config.sigma_data
        if sigma.shape != latents.shape[:1]:
            raise ValueError(f"sigma must be ({len(latents)},) positive numbers, got {tuple(sigma.shape)}")
        state, level = data * latents.float(), sigma.float().view(-1, 1, 1, 1, 1)
        denoised = self.denoise(state + level * noise, sigma, ids, text, fps)
        return state, denoised, (level.square() + data**2) / (level * data).square()

    def prompt_states(self, batch: int) -> Tensor | None:
        """The kept prompt for every clip of a batch, (batch, M, text_dim); None without one."""
        return None if self.prompt is None else self.prompt.expand(batch, -1, -1)

    def frame_rate(self, fps: float | None) -> float:
        """`fps`, or `base_fps` for None; ValueError unless positive."""
        if fps is not None and not fps > 0:
            raise ValueError(f"fps must be positive, got {fps}")
        return self.config.base_fps if fps is None else fps

    def _check_ids(self, ids: Tensor) -> None:
        if ids.ndim != 4 or 0 in ids.shape:
            raise ValueError(f"ids must be (B, K, h, w), got {tuple(ids.shape)}")
        if ids.is_floating_point() or ids.dtype == torch.bool:
            raise ValueError(f"ids must be integers, got {ids.dtype}")
        low, high = (int(value) for value in ids.aminmax())
        if low < 0 or high >= self.config.num_ids:
            raise ValueError(f"ids must lie in 0..{self.config.num_ids - 1}, got {low}..{high}")

    def check(self, latents: Tensor, ids: Tensor, text: Tensor | None, any_length: bool = False) -> None:
        """Raises ValueError unless latents, ids and text fit together; `any_length` allows any number of frames."""
        self._check_ids(ids)
        batch, frames, height, width = ids.shape
        up, config = self.config.token_upsample, self.config
        expected = (batch, config.latent_channels, frames, up * height, up * width)
        if latents.shape != expected:
            raise ValueError(f"latents of ids {tuple(ids.shape)} must be {expected}, got {tuple(latents.shape)}")
        most = (frames, *config.max_size[1:]) if any_length else config.max_size
        sizes = zip(expected[2:], config.patch_size, most, strict=True)
        if any(size % patch or size > limit for size, patch, limit in sizes):
            raise ValueError(
                f"latent frames, rows and columns {expected[2:]} must be multiples of {config.patch_size} "
                f"and at most {config.max_size}"
            )
        if text is not None and (
            config.text_dim is None or text.ndim != 3 or text.shape[::2] != (batch, config.text_dim)
        ):
            wanted = "None: this decoder has no text" if config.text_dim is None else (batch, "M", config.text_dim)
            raise ValueError(f"text must be {wanted}, got {tuple(text.shape)}")


@torch.no_grad()
def initialize_diffusion_decoder(model: DiffusionDecoder) -> None:
    """Starting weights for training, in place, from torch's global generator: every block begins as the identity.

    Linear layers are Xavier-uniform; modulations and the output start at zero (adaLN-Zero, Peebles & Xie 2023), so the
    first estimate is EDM's skip term alone. Ids are told apart from the start (embedding of unit variance).
    """
    for module in model.transformer.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
    nn.init.normal_(model.token_embedder.weight)
    zeroed = [model.transformer.time_embed.t_embedder.linear_2, model.transformer.norm_out.linear_2]
    for block in model.transformer.transformer_blocks:
        zeroed += [block.norm1.linear_2, block.norm3.linear_2]  # pyright: ignore
        if model.config.text_dim is not None:
            zeroed.append(block.norm2.linear_2)  # pyright: ignore
    for layer in [*zeroed, model.transformer.proj_out]:
        nn.init.zeros_(layer.weight)


class _NoModulation(nn.Module):
    """Stands for the norm before cross-attention where there is no text."""

    def forward(self, hidden: Tensor, embedded_time: Tensor, shared_time: Tensor) -> tuple[Tensor, Tensor]:
        return hidden, hidden.new_zeros(())


class _NoAttention(nn.Module):
    """Cross-attention to text zeros: without biases, values and so the output are exactly 0."""

    def forward(self, hidden: Tensor, encoder_hidden_states: Tensor, attention_mask: None) -> Tensor:
        return hidden.new_zeros(())
