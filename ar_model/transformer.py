"""The autoregressive transformer: Cosmos-AR's blocks with separate embeddings and heads for visual and motion tokens.

In:  tokens (B, N) in the order of a :class:`SequenceLayout`; a :class:`Context` for a model that reads text.
Out: hidden states (B, S, dim); a loss per modality; logits of one modality at chosen positions.
Only the head of a position's own modality is ever evaluated, so modalities cannot be confused.
Parameter names are Cosmos's (``tok_embeddings``, ``layers.N.attention.wq``, ..., ``norm``, ``output``) for the visual
half; ours add ``motion_embeddings``, ``special_embeddings``, ``motion_output`` (in the motion layout "frame"
``depth``) and, if learned, ``position_gain``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ar_model.absolute import absolute_table
from ar_model.blocks import Block, Context, Memory, RMSNorm
from ar_model.config import ARConfig
from ar_model.depth import DepthTransformer, FrameEmbedding
from ar_model.rope import rope_tables
from ar_model.sequence import CODES_PER_FRAME, MOTION, SPECIAL, SPECIAL_IDS, VISUAL, Run, SequenceLayout

# logits of one loss chunk: 2^26 fp32 values are 256 MB, above that chunks are recomputed in backward
MAX_LOGITS = 2**26


@dataclass(frozen=True)
class Positions:
    """Tables of one layout: cos, sin (S, head_dim) and the absolute table (S, dim or head_dim) or ``None``."""

    cos: Tensor
    sin: Tensor
    absolute: Tensor | None

    def at(self, keep: Tensor) -> Positions:
        """The rows of some positions."""
        absolute = None if self.absolute is None else self.absolute[keep]
        return Positions(self.cos[keep], self.sin[keep], absolute)


@dataclass(frozen=True)
class ARLoss:
    """Cross-entropy in nats and accuracy over target tokens; a modality without targets has count 0 and value 0."""

    total: Tensor
    visual: Tensor
    motion: Tensor
    visual_accuracy: Tensor
    motion_accuracy: Tensor
    visual_tokens: int
    motion_tokens: int


class UniMoTransformer(nn.Module):
    """The unified transformer over visual, motion and special tokens.

    Attributes:
        activation_checkpointing: while training, keep only what enters the blocks and compute the rest again.
    """

    motion_embeddings: nn.Embedding | FrameEmbedding
    motion_output: nn.Linear
    depth: DepthTransformer | None

    def __init__(self, config: ARConfig) -> None:
        super().__init__()
        self.config, depth = config, config.depth
        self.activation_checkpointing = False
        self.tok_embeddings = nn.Embedding(config.embedding_rows, config.dim)
        self.motion_embeddings = (
            nn.Embedding(config.motion_ids, config.dim) if depth is None else FrameEmbedding(config, depth)
        )
        self.special_embeddings = nn.Embedding(SPECIAL_IDS, config.dim)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.dim, config.norm_eps)
        self.output = nn.Linear(config.dim, config.visual_ids, bias=False)
        if depth is None:
            self.motion_output = nn.Linear(config.dim, config.motion_ids, bias=False)
        self.depth = None if depth is None else DepthTransformer(config, depth)
        gain = config.position_gain
        self.position_gain = None if gain is None else nn.Parameter(torch.full((config.layers,), float(gain)))
        self._tables: dict[tuple[SequenceLayout, torch.device], Positions] = {}
        self.reset_parameters()

    # ------------------------------------------------------------------ forward

    def forward(self, tokens: Tensor, layout: SequenceLayout, context: Context | None = None) -> Tensor:
        """Hidden states after the last norm.

        Args:
            tokens: (B, N) int64 in the layout's order.
            layout: the layout of every row.
            context: what the rows may look at; given exactly where the config has a ``context_dim``.

        Returns:
            (B, S, dim); position p predicts the token, or the frame of tokens, at p + 1.

        Raises:
            ValueError: tokens do not fit the layout, or the context does not fit the config or the tokens.
        """
        return self.norm(deque(self.streams(tokens, layout, context=context), maxlen=1).pop())

    def residuals(
        self, tokens: Tensor, layout: SequenceLayout, keep: Tensor | None = None, context: Context | None = None
    ) -> list[Tensor]:
        """The residual stream after every block, as `streams` yields it."""
        return list(self.streams(tokens, layout, keep, context))

    def streams(
        self, tokens: Tensor, layout: SequenceLayout, keep: Tensor | None = None, context: Context | None = None
    ) -> Iterator[Tensor]:
        """The residual stream after every block, one after another.

        Args:
            tokens: (B, N) int64 in the layout's order.
            layout: the layout of every row.
            keep: (P,) ascending positions, the whole condition among them; all others are left out of the sequence,
                those that stay keep their coordinates. ``None`` keeps everything (P = S).
            context: as in ``forward``.

        Yields:
            ``layers`` tensors (B, P, dim).

        Raises:
            ValueError: tokens do not fit the layout, or the context does not fit the config or the tokens.
        """
        layout.check_shape(tokens)
        self.check_layout(layout)
        memories = self.read(context, len(tokens))
        x, tables = self.embed(tokens, layout), self.positions(layout, tokens.device)
        if keep is not None:
            x, tables = x[:, keep], tables.at(keep)
        if self.config.dropout:
            x = F.dropout(x, self.config.dropout, self.training)
        for index, block in enumerate(self.layers):
            x, heads = self.add_position(x, tables.absolute, index)
            arguments = (x, tables.cos, tables.sin, layout.prefix_length, memories[index], heads)
            x = self._keeping_less(block, *arguments)
            yield x

    def _keeping_less(self, module: nn.Module, *arguments: Any) -> Tensor:
        """What a module makes of its arguments; with activation checkpointing only they are kept for the gradient."""
        if self.activation_checkpointing and self.training:
            return checkpoint(module, *arguments, use_reentrant=False)
        return module(*arguments)

    def check_layout(self, layout: SequenceLayout) -> None:
        """Raise ``ValueError`` unless motion stands in the layout as the config has it."""
        if layout.motion_layout != self.config.motion_layout and layout.task != "video":
            ours, theirs = self.config.motion_layout, layout.motion_layout
            raise ValueError(f"the model has motion layout {ours!r}, the sequence {theirs!r}")

    def read(self, context: Context | None, rows: int) -> list[Memory | None]:
        """What each block keeps of a context for ``rows`` sequences.

        Raises:
            ValueError: a context is missing or not wanted, or its rows or channels do not fit.
        """
        width = self.config.context_dim
        if (context is None) != (width is None):
            missing = f"this model needs a context of {width} channels"
            raise ValueError(missing if context is None else "this model reads no context (its context_dim is None)")
        if context is not None and (context.states.shape[0], context.states.shape[2]) != (rows, width):
            raise ValueError(f"context states must be ({rows}, M, {width}), got {tuple(context.states.shape)}")
        return [block.read(context) for block in self.layers if isinstance(block, Block)]

    def embed(self, tokens: Tensor, layout: SequenceLayout) -> Tensor:
        """(B, n) tokens, the first of the layout -> (B, P, dim), each from its own modality's embedding.

        In the motion layout "frame" the tokens must end between frames.
        """
        parts = [self.embed_run(tokens[:, run.tokens], run) for run in layout.runs if run.first_token < tokens.shape[1]]
        return torch.cat(parts, dim=1)

    def embed_run(self, tokens: Tensor, run: Run) -> Tensor:
        """(B, n) tokens of one run -> (B, P, dim)."""
        if run.modality == MOTION and self.depth is not None:
            tokens = tokens.unflatten(1, (-1, CODES_PER_FRAME))
        return self.embedding(run.modality)(tokens)

    def embedding(self, modality: int) -> nn.Module:
        """The embedding of one modality: ids (...) -> (..., dim), of whole motion frames (..., 36) -> (..., dim)."""
        return {SPECIAL: self.special_embeddings, VISUAL: self.tok_embeddings, MOTION: self.motion_embeddings}[modality]

    def head(self, modality: int) -> nn.Linear:
        """The output layer of one modality; motion has one in the motion layout "token" only."""
        return self.output if modality == VISUAL else self.motion_output

    def add_position(self, x: Tensor, absolute: Tensor | None, layer: int) -> tuple[Tensor, Tensor | None]:
        """The stream with the absolute table of a layer added, and what the layer adds to its queries and keys."""
        if absolute is None:
            return x, None
        gain = self.position_gain
        absolute = absolute.to(x.dtype) if gain is None else gain[layer].to(x.dtype) * absolute.to(x.dtype)
        return (x, absolute) if self.config.position_form == "query_key" else (x + absolute, None)

    def positions(self, layout: SequenceLayout, device: torch.device | str) -> Positions:
        """Position tables of a layout in float32, computed once per layout and device."""
        key = (layout, torch.device(device))
        if key not in self._tables:
            config, known = self.config, layout.has_position
            places = layout.shared_coordinates if config.unified_rope else layout.rope_coordinates
            cos, sin = rope_tables(places, known, config.head_width, config.rope_theta)
            absolute = None
            if config.absolute_positions:
                width = config.head_width if config.position_form == "query_key" else config.dim
                absolute = absolute_table(layout.shared_coordinates, known, width).to(device)
            self._tables[key] = Positions(cos.to(device), sin.to(device), absolute)
        return self._tables[key]

    # ------------------------------------------------------------------ loss

    def loss(
        self,
        tokens: Tensor,
        layout: SequenceLayout,
        labels: Tensor | None = None,
        context: Context | None = None,
        z_loss: float = 0.0,
    ) -> ARLoss:
        """Cross-entropy of the target tokens, each against its own modality's vocabulary.

        Args:
            tokens: (B, N) int64 in the layout's order.
            layout: the layout of every row.
            labels: (B, N) int64, the clean tokens where `tokens` carry noise; `tokens` themselves when left out.
            context: as in ``forward``.
            z_loss: weight in the total of the squared log-partition, which keeps logits small (Cosmos: 1e-4).

        Returns:
            An :class:`ARLoss`; ``total`` is the mean over all target tokens of both modalities.
        """
        hidden = self(tokens, layout, context)
        return self.loss_of(hidden, layout, tokens, tokens if labels is None else labels, z_loss=z_loss)

    def loss_of(
        self,
        hidden: Tensor,
        layout: SequenceLayout,
        tokens: Tensor,
        labels: Tensor,
        keep: Tensor | None = None,
        z_loss: float = 0.0,
    ) -> ARLoss:
        """:meth:`loss` of hidden states (B, P, dim) at the positions ``keep`` (P,), or at all positions."""
        rows_of = torch.arange(len(layout), device=hidden.device)
        if keep is not None:
            rows_of = torch.full_like(rows_of, -1).scatter(0, keep, torch.arange(len(keep), device=hidden.device))
        place = layout.first_tokens.to(hidden.device)
        sums: dict[int, _Sums] = {}
        for modality in (VISUAL, MOTION):
            positions = layout.targets(modality).to(hidden.device)
            positions = positions[rows_of[positions - 1] >= 0]
            rows, first = hidden[:, rows_of[positions - 1]], place[positions]
            if modality == MOTION and self.depth is not None:
                if not len(positions):  # video alone: the depth transformer has nothing to write
                    nothing = hidden.new_zeros((), dtype=torch.float32)
                    sums[modality] = _Sums(nothing, nothing, nothing, 0)
                    continue
                first = first[:, None] + torch.arange(CODES_PER_FRAME, device=hidden.device)
                rows = self._keeping_less(self.depth, rows, tokens[:, first])
            sums[modality] = self._cross_entropy(rows.flatten(0, -2), labels[:, first].flatten(), modality, z_loss)
        visual, motion = sums[VISUAL], sums[MOTION]
        return ARLoss(
            total=(visual.total + motion.total) / (visual.count + motion.count),
            visual=visual.loss / max(visual.count, 1),
            motion=motion.loss / max(motion.count, 1),
            visual_accuracy=visual.hits / max(visual.count, 1),
            motion_accuracy=motion.hits / max(motion.count, 1),
            visual_tokens=visual.count,
            motion_tokens=motion.count,
        )

    def _cross_entropy(self, rows: Tensor, labels: Tensor, modality: int, z_loss: float) -> _Sums:
        """Sums over rows (N, dim) against labels (N,); logits exist for one chunk of rows at a time."""
        if self.config.unified_vocabulary:
            weight = torch.cat([self.output.weight, self.motion_output.weight])
            labels = labels + (self.config.visual_ids if modality == MOTION else 0)
        else:
            weight = self._head_weight(modality)
        size = max(1, MAX_LOGITS // weight.shape[0])
        if rows.shape[0] <= size:
            return _Sums(*_chunk_loss(rows, labels, weight, z_loss), rows.shape[0])
        total = loss = hits = rows.new_zeros((), dtype=torch.float32)
        for part, part_labels in zip(rows.split(size), labels.split(size), strict=True):
            found = checkpoint(_chunk_loss, part, part_labels, weight, z_loss, use_reentrant=False)
            total, loss, hits = total + found[0], loss + found[1], hits + found[2]
        return _Sums(total, loss, hits, rows.shape[0])

    def _head_weight(self, modality: int) -> Tensor:
        depth = self.depth if modality == MOTION else None
        return self.head(modality).weight if depth is None else depth.output.weight

    # ------------------------------------------------------------------ initialisation

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Cosmos's initialisation with the config's standard deviations."""
        config = self.config
        for table in (self.tok_embeddings, self.special_embeddings):
            nn.init.normal_(table.weight, std=config.embedding_std)
        if isinstance(self.motion_embeddings, FrameEmbedding):
            # codes of unit size: the sum over all slots then has the embeddings' deviation
            nn.init.normal_(self.motion_embeddings.codes.weight)
            slots = self.motion_embeddings.slots
            nn.init.normal_(slots.weight, std=config.embedding_std * slots.in_features**-0.5)
        else:
            nn.init.normal_(self.motion_embeddings.weight, std=config.embedding_std)
        _reset_blocks(self.layers, config.init_std)
        heads = [self.output]
        if self.depth is None:
            heads.append(self.motion_output)
        else:
            self.depth.reset_parameters(config.embedding_std)
            _reset_blocks(self.depth.layers, config.init_std)
            heads.append(self.depth.output)
        for linear in heads:
            _truncated_normal(linear.weight, linear.in_features**-0.5, 3.0)


