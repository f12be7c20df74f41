"""Files in the published layout of each format, written from one known walk.

The truth is a pelvis path and root rotations in a y-up world, body rotations, and a camera in every frame; each writer
turns it into the parameters of its format by the body's rule pelvis = transl + J0, written out here once more.
"""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation

# J0 of the mean shapes, metres
SMPLX_J0 = np.array([0.003, -0.351, 0.012])
SMPL_J0 = {
    "neutral": np.array([-0.0018, -0.2233, 0.0282]),
    "male": np.array([-0.0022, -0.2408, 0.0286]),
    "female": np.array([-0.0009, -0.2114, 0.0278]),
}
MID_HIP = np.array([-0.0009, -0.0864, -0.0156])
Y_UP_TO_Z_UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
FLIP = np.diag([1.0, -1, -1])
INTRINSICS = np.array([[900.0, 0, 320], [0, 900, 240], [0, 0, 1]])


@dataclass(frozen=True)
class Walk:
    """A person who walks and turns before a camera that moves; T frames.

    Attributes:
        orient: (T, 3, 3) root rotations in the world, y up.
        pelvis: (T, 3) metres in the world.
        body: (T, 21, 3) axis-angle of the body joints.
        cam2world: (T, 4, 4).
    """

    orient: np.ndarray
    pelvis: np.ndarray
    body: np.ndarray
    cam2world: np.ndarray

    def __len__(self) -> int:
        return len(self.pelvis)

    @property
    def world2cam(self) -> np.ndarray:
        return np.linalg.inv(self.cam2world)

    @property
    def camera_orient(self) -> np.ndarray:
        return self.world2cam[:, :3, :3] @ self.orient

    @property
    def camera_pelvis(self) -> np.ndarray:
        return np.einsum("tij,tj->ti", self.world2cam[:, :3, :3], self.pelvis) + self.world2cam[:, :3, 3]


def vectors(matrices: np.ndarray) -> np.ndarray:
    shape = matrices.shape[:-2]
    return Rotation.from_matrix(matrices.reshape(-1, 3, 3)).as_rotvec().reshape(*shape, 3)


def walk(frames: int = 40, moving: bool = True, seed: int = 0) -> Walk:
    time = np.arange(frames) / 30
    rng = np.random.default_rng(seed)
    body = 0.3 * np.sin(3 * time[:, None, None] + rng.uniform(0, 6, (21, 3)))
    orient = Rotation.from_rotvec(np.outer(0.4 + 0.8 * time, [0, 1, 0])).as_matrix()
    pelvis = np.stack([0.5 * time, 0.95 + 0.03 * np.sin(9 * time), 0.3 * time], axis=1)
    drift = time if moving else 0 * time
    angles = np.stack([0 * time - 0.1, 0.2 * drift, 0 * time], axis=1)
    cam2world = np.tile(np.eye(4), (frames, 1, 1))
    # level camera, y down and looking along -z, then tilted and panned
    cam2world[:, :3, :3] = Rotation.from_euler("xyz", angles).as_matrix() @ FLIP
    cam2world[:, :3, 3] = np.stack([0.2 * drift, 0 * time + 1.5, 0 * time + 4], axis=1)
    return Walk(orient, pelvis, body, cam2world)


