"""Endless varied motion windows out of a fixed pool: limbs of different clips put together, mirrored, turned a little.

In: a motion library and the `SceneConfig` of the synthetic engine (camera frames without rendering). Out: batches of
(B,T,145) features in the canonical camera. An hour of mocap holds few whole-body poses but many poses of each limb, and
exchanging limbs is what closes most of the gap between training and validation. Metres, radians; a batch costs
milliseconds and is a pure function of its generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import roma
import torch
from torch import Tensor

from unimo.body import load_body
from unimo.body.names import JOINT_NAMES
from unimo.motion.batches import canonical_features, mirror_rotations
from unimo.motion.features import from_features, rotations_to_features
from unimo.synth.scene import VALIDATION_SEED, SceneConfig, SceneSampler
from unimo.synth.windows import NamedMotion

_ARM, _LEG = ("collar", "shoulder", "elbow", "wrist"), ("hip", "knee", "ankle", "foot")
_LIMBS = [
    [JOINT_NAMES.index(f"{side}_{part}") for part in parts] for parts in (_ARM, _LEG) for side in ("left", "right")
]
_TRUNK = [JOINT_NAMES.index(name) for name in ("spine1", "spine2", "spine3", "neck", "head")]


@dataclass(frozen=True)
class MotionDataConfig:
    """Training windows and how they are varied.

    Attributes:
        frames: length of the windows; None takes the bundle's.
        windows: windows drawn once from the library.
        speed: range of playback speeds of these windows.
        rarity: 0 draws motions by duration, 1 gives every subject the same share.
        swap: chance that a window is put together from parts; half of its limbs and trunk then come from other windows.
        turn: standard deviation in radians of a constant turn of each joint, given to half of the joints.
        shift: standard deviation in metres of a constant shift of the pelvis.
        validation_windows: fixed windows of the validation library.
    """

    frames: int | None = None
    windows: int = 12000
    speed: tuple[float, float] = (0.7, 1.4)
    rarity: float = 0.5
    swap: float = 0.6
    turn: float = 0.12
    shift: float = 0.05
    validation_windows: int = 256


def scene_features(
    library: Sequence[NamedMotion], scene: SceneConfig, seeds: Sequence[int], canonical_focal: float
) -> Tensor:
    """Features (N,T,145) of the scenes of these seeds in the canonical camera, not rendered.

    Raises:
        InputError: no motion of the library is long enough, or one is not in world axes.
    """
    sampler = SceneSampler(library, scene)
    motions = [sampler.sample(seed).motion for seed in seeds]
    arrays = {
        name: np.stack([getattr(motion, name) for motion in motions])
        for name in ("body_pose", "betas", "global_orient", "transl")
    }
    intrinsics = np.stack([motion.intrinsics for motion in motions])  # type: ignore[arg-type]
    return canonical_features(arrays, intrinsics, scene.side, canonical_focal, scene.body)


class MotionPool:
    """Windows drawn once from a library and varied in every batch.

    Args:
        library: world motions.
        scene: clip length, rate, body and camera of the windows.
        canonical_focal: focal length of the tokens' camera in sides.
        config: size and variation.
        seed: first scene seed.
    """

    def __init__(
        self,
        library: Sequence[NamedMotion],
        scene: SceneConfig,
        canonical_focal: float,
        config: MotionDataConfig,
        seed: int = 0,
    ) -> None:
        self.config, self.scene, self._body = config, scene, load_body(scene.body)  # type: ignore[arg-type]
        varied = replace(scene, speed=config.speed, rarity=config.rarity)
        features = scene_features(library, varied, range(seed, seed + config.windows), canonical_focal)
        parts = from_features(features)
        self._rotations = parts["rotations"][..., :2].clone()
        self._pelvis = parts["transl"] + self._rest_pelvis(parts["betas"])

    def batch(self, size: int, generator: torch.Generator) -> Tensor:
        """(size,T,145) features of new variations."""
        config = self.config
        rows = torch.randint(len(self._pelvis), (size,), generator=generator)
        columns, pelvis = self._rotations[rows], self._pelvis[rows]
        columns = self._swap_parts(columns, generator)
        rotations = torch.cat([columns, torch.linalg.cross(*columns.unbind(-1))[..., None]], -1)
        half = torch.rand(size, 1, 22, 1, generator=generator) < 0.5
        turn = config.turn * torch.randn(size, 1, 22, 3, generator=generator) * half
        rotations = roma.rotvec_to_rotmat(turn) @ rotations
        pelvis = pelvis + config.shift * torch.randn(size, 1, 3, generator=generator)
        rotations, pelvis = _mirror_half(rotations, pelvis, generator)
        shape = torch.randn(size, 1, 10, generator=generator) * self.scene.shape_scale
        betas = shape.clamp(-self.scene.shape_limit, self.scene.shape_limit).expand(-1, pelvis.shape[1], -1)
        return rotations_to_features(rotations, betas, pelvis - self._rest_pelvis(betas))

    def _swap_parts(self, columns: Tensor, generator: torch.Generator) -> Tensor:
        """Takes limbs and trunk of some windows from other windows; root orientation and path stay together."""
        columns, size = columns.clone(), len(columns)
        mixed = torch.rand(size, generator=generator) < self.config.swap
        for part in (*_LIMBS, _TRUNK):
            chosen = (mixed & (torch.rand(size, generator=generator) < 0.5)).nonzero()[:, 0]
            donors = torch.randint(len(self._pelvis), chosen.shape, generator=generator)
            index = torch.tensor(part)
            columns[chosen[:, None], :, index] = self._rotations[donors[:, None], :, index]
        return columns

    def _rest_pelvis(self, betas: Tensor) -> Tensor:
        return self._body.rest_pelvis(betas.reshape(-1, 10)).reshape(*betas.shape[:-1], 3)


@dataclass(frozen=True, eq=False)
class MotionWindows:
    """What a motion tokenizer trains and validates on; one object serves any number of runs.

    Attributes:
        pool: training windows.
        validation: (N,T,145) fixed windows of the validation motions.
        body: body of both.
    """

    pool: MotionPool
    validation: Tensor
    body: str

    @staticmethod
    def draw(
        train: Sequence[NamedMotion],
        validation: Sequence[NamedMotion],
        scene: SceneConfig,
        canonical_focal: float,
        config: MotionDataConfig,
    ) -> MotionWindows:
        """Draws both sides.

        Args:
            train: training motions, world axes.
            validation: validation motions, world axes; no subject of theirs may be in `train`.
            scene: rate, body and camera, and the length unless `config.frames` says another.
            canonical_focal: focal length of the tokens' camera in sides.
            config: number and variation.

        Raises:
            InputError: no motion is long enough, or one is not in world axes.
        """
        scene = replace(scene, frames=config.frames or scene.frames)
        pool = MotionPool(train, scene, canonical_focal, config)
        seeds = range(VALIDATION_SEED, VALIDATION_SEED + config.validation_windows)
        return MotionWindows(pool, scene_features(validation, scene, seeds, canonical_focal), scene.body)


def _mirror_half(rotations: Tensor, pelvis: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Exchanges left and right (camera x → −x) in about half of the windows."""
    chosen = torch.rand(len(pelvis), generator=generator) < 0.5
    mirrored, crossed = mirror_rotations(rotations, pelvis)
    rotations = torch.where(chosen[:, None, None, None, None], mirrored, rotations)
    return rotations, torch.where(chosen[:, None, None], crossed, pelvis)
