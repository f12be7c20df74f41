"""Overlay, side view and sheets: the body stands where its motion says, and wrong inputs are named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from unimo.errors import InputError
from unimo.motion.motion import Motion
from unimo.render.overlay import overlay, side_by_side, turned_view
from unimo.render.sheet import contact_sheet, draw_skeleton

INTRINSICS = np.array([[100.0, 0, 48.0], [0, 100.0, 32.0], [0, 0, 1]])


def standing(frames: int = 3, x: float = 0.4) -> Motion:
    """A person upright in camera axes, three metres away, hips at the height of the camera."""
    transl = np.tile([x, 0.35, 3.0], (frames, 1))
    return Motion(
        body_pose=np.zeros((frames, 21, 3)), betas=np.zeros(10), global_orient=np.tile([np.pi, 0, 0], (frames, 1)),
        transl=transl, fps=10, axes="camera", intrinsics=INTRINSICS,
    )  # fmt: skip


def test_overlay_draws_the_body_at_its_place():
    frames = np.full((3, 64, 96, 3), 30, np.uint8)
    drawn = list(overlay(frames, standing()))
    assert len(drawn) == 3 and drawn[0].shape == (64, 96, 3)
    changed = np.any(drawn[0] != 30, axis=-1)
    rows, columns = np.nonzero(changed)
    assert 55 < np.median(columns) < 68 and rows.max() - rows.min() > 45
    assert (drawn[0][:, :20] == 30).all()


def test_opacity_shows_the_video_through():
    frames = np.full((1, 64, 96, 3), 255, np.uint8)
    solid, faint = (list(overlay(frames, standing(1), opacity=o))[0].astype(int) for o in (1.0, 0.3))
    assert solid.sum() < faint.sum() < frames.astype(int).sum()


def test_side_by_side_has_three_panels_and_streams():
    frames = (np.full((64, 96, 3), value, np.uint8) for value in (10, 20, 30))
    panels = list(side_by_side(frames, standing()))
    assert [panel.shape for panel in panels] == [(64, 288, 3)] * 3
    assert [int(panel[0, 0, 0]) for panel in panels] == [10, 20, 30]


def test_turned_view_shows_feet_on_the_grid():
    view = next(turned_view(standing(), 128, 128))
    dark = view.mean(axis=-1) < 150
    rows, columns = np.nonzero(dark)
    assert rows.max() - rows.min() > 50 and abs(np.median(columns) - 64) < 12


def test_wrong_inputs_are_named():
    frames = np.zeros((3, 64, 96, 3), np.uint8)
    with pytest.raises(InputError, match="camera axes"):
        list(overlay(frames, replace(standing(), axes="world")))
    with pytest.raises(InputError, match="no intrinsics"):
        list(overlay(frames, replace(standing(), intrinsics=None)))
    with pytest.raises(InputError, match="has 3 frames and the motion 4"):
        list(overlay(frames, standing(4)))
    with pytest.raises(InputError, match="more frames than the motion"):
        list(overlay(frames, standing(2)))


def test_contact_sheet_and_skeleton():
    images = [np.full((10, 12, 3), 40 * i, np.uint8) for i in range(5)]
    sheet = contact_sheet(images, 3, gap=2)
    assert sheet.shape == (22, 40, 3)
    assert sheet[0, 14, 0] == 40 and sheet[12, 0, 0] == 120 and sheet[21, 39, 0] == 255
    assert contact_sheet(images, 3, labels=list("abcde")).shape == (50, 40, 3)
    with pytest.raises(ValueError, match="labels"):
        contact_sheet(images, 3, labels=["a"])
    points = np.stack([np.linspace(5, 25, 22), np.linspace(5, 25, 22)], axis=-1)
    drawn = draw_skeleton(np.zeros((32, 32, 3), np.uint8), points, scale=2)
    assert drawn.shape == (64, 64, 3) and drawn.any()