def dump(content: Any, path: Path, **options: Any) -> Path:
    """As joblib writes it, where that package is installed; a plain pickle is read the same way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        import joblib
    except ImportError:
        path.write_bytes(pickle.dumps(content))
    else:
        joblib.dump(content, path, **options)
    return path


class _PythonTwoPickler(pickle._Pickler):
    """Writes text and bytes as Python 2 wrote its `str`."""

    def _text(self, value: str | bytes) -> None:
        raw = value.encode("latin1") if isinstance(value, str) else value
        self.write(pickle.BINSTRING + len(raw).to_bytes(4, "little") + raw)

    dispatch = {**pickle._Pickler.dispatch, str: _text, bytes: _text}


def python_two(content: Any) -> bytes:
    """A pickle as Python 2 and its numpy wrote it."""
    file = BytesIO()
    _PythonTwoPickler(file, 2).dump(content)
    return file.getvalue().replace(b"numpy._core.", b"numpy.core.")


def smpl_pose(orient: np.ndarray, body: np.ndarray) -> np.ndarray:
    """(T, 72): root, 21 body joints, two hands."""
    hands = np.full((len(body), 6), 0.1)
    return np.concatenate([vectors(orient), body.reshape(len(body), -1), hands], axis=1)


def write_gvhmr(folder: Path, truth: Walk) -> Path:
    def parameters(orient: np.ndarray, pelvis: np.ndarray) -> dict[str, torch.Tensor]:
        parts = {
            "body_pose": truth.body.reshape(len(truth), 63),
            "betas": np.zeros((len(truth), 10)),
            "global_orient": vectors(orient),
            "transl": pelvis - SMPLX_J0,
        }
        return {key: torch.from_numpy(value).float() for key, value in parts.items()}

    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "smpl_params_incam": parameters(truth.camera_orient, truth.camera_pelvis),
        "smpl_params_global": parameters(truth.orient, truth.pelvis),
        "K_fullimg": torch.from_numpy(INTRINSICS).float().repeat(len(truth), 1, 1),
        "net_outputs": {"model_output": {"pred_cam": torch.zeros(1, len(truth), 3)}},
    }
    torch.save(content, folder / "hmr4d_results.pt")
    return folder / "hmr4d_results.pt"


def write_wham(folder: Path, truth: Walk, frame_ids: np.ndarray) -> Path:
    from collections import defaultdict

    content: dict[int, dict] = defaultdict(dict)
    content[3] = {
        "pose": smpl_pose(truth.camera_orient, truth.body).astype(np.float32),
        "trans": (truth.camera_pelvis - SMPL_J0["neutral"]).astype(np.float32),
        "pose_world": smpl_pose(truth.orient, truth.body).astype(np.float32),
        "trans_world": (truth.pelvis + truth.orient @ MID_HIP).astype(np.float32),
        "betas": np.full((len(truth), 10), 0.5, dtype=np.float32),
        "verts": np.zeros((len(truth), 7, 3), dtype=np.float32),
        "frame_ids": frame_ids,
    }
    return dump(content, folder / "wham_output.pkl")


def threedpw_content(truth: Walk, valid: np.ndarray) -> dict[str, Any]:
    """3DPW's dictionary of one woman; its world is z up here."""
    orient, pelvis = Y_UP_TO_Z_UP @ truth.orient, truth.pelvis @ Y_UP_TO_Z_UP.T
    cameras = truth.world2cam.copy()
    cameras[:, :3, :3] = cameras[:, :3, :3] @ Y_UP_TO_Z_UP.T
    return {
        "sequence": "courtyard_walk_00",
        "poses": [smpl_pose(orient, truth.body)],
        "trans": [pelvis - SMPL_J0["female"]],
        "betas": [np.linspace(0, 1, 10)],
        "genders": ["f"],
        "cam_poses": cameras,
        "cam_intrinsics": INTRINSICS,
        "campose_valid": [valid.astype(np.int64)],
        "img_frame_ids": 2 * np.arange(len(truth)),
    }


