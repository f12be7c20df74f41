"""SMPL-X parameters to joints and vertices, for the open and the licensed body alike.

In: rotations (B,22,3,3) of the body joints (index 0 is the global orientation, the others are relative to their
parents), betas (B,10), translation (B,3) in metres. Out: joints (B,22,3) and vertices (B,V,3) in metres, in the frame
of the rotations and translation. Hands are flat, the jaw is closed, the eyes look ahead. Note that the pelvis stands
at `transl + rest_pelvis(betas)`, not at `transl`.

The arithmetic is that of `smplx.SMPLX` (`BodyModel.smplx()` gives that module on the same file, and the tests hold the
two equal), less what flat hands make unnecessary: fingers, jaw and eyes move with wrists and head.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from unimo.body.decimate import decimate
from unimo.body.files import licensed_body_path, open_body_path
from unimo.body.names import ALL_PARENTS, PARENTS
from unimo.body.regions import classify_vertices

_BODY_JOINTS = 22


def _carrier(joint: int) -> int:
    """The body joint that a joint of the full 55 moves with when hands are flat and the face is at rest."""
    while joint >= _BODY_JOINTS:
        joint = ALL_PARENTS[joint]
    return joint


class BodyModel:
    """One body: its mesh, its rest joints as a function of shape, and forward kinematics.

    Attributes:
        name: "open" or "smplx".
        path: the SMPL-X-format npz it was read from.
        faces: (F,3) int64 triangles.
        parents: parent of each of the 22 joints, -1 for the pelvis.
    """

    def __init__(self, name: str, path: Path, device: str | torch.device = "cpu") -> None:
        self.name, self.path, self.parents = name, path, PARENTS
        self.device = torch.device(device)
        with np.load(path, allow_pickle=False) as archive:
            template = archive["v_template"].astype(np.float64)
            shapedirs = archive["shapedirs"][..., :10].astype(np.float64)
            regressor = archive["J_regressor"].astype(np.float64)
            weights = archive["weights"].astype(np.float64)
            self.faces = archive["f"].astype(np.int64)
            # The open body has none, and the zeros would cost 80 MB.
            posedirs = archive["posedirs"][..., : 9 * (_BODY_JOINTS - 1)] if name != "open" else None
        self._full_weights = weights
        body_weights = np.zeros((len(weights), _BODY_JOINTS))
        for joint in range(weights.shape[1]):
            body_weights[:, _carrier(joint)] += weights[:, joint]
        self._template, self._shapedirs = self._tensor(template), self._tensor(shapedirs)
        self._weights = self._tensor(body_weights)
        self._posedirs = None if posedirs is None else self._tensor(posedirs)
        self._joint_template = self._tensor(regressor[:_BODY_JOINTS] @ template)
        self._joint_dirs = self._tensor(np.einsum("jv,vcs->jcs", regressor[:_BODY_JOINTS], shapedirs))

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(array), dtype=torch.float32, device=self.device)

    @property
    def num_vertices(self) -> int:
        """Number V of vertices."""
        return len(self._template)

    def rest_joints(self, betas: Tensor) -> Tensor:
        """Joints (B,22,3) of the rest pose for betas (B,10)."""
        return self._joint_template + torch.einsum("jcs,bs->bjc", self._joint_dirs, betas)

    def rest_pelvis(self, betas: Tensor) -> Tensor:
        """J0 (B,3): where the pelvis of the rest pose stands; the pelvis of any pose is `transl` + J0."""
        return self._joint_template[0] + torch.einsum("cs,bs->bc", self._joint_dirs[0], betas)

    def _kinematics(self, rotations: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
        """Global rotations (B,22,3,3) and joint positions (B,22,3) before the translation."""
        turns, places = [rotations[:, 0]], [rest[:, 0]]
        for joint in range(1, _BODY_JOINTS):
            parent = PARENTS[joint]
            offset = (rest[:, joint] - rest[:, parent])[..., None]
            places.append(places[parent] + (turns[parent] @ offset)[..., 0])
            turns.append(turns[parent] @ rotations[:, joint])
        return torch.stack(turns, 1), torch.stack(places, 1)

    def joints(self, rotations: Tensor, betas: Tensor, transl: Tensor) -> Tensor:
        """Joint positions (B,22,3); differentiable.

        Args:
            rotations: (B,22,3,3).
            betas: (B,10), or (1,10) for one shape throughout.
            transl: (B,3) metres.
        """
        rest = self.rest_joints(betas).expand(len(rotations), -1, -1)
        return self._kinematics(rotations, rest)[1] + transl[:, None]

    def vertices(self, rotations: Tensor, betas: Tensor, transl: Tensor, index: Tensor | None = None) -> Tensor:
        """Posed vertices (B,V,3), or (B,len(index),3) of the chosen ones only; differentiable.

        Args:
            rotations: (B,22,3,3).
            betas: (B,10), or (1,10) for one shape throughout.
            transl: (B,3) metres.
            index: int64 vertex indices, such as those of `low_poly`.
        """
        chosen = slice(None) if index is None else index
        betas = betas.expand(len(rotations), -1)
        rest = self.rest_joints(betas)
        turns, places = self._kinematics(rotations, rest)
        shift = places - (turns @ rest[..., None])[..., 0] + transl[:, None]
        shaped = self._template[chosen] + torch.einsum("vcs,bs->bvc", self._shapedirs[chosen], betas)
        if self._posedirs is not None:
            feature = (rotations[:, 1:] - torch.eye(3, device=self.device)).flatten(1)
            shaped = shaped + torch.einsum("vcp,bp->bvc", self._posedirs[chosen], feature)
        blended = torch.einsum("vj,bjk->bvk", self._weights[chosen], torch.cat([turns.flatten(2), shift], -1))
        return (blended[..., :9].unflatten(-1, (3, 3)) @ shaped[..., None])[..., 0] + blended[..., 9:]

    @functools.cached_property
    def _regions(self) -> np.ndarray:
        return classify_vertices(self._template.cpu().numpy(), self._full_weights, self.faces)

    def vertex_regions(self) -> np.ndarray:
        """Region of each vertex (V,) int8: an index into `unimo.body.regions.REGION_NAMES`."""
        return self._regions

    def low_poly(self, target_faces: int = 3000) -> tuple[np.ndarray, np.ndarray]:
        """A coarser mesh whose vertices are a subset of the body's.

        Args:
            target_faces: how many triangles to come down to; the result has at most this many or a few more.

        Returns:
            Vertex indices (v,) int64 into the full mesh (fit for `vertices(..., index=...)`), and triangles (f,3)
            int64 into those. Kept in the cache beside the body's file.
        """
        from unimo.files import atomic_write

        path = self.path.with_name(f"{self.path.stem}_low{target_faces}.npz")
        if not path.is_file():
            index, faces = decimate(self._template.cpu().numpy(), self.faces, target_faces, self.vertex_regions())
            with atomic_write(path) as temporary:
                np.savez(temporary, index=index, faces=faces)
        with np.load(path, allow_pickle=False) as archive:
            return archive["index"], archive["faces"]

    def smplx(self, batch_size: int = 1) -> Any:
        """A new `smplx.SMPLX` module on the same file: flat hands, no hand PCA, ten betas."""
        import smplx

        return smplx.SMPLX(
            model_path=str(self.path), use_pca=False, flat_hand_mean=True, num_betas=10, batch_size=batch_size
        ).to(self.device)


@functools.lru_cache(maxsize=4)
def load_body(name: Literal["open", "smplx"] = "open", device: str = "cpu") -> BodyModel:
    """The body called `name`; loaded once per process and device.

    Args:
        name: "open" (built from anny, no file needed) or "smplx" (the user's licensed SMPLX_NEUTRAL.npz).
        device: where its tensors live.

    Raises:
        ValueError: unknown name.
        MissingAssetError: "smplx" is asked for and its file is not there.
    """
    if name == "open":
        return BodyModel(name, open_body_path(), device)
    if name == "smplx":
        return BodyModel(name, licensed_body_path(), device)
    raise ValueError(f"unknown body {name!r}: it is 'open' or 'smplx'")