@dataclass(frozen=True)
class _Sums:
    """Over the target tokens of one modality: loss with the z term, cross-entropy, right argmaxes, and their count."""

    total: Tensor
    loss: Tensor
    hits: Tensor
    count: int


def _chunk_loss(rows: Tensor, labels: Tensor, weight: Tensor, z_loss: float) -> tuple[Tensor, Tensor, Tensor]:
    logits = F.linear(rows, weight).float()
    hits = (logits.detach().argmax(dim=-1) == labels).sum().float()
    loss = F.cross_entropy(logits, labels, reduction="sum")
    total = loss + z_loss * torch.logsumexp(logits, dim=-1).square().sum() if z_loss else loss
    return total, loss.detach(), hits


def _reset_blocks(layers: nn.ModuleList, std: float) -> None:
    """Cosmos's initialisation of blocks: branches that write to the stream start smaller with depth."""
    for index, block in enumerate(layers):
        assert isinstance(block, Block)
        branch = std / (2 * (index + 1)) ** 0.5
        for linear in (block.attention.wq, block.attention.wk, block.attention.wv, block.feed_forward.w1):
            _truncated_normal(linear.weight, std, 2.0)
        for linear in (block.attention.wo, block.feed_forward.w2, block.feed_forward.w3):
            _truncated_normal(linear.weight, branch, 2.0)
        if block.cross_attention is not None:
            for linear in (block.cross_attention.wq, block.cross_attention.wk, block.cross_attention.wv):
                _truncated_normal(linear.weight, std, 2.0)
            _truncated_normal(block.cross_attention.wo.weight, branch, 2.0)


def _truncated_normal(weight: Tensor, std: float, cut: float) -> None:
    nn.init.trunc_normal_(weight, std=std, a=-cut * std, b=cut * std)
