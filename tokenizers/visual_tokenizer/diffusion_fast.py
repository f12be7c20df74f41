"""The diffusion decoder's transformer for sampling: the same numbers as the module's forward pass, with less work.

In: a `DiffusionDecoder`, part of whose weights is copied and rearranged; per clip, ids and noise levels. Out: the
network's output between patches, for the conditional and (with guidance) the unconditional branch of one sample.

Exact in real numbers; rounding differs by some 1e-6 of the output's scale:
- All samples of a step share one noise level, so every modulation is one vector a step. They are computed once for all
  steps, and norm, scale and shift are one operation.
- The state stays in patches from the first step to the last; the ids' part of the patch embedding, RoPE with the
  weights of the query and key norms, and keys and values of the text are computed once a clip.
- Query, key and value are one product; without text, cross-attention adds 0 and is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from visual_tokenizer.diffusion_model import EPSILON, DiffusionDecoder


@dataclass(frozen=True)
class ClipCondition:
    """What does not change between the steps of one clip; n is 1, or 2 with the unconditional branch second.

    Attributes:
        embedded: (n, S, width) patch embedding of the ids' channels.
        rope: for each block, two (S, 2, 1, head_dim) float32 factors of queries and keys, and of their swapped halves.
        text: for each block keys and values (1, heads, M, head_dim), or None without text.
    """

    embedded: Tensor
    rope: list[tuple[Tensor, Tensor]]
    text: list[tuple[Tensor, Tensor]] | None


class FastTransformer:
    """Runs like the model it is built from, without gradients and outside autocast.

    The patch embedding, the output, and self-attention and MLPs of the blocks are copied, or shared where their order
    stays; embeddings of ids and times, modulations and cross-attention are the model's own. So a model that trained or
    moved needs a new one.
    """

    @torch.no_grad()
    def __init__(self, model: DiffusionDecoder) -> None:
        self.model, self.config = model, model.config
        transformer: Any = model.transformer
        self._blocks = [_Block(block) for block in transformer.transformer_blocks]
        embed, channels = transformer.patch_embed.proj.weight, model.config.latent_channels
        cells = embed.shape[1] // model.config.in_channels
        self._embed_latents = embed[:, : channels * cells].T.contiguous()
        self._embed_condition = embed[:, channels * cells : -cells].T.contiguous()  # the mask's channel is zero
        # the model writes a patch as (h, w, t, c) and reads it as (c, t, h, w): the state is kept as it reads
        patch = (*model.config.patch_size[1:], model.config.patch_size[0], channels)
        written = transformer.proj_out.weight.unflatten(0, patch)
        self._output = _Product(written.permute(3, 2, 0, 1, 4).flatten(0, 3))

    def patches(self, latents: Tensor) -> Tensor:
        """(B, C, K, H, W) -> (B, S, C * patch), as the patch embedding reads them."""
        return _patches(latents, self.config.patch_size)

    def latents(self, patches: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The inverse of `patches`, for latents of `shape`."""
        batch, channels, frames, height, width = shape
        p_t, p_h, p_w = self.config.patch_size
        cells = patches.view(batch, frames // p_t, height // p_h, width // p_w, channels, p_t, p_h, p_w)
        return cells.permute(0, 4, 1, 5, 2, 6, 3, 7).reshape(shape)

    def modulations(self, times: Tensor) -> list[Tensor]:
        """Times (N,) -> for each step (blocks * 3 + 1, 3, width): 1 + scale, shift and gate of every norm, in order."""
        transformer: Any = self.model.transformer
        shared, embedded = transformer.time_embed(transformer.patch_embed.proj.weight, times)
        norms = [norm for block in transformer.transformer_blocks for norm in (block.norm1, block.norm2, block.norm3)]
        rows = [_modulation(norm, embedded, shared) for norm in (*norms, transformer.norm_out)]
        return list(torch.stack(rows, dim=1))

    def condition(self, ids: Tensor, text: Tensor | None, fps: float | None, guided: bool) -> ClipCondition:
        """Args: ids (1, K, h, w); text (1, M, text_dim), any floating type; `guided` adds ids 0 without text."""
        ids = torch.cat([ids, torch.zeros_like(ids)]) if guided else ids
        channels = self.model.condition(ids)
        embedded = self.patches(channels) @ self._embed_condition
        transformer: Any = self.model.transformer
        tables = transformer.rope(channels, fps=self.model.frame_rate(fps))
        cosines, sines = (table[:, None, None] for table in tables)  # (S, 1, 1, head_dim) float32
        return ClipCondition(
            embedded,
            [block.rope(cosines, sines) for block in self._blocks],
            None if text is None else [block.text(text.to(embedded.dtype)) for block in self._blocks],
        )

    def __call__(self, patches: Tensor, scale: float, modulations: Tensor, condition: ClipCondition) -> Tensor:
        """Args: patches (1, S, C * patch) times `scale` is the input. Returns (n, S, C * patch), as the input lies."""
        embedded = patches[0].to(condition.embedded.dtype) @ (self._embed_latents * scale)
        hidden = condition.embedded + embedded
        for index, block in enumerate(self._blocks):
            text = None if condition.text is None else condition.text[index]
            hidden = block(hidden, modulations[3 * index : 3 * index + 3], condition.rope[index], text)
        scale_out, shift, _ = modulations[-1]
        return self._output(_norm(hidden, scale_out, shift))


class _Product:
    """x -> x @ weight.T, with exact GELU behind it if asked for."""

    def __init__(self, weight: Tensor) -> None:
        weight = weight.detach().contiguous()
        on_cpu = weight.device.type == "cpu" and weight.dtype == torch.float32
        # oneDNN with weights in its own order is a tenth faster than `F.linear` on a CPU, GELU included
        self.packed = on_cpu and _can_pack()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight) if self.packed else weight

    def __call__(self, x: Tensor, gelu: bool = False) -> Tensor:
        if self.packed:
            return _packed_product(x, self.weight, gelu)
        return F.gelu(F.linear(x, self.weight)) if gelu else F.linear(x, self.weight)


