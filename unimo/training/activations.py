"""Bytes that a training step of the transformer keeps for its backward pass, as formulas.

In: sizes of a model and of its sequences. Out: bytes. What is counted is what this project's own blocks save through
torch's autograd with the attention back-end "sdpa" (its fused kernels, as on a GPU); dropout's masks are left out.
"""

from __future__ import annotations

from ar_model import ARConfig, SequenceLayout
from ar_model.depth import block_config
from ar_model.sequence import CODES_PER_FRAME, MOTION, VISUAL
from ar_model.transformer import MAX_LOGITS

FLOAT = 4


def block_bytes(config: ARConfig, positions: int, prefix: int, product: int, rotated: bool = True) -> float:
    """Bytes that one block saves, its input included.

    With D channels of the stream, A = heads * head width, K = key/value heads * head width, F hidden channels of the
    feed-forward, w bytes of a product's result (4, or 2 under bfloat16 autocast, where the stream and the norms stay
    float32), a position costs

    * norms: 2 * 2 * 4D for their inputs and normalised values, and 8D for their results; under autocast these are cast
      anew for each of the five products that read them: 5 * 2D in place of 8D;
    * queries and keys: (A + K) * (4 + w) for the norm of the heads, then w(A + K) as attention reads them; values wK;
    * attention: wA for its result and 4 * heads for the sums of the softmax; where there is a prefix, joining its call
      with that of the rest makes another wA for `wo`;
    * feed-forward: 4wF for both products, the activated one and their product.

    Args:
        config: sizes of the block.
        positions: S times the sequences.
        prefix: positions among them that attend in both directions.
        product: w.
        rotated: whether queries and keys are rotated; under autocast the tables are cast in every block.

    Returns:
        Bytes for all positions.
    """
    dim, hidden = config.dim, config.ffn_hidden
    heads, keys = config.heads * config.head_width, config.kv_heads * config.head_width
    joined = 1 < prefix < positions
    norms = 4 * FLOAT * dim + (5 if product < FLOAT else 2) * product * dim + 2 * FLOAT
    queries_keys = product * (heads + keys)
    if config.qk_norm:
        queries_keys += (FLOAT + product) * (heads + keys) + FLOAT * (config.heads + config.kv_heads)
    mixed = (2 if joined else 1) * product * heads + FLOAT * config.heads
    tables = 2 * product * config.head_width if rotated and product < FLOAT else 0
    return positions * (norms + queries_keys + product * keys + mixed + 4 * product * hidden + tables)


def stream_bytes(config: ARConfig, layout: SequenceLayout) -> float:
    """Bytes of the stream after every block of one sequence, which the task holds until its loss is there.

    Where a table is added to the stream these are not the inputs of the next blocks, which autograd saves.
    """
    apart = config.absolute_positions and config.position_form == "residual"
    return FLOAT * config.dim * config.layers * len(layout) if apart else 0.0


def table_bytes(config: ARConfig, layout: SequenceLayout) -> float:
    """Bytes of the float32 position tables of one layout: cosine, sine and the absolute table."""
    width = config.dim if config.position_form == "residual" else config.head_width
    return FLOAT * len(layout) * (2 * config.head_width + (width if config.absolute_positions else 0))


def saved_bytes(config: ARConfig, layout: SequenceLayout, sequences: int, product: int, checkpointing: bool) -> float:
    """Bytes saved for the backward pass of one task's sequences, from the embedding to the loss; no weights, no tables.

    With checkpointing every block, and the depth transformer as a whole, keep their input alone. The loss keeps the
    target rows (float32) and, where logits are one chunk, those.
    """
    positions, frames = sequences * len(layout), sequences * layout.frames
    block = block_bytes(config, positions, sequences * layout.prefix_length, product)
    total = config.layers * (FLOAT * config.dim * positions if checkpointing else block)
    total += (2 * config.dim + 1) * FLOAT * positions  # the last norm
    if config.depth is not None:
        total += frames * product * CODES_PER_FRAME * config.depth.code_dim  # what their embedding joins
        total += FLOAT * config.dim * frames if checkpointing else depth_bytes(config, frames, product)
    for modality in (VISUAL, MOTION):
        total += _loss_bytes(config, layout, modality, sequences, product)
    return total


def recomputed_bytes(config: ARConfig, layout: SequenceLayout, sequences: int, product: int) -> float:
    """Bytes that come back at a time with checkpointing: of one block beside its input, or of the depth transformer."""
    positions = sequences * len(layout)
    block = block_bytes(config, positions, sequences * layout.prefix_length, product)
    depth = 0.0 if config.depth is None else depth_bytes(config, sequences * layout.frames, product)
    return max(block - FLOAT * config.dim * positions, depth)


def depth_bytes(config: ARConfig, frames: int, product: int) -> float:
    """Bytes that the depth transformer saves for some motion frames, its loss left out."""
    assert config.depth is not None
    slots, blocks = frames * CODES_PER_FRAME, block_config(config, config.depth)
    block = block_bytes(blocks, slots, 0, product, rotated=False)
    return blocks.layers * block + (2 * blocks.dim + 1) * FLOAT * slots + product * config.dim * frames


def chunk_bytes(config: ARConfig, layout: SequenceLayout, sequences: int, product: int, z_loss: bool) -> float:
    """Bytes of the largest chunk of logits at its peak: logits, log-probabilities and, in bfloat16, both dtypes."""
    a_logit = 2 * FLOAT + (product if product < FLOAT else 0) + (FLOAT if z_loss else 0)
    return max(
        a_logit * chunk_rows(config, modality, sequences * target_tokens(layout, modality)) * outputs(config, modality)
        for modality in (VISUAL, MOTION)
    )


def target_tokens(layout: SequenceLayout, modality: int) -> int:
    """Tokens of one modality that a sequence is trained on."""
    given = layout.condition_length
    runs = [run for run in layout.runs if run.modality == modality and run.last_token > given]
    return sum(run.last_token - max(run.first_token, given) for run in runs)


def outputs(config: ARConfig, modality: int) -> int:
    """Logits of a token of one modality."""
    if config.unified_vocabulary:
        return config.visual_ids + config.motion_ids
    return config.visual_ids if modality == VISUAL else config.motion_ids


def chunk_rows(config: ARConfig, modality: int, rows: int) -> int:
    """Rows of logits that exist at a time; fewer than `rows` means that every chunk is computed again."""
    return min(rows, max(1, MAX_LOGITS // outputs(config, modality)))


def head_dim(config: ARConfig, modality: int) -> int:
    """Channels that the output layer of a modality reads."""
    return config.depth.dim if config.depth is not None and modality == MOTION else config.dim


def _loss_bytes(config: ARConfig, layout: SequenceLayout, modality: int, sequences: int, product: int) -> float:
    rows = sequences * target_tokens(layout, modality)
    if chunk_rows(config, modality, rows) < rows:
        return FLOAT * rows * head_dim(config, modality)
    return rows * (product * head_dim(config, modality) + FLOAT * outputs(config, modality))
