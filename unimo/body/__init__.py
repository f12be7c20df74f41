"""SMPL-X parameters to joints and vertices: the licensed body and the open body behind one class."""

from __future__ import annotations

from unimo.body.model import BodyModel, load_body
from unimo.body.names import JOINT_NAMES, LEFT_RIGHT, LIMB_JOINTS

__all__ = ["BodyModel", "JOINT_NAMES", "LEFT_RIGHT", "LIMB_JOINTS", "load_body"]