def _packed_product(x: Tensor, packed: Tensor, gelu: bool) -> Tensor:
    after = ("gelu", [], "none") if gelu else ("none", [], "")
    return torch.ops.mkldnn._linear_pointwise(x, packed, None, *after)


@cache
def _can_pack() -> bool:
    """Whether oneDNN's packed product works here: its operations are private to torch, so a tiny one is tried."""
    x = torch.linspace(-1, 1, 32, dtype=torch.float32, device="cpu").view(2, 16)
    weight = x.repeat(8, 1)
    try:
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            packed, expected = torch.ops.mkldnn._reorder_linear_weight(weight), x @ weight.T
            plain, bent = (_packed_product(x, packed, gelu) for gelu in (False, True))
        return torch.allclose(plain, expected, atol=1e-5) and torch.allclose(bent, F.gelu(expected), atol=1e-5)
    except (AttributeError, RuntimeError, TypeError):
        return False


class _Block:
    """One transformer block on (n, S, width), in place."""

    def __init__(self, block: Any) -> None:
        own, cross = block.attn1, block.attn2
        self.heads = own.heads
        self.norm_weights = torch.stack([own.norm_q.weight, own.norm_k.weight])[:, None]  # (2, 1, head_dim)
        self.qkv = _Product(torch.cat([layer.weight for layer in (own.to_q, own.to_k, own.to_v)]))
        self.out = _Product(own.to_out[0].weight)
        self.up, self.down = _Product(block.ff.net[0].proj.weight), _Product(block.ff.net[2].weight)
        self.cross = cross if hasattr(cross, "to_q") else None

    def rope(self, cosines: Tensor, sines: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and signed sines times the norms' weights: swap(weight x) = swap(weight) swap(x), swap of halves."""
        half = sines.shape[-1] // 2
        signed = torch.cat([-sines[..., :half], sines[..., half:]], dim=-1)
        return cosines * self.norm_weights, signed * self.norm_weights.roll(half, dims=-1)

    def text(self, text: Tensor) -> tuple[Tensor, Tensor]:
        assert self.cross is not None
        key = self.cross.to_k(text).unflatten(2, (self.heads, -1)).transpose(1, 2)
        value = self.cross.to_v(text).unflatten(2, (self.heads, -1)).transpose(1, 2)
        return self.cross.norm_k(key), value

    def __call__(
        self, hidden: Tensor, modulations: Tensor, rope: tuple[Tensor, Tensor], text: tuple[Tensor, Tensor] | None
    ) -> Tensor:
        scale, shift, gate = modulations[0]
        hidden.addcmul_(gate, self._attend(_norm(hidden, scale, shift), rope))
        if text is not None:
            scale, shift, gate = modulations[1]  # the unconditional branch has no text
            hidden[:1].addcmul_(gate, self._read(_norm(hidden[:1], scale, shift), text))
        scale, shift, gate = modulations[2]
        return hidden.addcmul_(gate, self.down(self.up(_norm(hidden, scale, shift), gelu=True)))

    def _attend(self, x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
        qkv = self.qkv(x).unflatten(2, (3, self.heads, -1))  # (n, S, 3, heads, head_dim)
        raw, half = qkv[:, :, :2], qkv.shape[-1] // 2
        length = torch.linalg.vector_norm(raw, dim=-1, keepdim=True, dtype=torch.float32)
        turned = raw * rope[0]
        turned[..., :half].addcmul_(raw[..., half:], rope[1][..., :half])
        turned[..., half:].addcmul_(raw[..., :half], rope[1][..., half:])
        turned.mul_((length.square() / (2 * half) + EPSILON).rsqrt())
        query, key = (part.transpose(1, 2) for part in turned.to(x.dtype).unbind(2))
        return self.out(_joined(F.scaled_dot_product_attention(query, key, qkv[:, :, 2].transpose(1, 2))))

    def _read(self, x: Tensor, text: tuple[Tensor, Tensor]) -> Tensor:
        assert self.cross is not None
        query = self.cross.norm_q(self.cross.to_q(x).unflatten(2, (self.heads, -1)).transpose(1, 2))
        return self.cross.to_out[0](_joined(F.scaled_dot_product_attention(query, *text)))


def _patches(x: Tensor, patch: tuple[int, int, int]) -> Tensor:
    batch, channels, frames, height, width = x.shape
    p_t, p_h, p_w = patch
    cells = x.reshape(batch, channels, frames // p_t, p_t, height // p_h, p_h, width // p_w, p_w)
    return cells.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4, 7).flatten(1, 3)


def _modulation(norm: Any, embedded: Tensor, shared: Tensor) -> Tensor:
    """(N, 3, width): 1 + scale, shift, gate (0 after the last block, which has none, and where there is no text)."""
    width = embedded.shape[-1]
    if not hasattr(norm, "linear_2"):
        return embedded.new_zeros(len(embedded), 3, width)
    values = norm.linear_2(norm.linear_1(norm.activation(embedded)))
    values = values + shared[:, : values.shape[1]]
    shift, scale, *gate = values.split(width, dim=-1)
    return torch.stack([1 + scale, shift, gate[0] if gate else torch.zeros_like(shift)], dim=1)


def _norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], scale, shift, EPSILON)


def _joined(heads: Tensor) -> Tensor:
    """(n, heads, S, head_dim) -> (n, S, width)."""
    return heads.transpose(1, 2).flatten(2)
