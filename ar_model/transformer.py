"""The autoregressive transformer: Cosmos-AR's blocks with separate embeddings and heads for visual and motion tokens.

In:  tokens (B, S) in the order of a :class:`SequenceLayout`; a :class:`Context` for a model that reads text.
Out: hidden states (B, S, dim); a loss per modality; logits of one modality at chosen positions.
Only the head of a position's own modality is ever evaluated, so modalities cannot be confused.
Parameter names are Cosmos's (``tok_embeddings``, ``layers.N.attention.wq``, ..., ``norm``, ``output``) for the visual
half; ours add ``motion_embeddings``, ``special_embeddings``, ``motion_output`` and, if learned, ``position_gain``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ar_model.absolute import absolute_table
from ar_model.blocks import Block, Context, Memory, RMSNorm
from ar_model.config import ARConfig
from ar_model.rope import rope_tables
from ar_model.sequence import MOTION, SPECIAL, SPECIAL_IDS, VISUAL, SequenceLayout

# logits of one loss chunk: 2^26 fp32 values are 256 MB, above that chunks are recomputed in backward
MAX_LOGITS = 2**26


@dataclass(frozen=True)
class Positions:
    """Tables of one layout: cos, sin (S, head_dim) and the absolute table (S, dim) or ``None``."""

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
    """The unified transformer over visual, motion and special tokens."""

    def __init__(self, config: ARConfig) -> None:
        super().__init__()
        self.config = config
        self.tok_embeddings = nn.Embedding(config.embedding_rows, config.dim)
        self.motion_embeddings = nn.Embedding(config.motion_ids, config.dim)
        self.special_embeddings = nn.Embedding(SPECIAL_IDS, config.dim)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.dim, config.norm_eps)
        self.output = nn.Linear(config.dim, config.visual_ids, bias=False)
        self.motion_output = nn.Linear(config.dim, config.motion_ids, bias=False)
        gain = config.position_gain
        self.position_gain = None if gain is None else nn.Parameter(torch.full((config.layers,), float(gain)))
        self._tables: dict[tuple[SequenceLayout, torch.device], Positions] = {}
        self.reset_parameters()

    # ------------------------------------------------------------------ forward

    def forward(self, tokens: Tensor, layout: SequenceLayout, context: Context | None = None) -> Tensor:
        """Hidden states after the last norm.

        Args:
            tokens: (B, S) int64 in the layout's order.
            layout: the layout of every row.
            context: what the rows may look at; given exactly where the config has a ``context_dim``.

        Returns:
            (B, S, dim); position p predicts the token at p + 1.

        Raises:
            ValueError: tokens do not fit the layout, or the context does not fit the config or the tokens.
        """
        return self.norm(self.residuals(tokens, layout, context=context)[-1])

    def residuals(
        self, tokens: Tensor, layout: SequenceLayout, keep: Tensor | None = None, context: Context | None = None
    ) -> list[Tensor]:
        """The residual stream after every block.

        Args:
            tokens: (B, S) int64 in the layout's order.
            layout: the layout of every row.
            keep: (P,) ascending positions, the whole condition among them; all others are left out of the sequence,
                those that stay keep their coordinates. ``None`` keeps everything (P = S).
            context: as in ``forward``.

        Returns:
            ``layers`` tensors (B, P, dim).

        Raises:
            ValueError: tokens do not fit the layout, or the context does not fit the config or the tokens.
        """
        layout.check_shape(tokens)
        memories = self.read(context, len(tokens))
        x, tables = self.embed(tokens, layout), self.positions(layout, tokens.device)
        if keep is not None:
            x, tables = x[:, keep], tables.at(keep)
        if self.config.dropout:
            x = F.dropout(x, self.config.dropout, self.training)
        streams = []
        for index, block in enumerate(self.layers):
            x = self.add_position(x, tables.absolute, index)
            x = block(x, tables.cos, tables.sin, layout.prefix_length, memories[index])
            streams.append(x)
        return streams

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
        """(B, P) tokens, the first P <= S of the layout -> (B, P, dim), each from its own modality's embedding."""
        parts = [
            self.embedding(run.modality)(tokens[:, run.start : run.stop])
            for run in layout.runs
            if run.start < tokens.shape[1]
        ]
        return torch.cat(parts, dim=1)

    def embedding(self, modality: int) -> nn.Embedding:
        """The embedding of one modality."""
        return {SPECIAL: self.special_embeddings, VISUAL: self.tok_embeddings, MOTION: self.motion_embeddings}[modality]

    def head(self, modality: int) -> nn.Linear:
        """The output layer of one modality."""
        return {VISUAL: self.output, MOTION: self.motion_output}[modality]

    def add_position(self, x: Tensor, absolute: Tensor | None, layer: int) -> Tensor:
        """Add the absolute table (broadcastable to x) before a layer; x unchanged where the switch is off."""
        if absolute is None:
            return x
        absolute = absolute.to(x.dtype)
        return x + absolute if self.position_gain is None else x + self.position_gain[layer].to(x.dtype) * absolute

    def positions(self, layout: SequenceLayout, device: torch.device | str) -> Positions:
        """Position tables of a layout in float32, computed once per layout and device."""
        key = (layout, torch.device(device))
        if key not in self._tables:
            config, known = self.config, layout.has_position
            cos, sin = rope_tables(layout.rope_coordinates, known, config.head_width, config.rope_theta)
            absolute = None
            if config.absolute_positions:
                absolute = absolute_table(layout.shared_coordinates, known, config.dim).to(device)
            self._tables[key] = Positions(cos.to(device), sin.to(device), absolute)
        return self._tables[key]

    # ------------------------------------------------------------------ loss

    def loss(self, tokens: Tensor, layout: SequenceLayout, labels: Tensor | None = None) -> ARLoss:
        """Cross-entropy of the target tokens, each against its own modality's vocabulary.

        Args:
            tokens: (B, S) int64 in the layout's order.
            layout: the layout of every row.
            labels: (B, S) int64, the clean tokens where `tokens` carry noise; `tokens` themselves when left out.

        Returns:
            An :class:`ARLoss`; ``total`` is the mean over all target tokens of both modalities.
        """
        hidden = self(tokens, layout)
        return self.loss_of(hidden, layout, tokens if labels is None else labels)

    def loss_of(self, hidden: Tensor, layout: SequenceLayout, labels: Tensor, keep: Tensor | None = None) -> ARLoss:
        """:meth:`loss` of hidden states (B, P, dim) at the positions ``keep`` (P,), or at all positions."""
        rows_of = torch.arange(len(layout), device=hidden.device)
        if keep is not None:
            rows_of = torch.full_like(rows_of, -1).scatter(0, keep, torch.arange(len(keep), device=hidden.device))
        values: dict[int, tuple[Tensor, Tensor, int]] = {}
        for modality in (VISUAL, MOTION):
            positions = layout.targets(modality).to(hidden.device)
            positions = positions[rows_of[positions - 1] >= 0]
            rows = hidden[:, rows_of[positions - 1]].flatten(0, 1)
            wanted = labels[:, positions].flatten()
            values[modality] = self._cross_entropy(rows, wanted, modality)
        (visual, visual_hits, n_visual), (motion, motion_hits, n_motion) = values[VISUAL], values[MOTION]
        return ARLoss(
            total=(visual + motion) / (n_visual + n_motion),
            visual=visual.detach() / max(n_visual, 1),
            motion=motion.detach() / max(n_motion, 1),
            visual_accuracy=visual_hits / max(n_visual, 1),
            motion_accuracy=motion_hits / max(n_motion, 1),
            visual_tokens=n_visual,
            motion_tokens=n_motion,
        )

    def _cross_entropy(self, rows: Tensor, labels: Tensor, modality: int) -> tuple[Tensor, Tensor, int]:
        """Sum of cross-entropies, count of right argmaxes and count of rows (N, dim) against labels (N,)."""
        weight = self.head(modality).weight
        size = max(1, MAX_LOGITS // weight.shape[0])
        if rows.shape[0] <= size:
            loss, hits = _chunk_loss(rows, labels, weight)
            return loss, hits, rows.shape[0]
        loss, hits = rows.new_zeros((), dtype=torch.float32), rows.new_zeros((), dtype=torch.float32)
        for part, part_labels in zip(rows.split(size), labels.split(size), strict=True):
            part_loss, part_hits = checkpoint(_chunk_loss, part, part_labels, weight, use_reentrant=False)
            loss, hits = loss + part_loss, hits + part_hits
        return loss, hits, rows.shape[0]

    # ------------------------------------------------------------------ initialisation

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Cosmos's initialisation with the config's standard deviations."""
        config = self.config
        for table in (self.tok_embeddings, self.motion_embeddings, self.special_embeddings):
            nn.init.normal_(table.weight, std=config.embedding_std)
        for index, block in enumerate(self.layers):
            assert isinstance(block, Block)
            branch = config.init_std / (2 * (index + 1)) ** 0.5
            for linear in (block.attention.wq, block.attention.wk, block.attention.wv, block.feed_forward.w1):
                _truncated_normal(linear.weight, config.init_std, 2.0)
            for linear in (block.attention.wo, block.feed_forward.w2, block.feed_forward.w3):
                _truncated_normal(linear.weight, branch, 2.0)
            if block.cross_attention is not None:
                for linear in (block.cross_attention.wq, block.cross_attention.wk, block.cross_attention.wv):
                    _truncated_normal(linear.weight, config.init_std, 2.0)
                _truncated_normal(block.cross_attention.wo.weight, branch, 2.0)
        for linear in (self.output, self.motion_output):
            _truncated_normal(linear.weight, config.dim**-0.5, 3.0)


def _chunk_loss(rows: Tensor, labels: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    logits = F.linear(rows, weight).float()
    hits = (logits.detach().argmax(dim=-1) == labels).sum().float()
    return F.cross_entropy(logits, labels, reduction="sum"), hits


def _truncated_normal(weight: Tensor, std: float, cut: float) -> None:
    nn.init.trunc_normal_(weight, std=std, a=-cut * std, b=cut * std)
