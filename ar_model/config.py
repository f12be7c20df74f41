"""Configuration of the autoregressive transformer.

In:  numbers from a YAML file or a bundle's ``config.json`` (parsed by the caller).
Out: a validated, frozen :class:`ARConfig`; every invalid combination raises ``ValueError`` naming the field.
The defaults are Cosmos-AR 4B's geometry (16 layers of width 4096) with a 64 000-way visual vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

from ar_model.sequence import MOTION_LAYOUTS

ATTENTION_BACKENDS = ("sdpa", "blocked", "flex", "flash", "mask")


POSITION_FORMS = ("residual", "query_key")


@dataclass(frozen=True)
class DepthConfig:
    """The depth transformer, which writes the 36 codes of a motion frame in order (motion layout "frame" only).

    Attributes:
        dim: width of its stream.
        layers: number of its blocks.
        heads: attention heads.
        ffn_hidden: hidden width of the SwiGLU.
        code_dim: width of a code in the embedding of a whole frame, which joins its 36 codes.
    """

    dim: int = 1024
    layers: int = 6
    heads: int = 16
    ffn_hidden: int = 2816
    code_dim: int = 256

    def __post_init__(self) -> None:
        for name in ("dim", "layers", "heads", "ffn_hidden", "code_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"depth.{name} must be at least 1, got {getattr(self, name)}")
        if self.dim % self.heads:
            raise ValueError(f"depth.heads ({self.heads}) must divide depth.dim ({self.dim})")


@dataclass(frozen=True)
class ARConfig:
    """Geometry of :class:`ar_model.UniMoTransformer`.

    Attributes:
        dim: width of the residual stream.
        layers: number of blocks.
        heads: query heads.
        kv_heads: key/value heads; divides ``heads``.
        ffn_hidden: hidden width of the SwiGLU.
        head_dim: width of a head (even); ``None`` means ``dim // heads``.
        norm_eps: epsilon of every RMSNorm.
        rope_theta: base of the rotary frequencies.
        qk_norm: RMSNorm over each head of queries and keys, before the rotation.
        visual_ids: visual vocabulary, the outputs of the visual head.
        visual_embedding_rows: rows of the visual embedding, at least ``visual_ids``; ``None`` means equal.
            Cosmos 5B has 64 rows more, the first of which begins a video.
        motion_ids: motion vocabulary, embedding rows and outputs of the motion head.
        motion_layout: ``"token"``: every motion code is a position, as in the paper; ``"frame"``: the 36 codes of a
            frame are one position, and a small depth transformer writes them.
        depth: sizes of that depth transformer; given exactly in the motion layout "frame".
        absolute_positions: use the fixed sin/cos table in every layer.
        position_form: where it is added: ``"residual"``, to the stream before the layer (Cosmos's code), or
            ``"query_key"``, to the heads of queries and keys after their rotation (paper eq. 3-4; an ablation).
        position_gain: ``None`` adds the table as it is; a number makes a learned scalar per layer that starts there.
        unified_rope: rotate both modalities by the coordinates that they share, not each by its own (an ablation).
        unified_vocabulary: one softmax over visual and motion ids together, as one embedding layer of both has it (an
            ablation; the embedding itself is the same function whether its rows are in one table or two).
        attention: back-end of training and of the plain forward pass: ``"sdpa"`` (prefix and rest apart),
            ``"blocked"`` (faster for bfloat16 on CPU), ``"flex"`` (FlexAttention), ``"flash"`` (flash-attn, 16 bits on
            CUDA) or ``"mask"`` (boolean mask, the reference).
        dropout: probability of dropping embeddings and branch outputs while training.
        init_std: standard deviation of the linear layers at initialisation (Cosmos: 0.02, right for width 4096).
        embedding_std: standard deviation of the three embeddings at initialisation (Cosmos: 1).
        context_dim: channels of the text states that every block may look at (Cosmos 5B: 1024); ``None``: no text.
    """

    dim: int = 4096
    layers: int = 16
    heads: int = 32
    kv_heads: int = 8
    ffn_hidden: int = 14336
    head_dim: int | None = None
    norm_eps: float = 1e-5
    rope_theta: float = 500000.0
    qk_norm: bool = True
    visual_ids: int = 64000
    visual_embedding_rows: int | None = None
    motion_ids: int = 512
    motion_layout: str = "token"
    depth: DepthConfig | None = None
    absolute_positions: bool = True
    position_form: str = "residual"
    position_gain: float | None = None
    unified_rope: bool = False
    unified_vocabulary: bool = False
    attention: str = "sdpa"
    dropout: float = 0.0
    init_std: float = 0.02
    embedding_std: float = 1.0
    context_dim: int | None = None

    def __post_init__(self) -> None:
        for name in ("dim", "layers", "heads", "kv_heads", "ffn_hidden", "visual_ids", "motion_ids"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.heads % self.kv_heads:
            raise ValueError(f"kv_heads ({self.kv_heads}) must divide heads ({self.heads})")
        if self.head_dim is None and self.dim % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide dim ({self.dim}) unless head_dim is given")
        if self.head_width < 6 or self.head_width % 2:
            raise ValueError(f"the head width must be even and at least 6 for 3-D rotations, got {self.head_width}")
        if self.absolute_positions and (self.dim < 6 or self.dim % 2):
            raise ValueError(f"dim must be even and at least 6 for absolute positions, got {self.dim}")
        if self.embedding_rows < self.visual_ids:
            raise ValueError(f"visual_embedding_rows ({self.embedding_rows}) is below visual_ids ({self.visual_ids})")
        if self.context_dim is not None and self.context_dim < 1:
            raise ValueError(f"context_dim must be at least 1 or None, got {self.context_dim}")
        if self.attention not in ATTENTION_BACKENDS:
            raise ValueError(f"attention must be one of {', '.join(ATTENTION_BACKENDS)}, got {self.attention!r}")
        for name, choices in (("motion_layout", MOTION_LAYOUTS), ("position_form", POSITION_FORMS)):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be {' or '.join(choices)}, got {getattr(self, name)!r}")
        if (self.depth is None) == (self.motion_layout == "frame"):
            raise ValueError(f"depth must be given exactly for motion_layout frame, which is {self.motion_layout!r}")
        if self.unified_vocabulary and self.motion_layout == "frame":
            raise ValueError("unified_vocabulary needs motion_layout token: a frame's codes have a head of their own")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")
        if self.position_gain is not None and not self.absolute_positions:
            raise ValueError("position_gain needs absolute_positions")
        for name in ("norm_eps", "rope_theta", "init_std", "embedding_std"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")

    @property
    def head_width(self) -> int:
        """Channels of one head."""
        return self.dim // self.heads if self.head_dim is None else self.head_dim

    @property
    def embedding_rows(self) -> int:
        """Rows of the visual embedding."""
        return self.visual_ids if self.visual_embedding_rows is None else self.visual_embedding_rows