def write_threedpw(path: Path, truth: Walk, valid: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(python_two(threedpw_content(truth, valid)))
    return path


def write_rich(root: Path, truth: Walk, frames: np.ndarray) -> Path:
    """bodies/, calibration and world of one sequence; `truth` has a camera that stands still."""
    sequence = root / "bodies/train/Gym_003_walk1"
    for row, frame in enumerate(frames):
        parts = {
            "transl": truth.camera_pelvis[row] - SMPLX_J0,
            "global_orient": vectors(truth.camera_orient[row]),
            "body_pose": truth.body[row].reshape(63),
            "betas": np.ones(10),
            "left_hand_pose": np.zeros(12),
        }
        path = sequence / f"{frame:05d}/003.pkl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps({key: value[None].astype(np.float32) for key, value in parts.items()}))
    (root / "resource").mkdir()
    (root / "resource/gender.json").write_text(json.dumps({"3": "male"}))
    scale, pose = 1.25, truth.cam2world[0]
    rotation, offset = Y_UP_TO_Z_UP @ pose[:3, :3], Y_UP_TO_Z_UP @ pose[:3, 3]
    (root / "multicam2world").mkdir()
    world = {"R": rotation.T.tolist(), "t": (scale * offset).tolist(), "c": scale}
    (root / "multicam2world/Gym_multicam2world.json").write_text(json.dumps(world))
    calibration = root / "scan_calibration/Gym/calibration"
    calibration.mkdir(parents=True)
    numbers = " ".join(map(str, INTRINSICS.ravel()))
    text = f"<?xml version='1.0'?><opencv_storage><Intrinsics><data>{numbers}</data></Intrinsics></opencv_storage>"
    (calibration / "000.xml").write_text(text)
    return root / "bodies"


def write_bedlam(path: Path, truth: Walk, frames: np.ndarray, zoom: bool = False) -> Path:
    world2cam = truth.world2cam
    world2cam[:, :3, :3] = world2cam[:, :3, :3] @ FLIP
    focal = np.linspace(1, 1.5, len(truth)) if zoom else np.ones(len(truth))
    pose = np.zeros((len(truth), 165))
    pose[:, :3], pose[:, 3:66] = vectors(truth.camera_orient), truth.body.reshape(len(truth), 63)
    np.savez(
        path,
        imgname=[f"seq_000003/seq_000003_{frame:04d}.png" for frame in frames],
        pose_cam=pose,
        shape=np.tile(np.linspace(0, 1, 11), (len(truth), 1)),
        trans_cam=truth.camera_pelvis - SMPLX_J0 - world2cam[:, :3, 3],
        cam_int=np.tile(INTRINSICS, (len(truth), 1, 1)) * np.where(np.eye(3) > 0, focal[:, None, None], 1),
        cam_ext=world2cam,
        sub=["rp_aaron_posed_002"] * len(truth),
        gender=["male"] * len(truth),
        motion_info=np.array([{"x": 1}] * len(truth), dtype=object),
    )
    return path


def write_aist(root: Path, truth: Walk, cameras: bool = True) -> Path:
    """A world 91 times larger than metres; `truth` has a camera that stands still."""
    scale, name = 91.0, "gBR_sBM_cAll_d04_mBR0_ch01"
    content = {
        "smpl_poses": smpl_pose(truth.orient, truth.body),
        "smpl_scaling": np.array([scale]),
        "smpl_trans": scale * (truth.pelvis - SMPL_J0["male"]),
        "smpl_loss": 0.5,
    }
    path = root / f"motions/{name}.pkl"
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps(content, 4))
    (root / "ignore_list.txt").write_text("gLO_sBM_cAll_d15_mLO3_ch02\n")
    if cameras:
        (root / "cameras").mkdir()
        (root / "cameras/mapping.txt").write_text(f"{name} setting1\n")
        world2cam = truth.world2cam[0]
        camera = {
            "name": "c01",
            "size": [640, 480],
            "matrix": INTRINSICS.tolist(),
            "rotation": vectors(world2cam[:3, :3]).tolist(),
            "translation": (scale * world2cam[:3, 3]).tolist(),
            "distortions": [0.01, 0, 0, 0, 0],
        }
        other = {**camera, "name": "c02", "translation": [0, 0, 0]}
        (root / "cameras/setting1.json").write_text(json.dumps([other, camera]))
    return path


def write_dna_rendering(path: Path, truth: Walk) -> Path:
    """A world with -z up; `truth` has a camera that stands still."""
    import h5py

    turn = Rotation.from_euler("x", np.pi).as_matrix() @ Y_UP_TO_Z_UP
    pose = np.zeros((len(truth), 55, 3))
    pose[:, 0], pose[:, 1:22] = vectors(turn @ truth.orient), truth.body
    cam2world = truth.cam2world[0].copy()
    cam2world[:3] = turn @ cam2world[:3]
    with h5py.File(path, "w") as file:
        file["SMPLx/fullpose"] = pose
        file["SMPLx/transl"] = truth.pelvis @ turn.T - SMPLX_J0
        file["SMPLx/betas"] = np.ones((len(truth), 10))
        file["SMPLx/scale"] = 1.0
        file["Camera_Parameter/00/K"] = INTRINSICS
        file["Camera_Parameter/00/RT"] = cam2world
        file.attrs["gender"], file.attrs["actor_id"] = "female", "0012"
    return path


def phalp_content(truth: Walk, rows: list[int], ghosts: tuple[int, ...] = ()) -> dict[str, Any]:
    """One track in some of the pictures; in those of `ghosts` it is a guess. The camera is a long lens."""
    pose = Rotation.from_rotvec(smpl_pose(truth.camera_orient, truth.body).reshape(-1, 3)).as_matrix()
    pose = pose.reshape(len(truth), 24, 3, 3).astype(np.float32)
    content: dict[str, Any] = {}
    for row in range(len(truth)):
        seen = row in rows or row in ghosts
        smpl = {"global_orient": pose[row, :1], "body_pose": pose[row, 1:], "betas": np.full(10, 0.2, np.float32)}
        person = {
            "tid": 4,
            "bbox": np.array([10.0, 20, 100, 300]),
            "tracked_time": 1 if row in ghosts else 0,
            "smpl": smpl,
            "camera": (truth.camera_pelvis[row] - SMPL_J0["neutral"]).astype(np.float32),
            "camera_bbox": np.array([0.9, 0.01, 0.02], np.float32),
            "size": [480, 640],
        }
        picture: dict[str, Any] = {key: [value] if seen else [] for key, value in person.items()}
        content[f"/tmp/clip/{row + 1:06d}.jpg"] = {"time": row, "shot": 0, **picture}
    return content
