"""What kind of motion a clip shows, told from the true motion alone, so that every data set has the same classes.

In: true joints in the world (where the camera's path is not known, those before a camera taken for level and still) and
the frame rate. Out: one name a clip. Speeds are means over the clip: the pelvis's, horizontally, and the joints' about
the pelvis.
"""

from __future__ import annotations

import torch
from torch import Tensor

STANDING, IN_PLACE, TRAVELLING, FAST = "standing", "moving in place", "travelling", "travelling fast"
CLASSES = (STANDING, IN_PLACE, TRAVELLING, FAST)
# metres per second
TRAVELS, HURRIES, MOVES = 0.3, 1.6, 0.35


def motion_classes(joints: Tensor, fps: float) -> list[str]:
    """One of `CLASSES` for each clip.

    Travelling fast: the pelvis covers at least 1.6 m/s; travelling: at least 0.3; moving in place: the joints' mean
    speed about the pelvis is at least 0.35 m/s; else standing. Speeds are taken over the whole clip, and the pelvis's
    is that of its way on the floor.

    Args:
        joints: (N,T,22,3) metres, world axes with y up.
        fps: frames per second.
    """
    pelvis = joints[:, :, 0]
    travel = fps * pelvis.diff(dim=1)[..., [0, 2]].norm(dim=-1).mean(1)
    about = fps * (joints - pelvis[:, :, None]).diff(dim=1).norm(dim=-1).mean((1, 2))
    kinds = torch.where(travel >= HURRIES, 3, torch.where(travel >= TRAVELS, 2, torch.where(about >= MOVES, 1, 0)))
    return [CLASSES[int(kind)] for kind in kinds]
