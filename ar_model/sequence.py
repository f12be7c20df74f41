"""Where every token stands: the order of a sequence, its positions and its exact inverse.

In:  a task and the clip's grid (K latent frames of h x w visual cells, T motion frames of 36 codes).
Out: for each of the S positions its modality, coordinates and whether it is condition or target;
     ``build`` puts (visual ids, motion ids) in order as tokens (B, S), ``invert`` takes them out again.
A token is an id in the vocabulary of its own modality (visual, motion or special), so ids of different modalities
overlap and only the layout tells them apart. Sources: paper eq. 1 (V2M) and 2 (I2VM); Cosmos-AR (video).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

TASKS = ("v2m", "i2vm", "video")
SPECIAL, VISUAL, MOTION = 0, 1, 2
V2M, I2VM, STG, PAD = 0, 1, 2, 3
SPECIAL_IDS = 4
CODES_PER_FRAME = 36
MOTION_SIDE = 6
TEMPORAL_RATIO = 8


@dataclass(frozen=True)
class Run:
    """A stretch of consecutive positions of one modality: ``start <= position < stop``."""

    modality: int
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
    """

    task: str
    latent_frames: int
    height: int
    width: int
    frames: int = 0
    begin_of_video: bool = False

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

    # ------------------------------------------------------------------ order

    @property
    def cells(self) -> int:
        """Visual tokens of one latent frame, h*w."""
        return self.height * self.width

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
        runs, start = [], 0
        for modality, length in parts:
            runs.append(Run(modality, start, start + length))
            start += length
        return tuple(runs)

    def __len__(self) -> int:
        return self.runs[-1].stop

    @property
    def condition_length(self) -> int:
        """Positions given before generation: up to and including [STG]; for ``video`` the first latent frame."""
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
        """(36*T,) int64 positions of the motion tokens, in (frame, code) order."""
        return torch.nonzero(self.modality == MOTION)[:, 0]

    def targets(self, modality: int) -> Tensor:
        """(N,) int64 positions of the target tokens of one modality, in order."""
        return torch.nonzero(self.is_target & (self.modality == modality))[:, 0]

    # ------------------------------------------------------------------ coordinates

    @cached_property
    def rope_coordinates(self) -> Tensor:
        """(S, 3) float32 integers (time, row, column): (K,h,w) for visual, (T,6,6) for motion; specials are 0."""
        coordinates = torch.zeros(len(self), 3)
        coordinates[self.visual_positions] = _grid(self.latent_frames, self.height, self.width)
        coordinates[self.motion_positions] = _grid(self.frames, MOTION_SIDE, MOTION_SIDE)
        return coordinates

    @cached_property
    def shared_coordinates(self) -> Tensor:
        """(S, 3) float64 in visual cells, one system for both modalities; specials are 0 (see ``has_position``).

        Motion frame f stands at time f/8, motion cell (r, c) at ((r+.5)h/6-.5, (c+.5)w/6-.5).
        """
        motion = _grid(self.frames, MOTION_SIDE, MOTION_SIDE).double()
        scale = torch.tensor([self.height, self.width], dtype=torch.float64) / MOTION_SIDE
        coordinates = torch.zeros(len(self), 3, dtype=torch.float64)
        coordinates[self.visual_positions] = _grid(self.latent_frames, self.height, self.width).double()
        time, cell = motion[:, :1] / TEMPORAL_RATIO, (motion[:, 1:] + 0.5) * scale - 0.5
        coordinates[self.motion_positions] = torch.cat([time, cell], dim=1)
        return coordinates

    @cached_property
    def has_position(self) -> Tensor:
        """(S,) bool: False for specials and the begin-of-video row (angle 0, absolute position zero)."""
        flags = torch.zeros(len(self), dtype=torch.bool)
        flags[self.visual_positions] = True
        flags[self.motion_positions] = True
        return flags

    def reading_positions(self, frames: list[int]) -> Tensor:
        """(P,) ascending positions of the condition and of what predicts the codes of some motion frames."""
        codes = self.motion_positions.view(self.frames, CODES_PER_FRAME)[frames]
        return torch.cat([torch.arange(self.condition_length), codes.flatten() - 1]).unique()

    # ------------------------------------------------------------------ build and invert

    def build(self, visual_ids: Tensor, motion_ids: Tensor | None = None, begin_id: int | None = None) -> Tensor:
        """Put ids in the order of the sequence.

        Args:
            visual_ids: (B, K, h, w) integer ids.
            motion_ids: (B, T, 36) integer ids; ``None`` for task ``video``.
            begin_id: id of the begin-of-video row (the size of the visual vocabulary), where the layout has one.

        Returns:
            (B, S) int64 tokens.

        Raises:
            ValueError: a shape, dtype or presence differs from the layout.
        """
        grid = (self.latent_frames, self.height, self.width)
        _check_ids("visual_ids", visual_ids, grid)
        tokens = visual_ids.new_zeros(visual_ids.shape[0], len(self), dtype=torch.int64)
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
            tokens[:, self.motion_positions.to(tokens.device)] = motion_ids.flatten(1).long()
            tokens[:, 0] = V2M if self.task == "v2m" else I2VM
            tokens[:, self.condition_length - 1] = STG
        tokens[:, self.visual_positions.to(tokens.device)] = visual_ids.flatten(1).long()
        return tokens

    def invert(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Take (visual ids (B, K, h, w), motion ids (B, T, 36)) out of tokens (B, S); the exact inverse of ``build``.

        Raises:
            ValueError: tokens do not have this layout's length or its task and [STG] tokens.
        """
        self.check_shape(tokens)
        first, last = (V2M if self.task == "v2m" else I2VM), self.condition_length - 1
        if self.task != "video" and not bool(((tokens[:, 0] == first) & (tokens[:, last] == STG)).all()):
            raise ValueError(f"tokens are not of task {self.task!r}: wrong special ids at positions 0 and {last}")
        batch = tokens.shape[0]
        visual = tokens[:, self.visual_positions.to(tokens.device)]
        motion = tokens[:, self.motion_positions.to(tokens.device)]
        return (
            visual.reshape(batch, self.latent_frames, self.height, self.width),
            motion.reshape(batch, self.frames, CODES_PER_FRAME),
        )

    def check_shape(self, tokens: Tensor) -> None:
        """Raise ``ValueError`` unless tokens are (B, S) int64."""
        if tokens.ndim != 2 or tokens.shape[1] != len(self) or tokens.dtype != torch.int64:
            found = f"{tuple(tokens.shape)} {tokens.dtype}"
            raise ValueError(f"tokens must be (B, {len(self)}) int64 for {self}, got {found}")


def _grid(frames: int, height: int, width: int) -> Tensor:
    """(frames*height*width, 3) float32 integer coordinates, time-major."""
    axes = torch.meshgrid(torch.arange(frames), torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack(axes, dim=-1).reshape(-1, 3).float()


def _check_ids(name: str, ids: Tensor, shape: tuple[int, ...]) -> None:
    if ids.ndim != len(shape) + 1 or tuple(ids.shape[1:]) != shape:
        raise ValueError(f"{name} must be (B, {', '.join(map(str, shape))}), got {tuple(ids.shape)}")
    if ids.dtype.is_floating_point or ids.dtype == torch.bool:
        raise ValueError(f"{name} must be integers, got {ids.dtype}")
