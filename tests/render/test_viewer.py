"""The interactive viewer: named when viser is missing; serves and moves the body when it is there."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from unimo.errors import MissingAssetError
from unimo.motion.motion import Motion
from unimo.render.viewer import MotionViewer

MOTION = Motion(
    body_pose=np.zeros((4, 21, 3)), betas=np.zeros(10), global_orient=np.zeros((4, 3)),
    transl=np.linspace((0, 1.26, 0), (0, 1.26, 1), 4), fps=20, axes="world",
)  # fmt: skip


def test_missing_viser_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(MissingAssetError, match=r"pip install 'viser>=1.0'"):
        MotionViewer(MOTION)


def test_page_is_served_and_the_body_moves():
    pytest.importorskip("viser", reason="the extra 'viewer' is not installed")
    viewer = MotionViewer(MOTION, port=18080)
    try:
        assert viewer.url.startswith("http://127.0.0.1:")
        viewer.show(3)
        assert abs(viewer._mesh.vertices[:, 2].mean() - viewer.vertices(0)[:, 2].mean() - 1) < 1e-3
        viewer.play(steps=6)
        assert viewer._slider.value == 2
        assert abs(viewer._mesh.vertices[:, 2].mean() - viewer.vertices(2)[:, 2].mean()) < 1e-6
    finally:
        viewer.close()
