"""BVH skeleton files: a reader for any of them, and a writer for SMPL-X motions.

`read_bvh` gives the skeleton and the raw channel values; `Bvh.global_transforms` turns them into rotations and joint
positions in the file's own units and axes. `write_bvh` writes the 22 SMPL-X body joints of a motion in the world frame
(y up) in metres, Euler angles taken from the rotation matrices (Yrotation Xrotation Zrotation, R = Ry Rx Rz, so that
the heading is free to go round).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from unimo.body import JOINT_NAMES, load_body
from unimo.body.names import PARENTS
from unimo.errors import InputError
from unimo.files import atomic_write
from unimo.motion.motion import Motion

_AXIS = {"Xposition": 0, "Yposition": 1, "Zposition": 2, "Xrotation": 0, "Yrotation": 1, "Zrotation": 2}
# Where the last bones end, in metres from their joint, so that viewers draw them.
_END_SITES = {
    "head": (0.0, 0.15, 0.0), "left_foot": (0.0, 0.0, 0.06), "right_foot": (0.0, 0.0, 0.06),
    "left_wrist": (0.1, 0.0, 0.0), "right_wrist": (-0.1, 0.0, 0.0),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Bvh:
    """A skeleton and its channel values; J joints (end sites are not joints), T frames, C channels.

    Attributes:
        names: J joint names.
        parents: J indices, -1 for the root; parents come before their children.
        offsets: (J,3) float64 rest offset of each joint from its parent.
        channels: for each joint its channel names in file order.
        values: (T,C) float64, positions in file units and angles in degrees.
        frame_time: seconds a frame.
        end_sites: joint index to the (3,) offset of its end site.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: np.ndarray
    channels: tuple[tuple[str, ...], ...]
    values: np.ndarray
    frame_time: float
    end_sites: dict[int, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def fps(self) -> float:
        """Frames per second."""
        return 1.0 / self.frame_time

    def local_transforms(self) -> tuple[np.ndarray, np.ndarray]:
        """Rotations (T,J,3,3) and translations (T,J,3) of each joint relative to its parent.

        A joint's position channels replace its offset, as in Blender's importer.
        """
        frames = len(self)
        rotations = np.tile(np.eye(3), (frames, len(self.names), 1, 1))
        translations = np.tile(self.offsets, (frames, 1, 1))
        column = 0
        for joint, channels in enumerate(self.channels):
            block = self.values[:, column : column + len(channels)]
            column += len(channels)
            turning = [(i, name[0]) for i, name in enumerate(channels) if name.endswith("rotation")]
            if turning:
                angles = block[:, [i for i, _ in turning]]
                rotation = Rotation.from_euler("".join(axis for _, axis in turning), angles, degrees=True)
                rotations[:, joint] = rotation.as_matrix()
            for i, name in enumerate(channels):
                if name.endswith("position"):
                    translations[:, joint, _AXIS[name]] = block[:, i]
        return rotations, translations

    def global_transforms(self) -> tuple[np.ndarray, np.ndarray]:
        """Rotations (T,J,3,3) and positions (T,J,3) of the joints in the file's frame and units."""
        rotations, positions = self.local_transforms()
        for joint, parent in enumerate(self.parents):
            if parent >= 0:
                turned = (rotations[:, parent] @ positions[:, joint, :, None])[..., 0]
                positions[:, joint] = positions[:, parent] + turned
                rotations[:, joint] = rotations[:, parent] @ rotations[:, joint]
        return rotations, positions


class _Parser:
    """Reads the words of a BVH file one after the other."""

    def __init__(self, text: str, where: str) -> None:
        self.where = where
        parts = re.split(r"^[ \t]*MOTION[ \t\r]*$", text, maxsplit=1, flags=re.MULTILINE)
        if len(parts) < 2:
            raise self.error("it has no MOTION section")
        head, self.tail = parts
        self.words: Iterator[str] = iter(head.split())
        self.names: list[str] = []
        self.parents: list[int] = []
        self.offsets: list[list[float]] = []
        self.channels: list[tuple[str, ...]] = []
        self.end_sites: dict[int, np.ndarray] = {}

    def error(self, why: str) -> InputError:
        return InputError(f"not a readable BVH file: {why}", where=self.where, fix="export it again as plain-text BVH")

    def word(self, expected: str | None = None) -> str:
        found = next(self.words, None)
        if found is None:
            raise self.error("the skeleton breaks off")
        if expected is not None and found != expected:
            raise self.error(f"expected {expected!r}, found {found[:40]!r}")
        return found

    def offset(self) -> list[float]:
        try:
            return [float(self.word()) for _ in range(3)]
        except ValueError as error:
            raise self.error(str(error)) from error

    def end_site(self) -> None:
        self.word("Site")
        self.word("{")
        self.word("OFFSET")
        self.end_sites[len(self.names) - 1] = np.array(self.offset())
        self.word("}")

    def joint_channels(self) -> tuple[str, ...]:
        count = self.word()
        if not count.isdigit():
            raise self.error(f"CHANNELS needs a number, found {count[:40]!r}")
        channels = tuple(self.word() for _ in range(int(count)))
        unknown = [name for name in channels if name not in _AXIS]
        if unknown:
            raise self.error(f"unknown channel {unknown[0][:40]!r}")
        return channels

    def skeleton(self) -> None:
        self.word("HIERARCHY")
        self.word("ROOT")
        open_joints: list[int] = []
        keyword = "ROOT"
        while True:
            if keyword in ("ROOT", "JOINT"):
                self.parents.append(open_joints[-1] if open_joints else -1)
                open_joints.append(len(self.names))
                self.names.append(self.word())
                self.offsets.append([0.0, 0.0, 0.0])
                self.channels.append(())
                self.word("{")
            elif keyword == "OFFSET":
                self.offsets[open_joints[-1]] = self.offset()
            elif keyword == "CHANNELS":
                self.channels[open_joints[-1]] = self.joint_channels()
            elif keyword == "End":
                self.end_site()
            elif keyword == "}":
                open_joints.pop()
                if not open_joints:
                    return
            else:
                raise self.error(f"unexpected word {keyword[:40]!r}")
            keyword = self.word()

    def motion(self) -> tuple[np.ndarray, float]:
        lines = self.tail.strip().split("\n", 2)
        try:
            frames = int(lines[0].split(":")[1])
            frame_time = float(lines[1].split(":")[1])
            values = np.array(lines[2].split() if len(lines) > 2 else [], dtype=np.float64)
        except (ValueError, IndexError) as error:
            raise self.error(f"the motion section is damaged ({error})") from error
        width = sum(len(channels) for channels in self.channels)
        if frames < 1 or values.size != frames * width:
            raise self.error(f"{frames} frames of {width} channels promised, {values.size} numbers found")
        if not np.isfinite(values).all():
            raise self.error("a channel value is not finite")
        if not (np.isfinite(frame_time) and frame_time > 0):
            raise self.error(f"frame time {frame_time} is not a positive number of seconds")
        return values.reshape(frames, width), frame_time


def parse_bvh(text: str, where: str = "text") -> Bvh:
    """Reads BVH from a string; `where` names it in errors.

    Raises:
        InputError: not BVH, truncated, an unknown channel, or numbers that do not fit the header.
    """
    parser = _Parser(text, where)
    parser.skeleton()
    values, frame_time = parser.motion()
    return Bvh(
        tuple(parser.names), tuple(parser.parents), np.array(parser.offsets), tuple(parser.channels), values,
        frame_time, parser.end_sites,
    )  # fmt: skip


def read_bvh(path: str | Path) -> Bvh:
    """Reads a BVH file.

    Raises:
        InputError: the file is missing, or for the reasons of `parse_bvh`.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig", errors="strict")
    except UnicodeDecodeError as error:
        raise InputError("not a readable BVH file: it is not text", where=str(path), fix="give a .bvh file") from error
    except OSError as error:
        raise InputError(f"cannot read the BVH file: {error.strerror}", where=str(path)) from error
    return parse_bvh(text, str(path))


def _hierarchy(offsets: np.ndarray) -> tuple[list[str], list[int]]:
    """Lines of the HIERARCHY section, and the joints in the order in which their channels are written."""
    lines, order = ["HIERARCHY"], []

    def offset_line(offset: np.ndarray) -> str:
        return "OFFSET " + " ".join(f"{value:.6f}" for value in offset)

    def visit(joint: int, depth: int) -> None:
        tab, name = "\t" * depth, JOINT_NAMES[joint]
        order.append(joint)
        lines.append(f"{tab}{'JOINT' if depth else 'ROOT'} {name}")
        lines.append(tab + "{")
        lines.append(f"{tab}\t{offset_line(offsets[joint])}")
        place = "" if depth else "Xposition Yposition Zposition "
        lines.append(f"{tab}\tCHANNELS {3 if depth else 6} {place}Yrotation Xrotation Zrotation")
        for child, parent in enumerate(PARENTS):
            if parent == joint:
                visit(child, depth + 1)
        if name in _END_SITES:
            lines.extend([f"{tab}\tEnd Site", tab + "\t{", f"{tab}\t\t{offset_line(np.array(_END_SITES[name]))}"])
            lines.append(tab + "\t}")
        lines.append(tab + "}")

    visit(0, 0)
    return lines, order


def write_bvh(path: str | Path, motion: Motion) -> None:
    """Writes the 22 body joints of a motion as BVH: metres, y up, bones of the clip's mean shape.

    Args:
        path: file to write, whole or not at all.
        motion: T frames in the world frame.

    Raises:
        InputError: the motion is in the camera frame.
    """
    if motion.axes != "world":
        raise InputError(
            "BVH is written in the world frame, but this motion is in the camera's",
            fix="convert it first with unimo.motion.frames.camera_to_world",
        )
    betas = torch.as_tensor(motion.betas).mean(0, keepdim=True)
    rest = load_body(motion.body).rest_joints(betas)[0].double().numpy()
    offsets = rest - rest[list(PARENTS)] * (np.array(PARENTS) >= 0)[:, None]
    lines, order = _hierarchy(offsets)
    frames = len(motion)
    rotations = motion.rotations()[:, order].reshape(-1, 3, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # gimbal lock: the angles that scipy picks give the right rotation
        angles = Rotation.from_matrix(rotations).as_euler("YXZ").reshape(frames, len(order), 3)
    # Unwrapped, so that a program that interpolates between frames does not spin a joint.
    angles = np.degrees(np.unwrap(angles, axis=0)).reshape(frames, -1)
    pelvis = motion.transl + rest[0]
    lines += ["MOTION", f"Frames: {frames}", f"Frame Time: {1.0 / motion.fps:.8f}"]
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as handle:
        handle.write("\n".join(lines) + "\n")
        np.savetxt(handle, np.concatenate([pelvis, angles], axis=1), fmt="%.6f")
