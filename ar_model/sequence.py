"""Where every token stands: the order of a sequence, its positions and its exact inverse.

In:  a task and the clip's grid (K latent frames of h x w visual cells, T motion frames of 36 codes).
Out: for each of the S positions its modality, coordinates and whether it is condition or target;
     ``build`` puts (visual ids, motion ids) in order as N tokens (B, N), ``invert`` takes them out again.
A token is an id in the vocabulary of its own modality (visual, motion or special), so ids of different modalities
overlap and only the layout tells them apart. Tokens and positions are the same (N = S) in the motion layout "token";
in "frame" the 36 tokens of a motion frame share one position.
Sources: paper eq. 1 (V2M) and 2 (I2VM); Cosmos-AR (video); RQ-Transformer (Lee et al. 2022) for "frame".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

TASKS = ("v2m", "i2vm", "video")
MOTION_LAYOUTS = ("token", "frame")
SPECIAL, VISUAL, MOTION = 0, 1, 2
V2M, I2VM, STG, PAD = 0, 1, 2, 3
SPECIAL_IDS = 4
CODES_PER_FRAME = 36
MOTION_SIDE = 6
TEMPORAL_RATIO = 8


@dataclass(frozen=True)
class Run:
    """A stretch of consecutive positions of one modality, ``start <= position < stop``, and of their tokens."""

    modality: int
    start: int
    stop: int
    first_token: int
    last_token: int

    @property
    def tokens(self) -> slice:
        """The run's tokens."""
        return slice(self.first_token, self.last_token)


@dataclass(frozen=True)
class Piece:
    """One latent frame or motion frame, the ``index``-th of its modality: tokens ``start <= token < stop``."""

    modality: int
    index: int
    start: int
    stop: int


