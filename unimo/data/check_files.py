"""The files of one clip folder as `unimo data check` sees them: what can be used, and faults in words.

In: a folder of `unimo synth` (`rgb.mp4`, `motion.npz`, `annotations.npz`, `clip.json`; where they were written also
`motion_world.npz` and `layers.npz`). Out: `ClipFiles`. Shapes, frame counts, rates and hashes are compared here.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from unimo.errors import InputError
from unimo.media.video import read_video
from unimo.motion.motion import Motion
from unimo.motion.npz import load_motion
from unimo.synth.clip_files import arrays_digest

_ARRAYS: dict[str, tuple[str, ...]] = {
    "depth": ("depth",),
    "normals": ("normals",),
    "surface": ("surface",),
    "flow": ("flow_forward", "flow_backward", "flow_forward_valid", "flow_backward_valid"),
    "tracks": ("tracks2d", "tracks3d", "tracks_visible", "tracks_person"),
}
# T frames, S steps between frames, H × W pixels, P bytes of packed bits a row, N tracks
_SHAPES: dict[str, tuple[str | int, ...]] = {
    "cam2world": ("T", 4, 4), "world2cam": ("T", 4, 4), "intrinsics": (3, 3), "keypoints2d": ("T", 22, 2),
    "keypoints3d": ("T", 22, 3), "keypoints_visible": ("T", 22), "mask": ("T", "H", "P"), "depth": ("T", "H", "W"),
    "normals": ("T", "H", "W", 3), "surface": ("T", "H", "W", 3), "flow_forward": ("S", "H", "W", 2),
    "flow_backward": ("S", "H", "W", 2), "flow_forward_valid": ("S", "H", "P"), "flow_backward_valid": ("S", "H", "P"),
    "tracks2d": ("T", "N", 2), "tracks3d": ("T", "N", 3), "tracks_visible": ("T", "N"), "tracks_person": ("N",),
}  # fmt: skip
_ALWAYS = ("cam2world", "intrinsics", "keypoints2d", "keypoints3d", "mask")
_PACKED = ("mask", "flow_forward_valid", "flow_backward_valid")


@dataclass(eq=False)
class ClipFiles:
    """The files of a clip; what cannot be used is a fault and then counts as missing.

    Attributes:
        folder: `clips/NNNNNN`.
        faults: what is wrong, in words.
        rgb: (T, H, W, 3) uint8.
        motion, world: `motion.npz` and `motion_world.npz`.
        record: `clip.json`.
        arrays: of `annotations.npz` and `layers.npz`; packed bits are bool.
    """

    folder: Path
    faults: list[str] = field(default_factory=list)
    rgb: np.ndarray | None = None
    motion: Motion | None = None
    world: Motion | None = None
    record: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._read_record()
        try:
            self.rgb = read_video(self.folder / "rgb.mp4")
        except InputError as error:
            self.faults.append(f"rgb.mp4: {error.what}")
        self.motion = self._read_motion("motion.npz", "camera")
        if (self.folder / "motion_world.npz").is_file():
            self.world = self._read_motion("motion_world.npz", "world")
        self.arrays = self._read_arrays("annotations.npz")
        self.faults += [f"annotations.npz has no {name}" for name in _ALWAYS if name not in self.arrays]
        if (self.folder / "layers.npz").is_file():
            self.arrays |= self._read_arrays("layers.npz")
        for layer in self.record.get("layers") or ():
            missing = [name for name in _ARRAYS.get(layer, ()) if name not in self.arrays]
            self.faults += [f"clip.json promises {layer}, layers.npz has no {name}" for name in missing]
        if self.motion is not None and self.rgb is not None:
            self._check_shapes(self.motion, self.rgb)
            self._check_record(self.motion)

    def get(self, *names: str) -> list[np.ndarray] | None:
        """These arrays, or None unless all are there."""
        return [self.arrays[name] for name in names] if all(name in self.arrays for name in names) else None

    def _read_record(self) -> None:
        try:
            self.record = dict(json.loads((self.folder / "clip.json").read_text()))
        except (OSError, ValueError, TypeError) as error:
            self.faults.append(f"clip.json cannot be read ({error})")

    def _read_motion(self, name: str, axes: str) -> Motion | None:
        try:
            motion = load_motion(self.folder / name)
        except InputError as error:
            self.faults.append(f"{name}: {error.what}")
            return None
        if motion.axes != axes:
            self.faults.append(f"{name} is in {motion.axes} axes, {axes} is wanted")
        return motion

    def _read_arrays(self, name: str) -> dict[str, np.ndarray]:
        try:
            with np.load(self.folder / name, allow_pickle=False) as archive:
                return {key: archive[key] for key in archive.files if key in _SHAPES}
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
            self.faults.append(f"{name} cannot be read ({error})")
            return {}

    def _check_shapes(self, motion: Motion, rgb: np.ndarray) -> None:
        """Frame counts and shapes; packed bits are opened; an array of another shape is taken out."""
        frames, height, width = rgb.shape[:3]
        for name, other in (("motion.npz", self.motion), ("motion_world.npz", self.world)):
            if other is not None and len(other) != frames:
                self.faults.append(f"the video has {frames} frames, {name} {len(other)}")
        sizes = {"T": len(motion), "S": len(motion) - 1, "H": height, "W": width, "P": (width + 7) // 8}
        if (tracks := self.arrays.get("tracks2d")) is not None and tracks.ndim > 1:
            sizes["N"] = tracks.shape[1]
        for name, array in list(self.arrays.items()):
            wanted = tuple(size if isinstance(size, int) else sizes.get(size, -1) for size in _SHAPES[name])
            if array.shape != wanted:
                self.faults.append(f"{name} has shape {array.shape}, {wanted} is wanted")
                del self.arrays[name]
            elif name in _PACKED:
                self.arrays[name] = np.unpackbits(array, axis=-1, count=width).astype(bool)
        if len(motion) != frames:  # nothing can be laid beside the video
            self.arrays = {}

    def _check_record(self, motion: Motion) -> None:
        """What clip.json says of its clip: frames, rate, and the hash of the arrays."""
        said = {"frames": len(motion), "fps": motion.fps}
        for key, value in said.items():
            there = self.record.get(key, value)
            if not isinstance(there, int | float) or abs(there - value) > 1e-3:
                self.faults.append(f"clip.json says {key} {self.record[key]}, it is {value:g}")
        arrays = self.get("cam2world", "intrinsics", "keypoints2d", "keypoints3d")
        if arrays is not None and "arrays_sha256" in self.record:
            parameters = [motion.body_pose, motion.betas, motion.global_orient, motion.transl]
            if arrays_digest([*parameters, *arrays]) != self.record["arrays_sha256"]:
                self.faults.append("arrays_sha256 of clip.json is not that of the arrays")
        visible = self.get("keypoints2d", "keypoints_visible")
        if visible is not None and self.rgb is not None:
            outside = ((visible[0] < 0) | (visible[0] > [self.rgb.shape[2], self.rgb.shape[1]])).any(axis=-1)
            if (outside & visible[1].astype(bool)).any():
                self.faults.append("keypoints_visible marks joints outside the picture")
        for name, stored in (("cam2world", motion.cam2world), ("intrinsics", motion.intrinsics)):
            if stored is None:
                self.faults.append(f"motion.npz has no {name}")
            elif name in self.arrays and not np.array_equal(stored, self.arrays[name]):
                self.faults.append(f"{name} of motion.npz is not that of annotations.npz")

    @cached_property
    def depth(self) -> np.ndarray | None:
        """(T, H, W) float32 metres."""
        depth = self.arrays.get("depth")
        return None if depth is None else depth.astype(np.float32)

    @property
    def sensor_noise(self) -> float:
        """Standard deviation in grey levels that the run asked for; 0 when it left no record."""
        try:
            return float(json.loads((self.folder.parents[1] / "synth.json").read_text())["scene"]["sensor_noise"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0.0
