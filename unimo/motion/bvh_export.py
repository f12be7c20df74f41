"""A `Motion` in either frame and of any shape as a BVH file: metres, y up, 1 / fps as frame time.

In: a motion in camera or world axes. Out: the file of `unimo.motion.bvh.write_bvh`, whose bones have one length, so
that the clip's mean shape is used and the pelvis keeps its path.
"""

from __future__ import annotations

from pathlib import Path

from unimo.motion.bvh import write_bvh
from unimo.motion.frames import camera_to_world, with_one_shape
from unimo.motion.motion import Motion


def export_bvh(path: str | Path, motion: Motion) -> None:
    """Writes the 22 body joints of a motion as BVH; the file appears whole or not at all.

    Args:
        path: the .bvh file.
        motion: T frames; a camera motion is put into the world first, see `frames.camera_to_world`.

    Raises:
        MissingAssetError: the motion is of the licensed body and its file is not on this machine.
    """
    write_bvh(path, with_one_shape(camera_to_world(motion)))