@dataclass(frozen=True)
class SequenceLayout:
    """The layout of one sequence; equal layouts hash equally, so tables may be cached by layout.

    * ``v2m``:   [V2M] V_0 .. V_n [STG] M_0 .. M_{T-1}
    * ``i2vm``:  [I2VM] V_0 [STG] V_1 M(frames 0-8) V_2 M(frames 9-16) .. V_n M(frames 8n-7 .. 8n)
    * ``video``: V_0 .. V_n, causal throughout, optionally after one begin-of-video row

    Attributes:
        task: ``"v2m"``, ``"i2vm"`` or ``"video"``.
        latent_frames: K = 1 + n, at least 2.
        height: visual cells per column, h.
        width: visual cells per row, w.
        frames: T = 1 + 8n motion frames; 0 for ``video``.
        begin_of_video: ``video`` only: position 0 is the visual embedding's first row after the vocabulary.
        motion_layout: ``"token"``: every motion code is a position; ``"frame"``: the 36 codes of a frame are one.
    """

    task: str
    latent_frames: int
    height: int
    width: int
    frames: int = 0
    begin_of_video: bool = False
    motion_layout: str = "token"

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ValueError(f"task must be one of {', '.join(TASKS)}, got {self.task!r}")
        if self.latent_frames < 2 or self.height < 1 or self.width < 1:
            raise ValueError(
                "a layout needs at least 2 latent frames and a grid of at least 1x1 cells, got "
                f"{self.latent_frames} frames of {self.height}x{self.width}"
            )
        expected = 0 if self.task == "video" else 1 + TEMPORAL_RATIO * (self.latent_frames - 1)
        if self.frames != expected:
            raise ValueError(
                f"{self.latent_frames} latent frames go with {expected} motion frames in task {self.task}, "
                f"got {self.frames}"
            )
        if self.begin_of_video and self.task != "video":
            raise ValueError(f"begin_of_video belongs to task 'video', got task {self.task!r}")
        if self.motion_layout not in MOTION_LAYOUTS:
            raise ValueError(f"motion_layout must be {' or '.join(MOTION_LAYOUTS)}, got {self.motion_layout!r}")

    # ------------------------------------------------------------------ order

    @property
    def cells(self) -> int:
        """Visual tokens of one latent frame, h*w."""
        return self.height * self.width

    @property
    def codes_per_position(self) -> int:
        """Motion tokens at one motion position: 1, or 36 in the motion layout "frame"."""
        return CODES_PER_FRAME if self.motion_layout == "frame" else 1

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """The sequence as stretches of one modality, in order."""
        n, cells = self.latent_frames - 1, self.cells
        if self.task == "video":
            parts = [(VISUAL, int(self.begin_of_video) + cells * (n + 1))]
        elif self.task == "v2m":
            parts = [(SPECIAL, 1), (VISUAL, cells * (n + 1)), (SPECIAL, 1), (MOTION, CODES_PER_FRAME * self.frames)]
        else:
            parts = [(SPECIAL, 1), (VISUAL, cells), (SPECIAL, 1)]
            for group in range(n):
                frames = TEMPORAL_RATIO + (1 if group == 0 else 0)
                parts += [(VISUAL, cells), (MOTION, CODES_PER_FRAME * frames)]
        runs, start, token = [], 0, 0
        for modality, tokens in parts:
            positions = tokens // self.codes_per_position if modality == MOTION else tokens
            runs.append(Run(modality, start, start + positions, token, token + tokens))
            start, token = start + positions, token + tokens
        return tuple(runs)

    def __len__(self) -> int:
        """S, the number of positions."""
        return self.runs[-1].stop

    @property
    def num_tokens(self) -> int:
        """N, the number of tokens."""
        return self.runs[-1].last_token

    @property
    def condition_length(self) -> int:
        """Positions, and tokens, given before generation: up to and including [STG]; for ``video`` the first latent
        frame."""
        if self.task == "v2m":
            return self.latent_frames * self.cells + 2
        return self.cells + (2 if self.task == "i2vm" else int(self.begin_of_video))

    @property
    def prefix_length(self) -> int:
        """Leading positions that attend to each other in both directions (0 for ``video``)."""
        return 0 if self.task == "video" else self.condition_length

    @cached_property
    def modality(self) -> Tensor:
        """(S,) int64: SPECIAL, VISUAL or MOTION. The begin-of-video row counts as VISUAL (it has that embedding)."""
        return torch.cat([torch.full((run.stop - run.start,), run.modality) for run in self.runs])

    @cached_property
    def is_target(self) -> Tensor:
        """(S,) bool: positions that are generated and trained on."""
        return torch.arange(len(self)) >= self.condition_length

    @cached_property
    def visual_positions(self) -> Tensor:
        """(K*h*w,) int64 positions of the visual tokens, in (t, h, w) order; without the begin-of-video row."""
        return torch.nonzero(self.modality == VISUAL)[:, 0][int(self.begin_of_video) :]

    @cached_property
    def motion_positions(self) -> Tensor:
        """(36*T,) int64 positions of the motion tokens, in (frame, code) order; in the motion layout "frame" (T,)."""
        return torch.nonzero(self.modality == MOTION)[:, 0]

    @cached_property
    def visual_tokens(self) -> Tensor:
        """(K*h*w,) int64 places of the visual tokens among all tokens, in (t, h, w) order."""
        return self._tokens_of(VISUAL)[int(self.begin_of_video) :]

    @cached_property
    def motion_tokens(self) -> Tensor:
        """(36*T,) int64 places of the motion tokens among all tokens, in (frame, code) order."""
        return self._tokens_of(MOTION)

    @cached_property
    def first_tokens(self) -> Tensor:
        """(S,) int64: the first token of every position."""
        widths = torch.ones(len(self), dtype=torch.int64)
        widths[self.motion_positions] = self.codes_per_position
        return widths.cumsum(0) - widths

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """All latent frames and motion frames, in the order in which they are finished."""
        sizes, counts, found = {VISUAL: self.cells, MOTION: CODES_PER_FRAME}, {VISUAL: 0, MOTION: 0}, []
        for run in self.runs:
            if run.modality == SPECIAL:
                continue
            size = sizes[run.modality]
            for start in range(run.first_token + int(self.begin_of_video), run.last_token, size):
                found.append(Piece(run.modality, counts[run.modality], start, start + size))
                counts[run.modality] += 1
        return tuple(found)

    def _tokens_of(self, modality: int) -> Tensor:
        runs = [torch.arange(run.first_token, run.last_token) for run in self.runs if run.modality == modality]
        return torch.cat(runs) if runs else torch.zeros(0, dtype=torch.int64)

    def targets(self, modality: int) -> Tensor:
        """Int64 positions of the targets of one modality, in order."""
        return torch.nonzero(self.is_target & (self.modality == modality))[:, 0]

    # ------------------------------------------------------------------ coordinates

    @cached_property
    def rope_coordinates(self) -> Tensor:
        """(S, 3) float32 integers (time, row, column): (K,h,w) for visual, (T,6,6) for motion; specials are 0.

        A whole motion frame at one position stands at the middle of its cells, (f, 2.5, 2.5).
        """
        coordinates = torch.zeros(len(self), 3)
        coordinates[self.visual_positions] = _grid(self.latent_frames, self.height, self.width)
        coordinates[self.motion_positions] = self._per_position(_grid(self.frames, MOTION_SIDE, MOTION_SIDE))
        return coordinates

    @cached_property
    def shared_coordinates(self) -> Tensor:
        """(S, 3) float64 in visual cells, one system for both modalities; specials are 0 (see ``has_position``).

        Motion frame f stands at time f/8, motion cell (r, c) at ((r+.5)h/6-.5, (c+.5)w/6-.5), a whole frame in the
        middle of its cells.
        """
        motion = self._per_position(_grid(self.frames, MOTION_SIDE, MOTION_SIDE).double())
        scale = torch.tensor([self.height, self.width], dtype=torch.float64) / MOTION_SIDE
        coordinates = torch.zeros(len(self), 3, dtype=torch.float64)
        coordinates[self.visual_positions] = _grid(self.latent_frames, self.height, self.width).double()
        time, cell = motion[:, :1] / TEMPORAL_RATIO, (motion[:, 1:] + 0.5) * scale - 0.5
        coordinates[self.motion_positions] = torch.cat([time, cell], dim=1)
        return coordinates

    def _per_position(self, motion: Tensor) -> Tensor:
        """The mean of the codes' coordinates (36*T, 3) at every motion position."""
        return motion.unflatten(0, (-1, self.codes_per_position)).mean(dim=1)

    @cached_property
    def has_position(self) -> Tensor:
        """(S,) bool: False for specials and the begin-of-video row (angle 0, absolute position zero)."""
        flags = torch.zeros(len(self), dtype=torch.bool)
        flags[self.visual_positions] = True
        flags[self.motion_positions] = True
        return flags

    def reading_positions(self, frames: list[int]) -> Tensor:
        """(P,) ascending positions of the condition and of what predicts the codes of some motion frames."""
        codes = self.motion_positions.view(self.frames, -1)[frames]
        return torch.cat([torch.arange(self.condition_length), codes.flatten() - 1]).unique()

    # ------------------------------------------------------------------ build and invert

    def build(self, visual_ids: Tensor, motion_ids: Tensor | None = None, begin_id: int | None = None) -> Tensor:
        """Put ids in the order of the sequence.

        Args:
            visual_ids: (B, K, h, w) integer ids.
            motion_ids: (B, T, 36) integer ids; ``None`` for task ``video``.
            begin_id: id of the begin-of-video row (the size of the visual vocabulary), where the layout has one.

        Returns:
            (B, N) int64 tokens.

        Raises:
            ValueError: a shape, dtype or presence differs from the layout.
        """
        grid = (self.latent_frames, self.height, self.width)
        _check_ids("visual_ids", visual_ids, grid)
        tokens = visual_ids.new_zeros(visual_ids.shape[0], self.num_tokens, dtype=torch.int64)
        if self.task == "video":
            if motion_ids is not None:
                raise ValueError("task 'video' has no motion ids")
            if self.begin_of_video != (begin_id is not None):
                raise ValueError("begin_id must be given exactly when the layout has a begin-of-video row")
            if begin_id is not None:
                tokens[:, 0] = begin_id
        else:
            if motion_ids is None:
                raise ValueError(f"task {self.task!r} needs motion ids")
            _check_ids("motion_ids", motion_ids, (self.frames, CODES_PER_FRAME))
            if motion_ids.shape[0] != visual_ids.shape[0]:
                raise ValueError(f"{visual_ids.shape[0]} visual clips but {motion_ids.shape[0]} motion clips")
            tokens[:, self.motion_tokens.to(tokens.device)] = motion_ids.flatten(1).long()
            tokens[:, 0] = V2M if self.task == "v2m" else I2VM
            tokens[:, self.condition_length - 1] = STG
        tokens[:, self.visual_tokens.to(tokens.device)] = visual_ids.flatten(1).long()
        return tokens

    def invert(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Take (visual ids (B, K, h, w), motion ids (B, T, 36)) out of tokens (B, N); the exact inverse of ``build``.

        Raises:
            ValueError: tokens do not have this layout's length or its task and [STG] tokens.
        """
        self.check_shape(tokens)
        first, last = (V2M if self.task == "v2m" else I2VM), self.condition_length - 1
        if self.task != "video" and not bool(((tokens[:, 0] == first) & (tokens[:, last] == STG)).all()):
            raise ValueError(f"tokens are not of task {self.task!r}: wrong special ids at positions 0 and {last}")
        batch = tokens.shape[0]
        visual = tokens[:, self.visual_tokens.to(tokens.device)]
        motion = tokens[:, self.motion_tokens.to(tokens.device)]
        return (
            visual.reshape(batch, self.latent_frames, self.height, self.width),
            motion.reshape(batch, self.frames, CODES_PER_FRAME),
        )

    def check_shape(self, tokens: Tensor) -> None:
        """Raise ``ValueError`` unless tokens are (B, N) int64."""
        if tokens.ndim != 2 or tokens.shape[1] != self.num_tokens or tokens.dtype != torch.int64:
            found = f"{tuple(tokens.shape)} {tokens.dtype}"
            raise ValueError(f"tokens must be (B, {self.num_tokens}) int64 for {self}, got {found}")


def _grid(frames: int, height: int, width: int) -> Tensor:
    """(frames*height*width, 3) float32 integer coordinates, time-major."""
    axes = torch.meshgrid(torch.arange(frames), torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack(axes, dim=-1).reshape(-1, 3).float()


def _check_ids(name: str, ids: Tensor, shape: tuple[int, ...]) -> None:
    if ids.ndim != len(shape) + 1 or tuple(ids.shape[1:]) != shape:
        raise ValueError(f"{name} must be (B, {', '.join(map(str, shape))}), got {tuple(ids.shape)}")
    if ids.dtype.is_floating_point or ids.dtype == torch.bool:
        raise ValueError(f"{name} must be integers, got {ids.dtype}")
