"""Contact sheets and skeleton drawings: RGB uint8 pictures in, one RGB uint8 picture out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from unimo.body.names import JOINT_NAMES, PARENTS

_LEFT, _RIGHT, _MIDDLE = (60, 90, 255), (255, 60, 60), (255, 220, 40)
_LABEL_HEIGHT = 14


def contact_sheet(
    images: Sequence[np.ndarray], columns: int, labels: Sequence[str] | None = None, gap: int = 2
) -> np.ndarray:
    """Lays pictures out in rows.

    Args:
        images: (H, W, 3) uint8 each; smaller ones are padded to the largest.
        columns: pictures a row.
        labels: one line of text under each picture, or None.
        gap: pixels between pictures.

    Returns:
        (rows, width, 3) uint8.

    Raises:
        ValueError: no picture, columns below 1, or another number of labels.
    """
    if not images or columns < 1:
        raise ValueError(f"a sheet needs pictures and columns, got {len(images)} and {columns}")
    if labels is not None and len(labels) != len(images):
        raise ValueError(f"{len(labels)} labels for {len(images)} pictures")
    height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
    row_height = height + gap + (_LABEL_HEIGHT if labels is not None else 0)
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * (width + gap) - gap, rows * row_height - gap), (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    for position, image in enumerate(images):
        left, top = position % columns * (width + gap), position // columns * row_height
        sheet.paste(Image.fromarray(image), (left, top))
        if labels is not None:
            draw.text((left + 2, top + height + 1), labels[position][: max(width // 6, 1)], fill=(0, 0, 0))
    return np.asarray(sheet)


def draw_skeleton(image: np.ndarray, keypoints: np.ndarray, scale: int = 1, width: int | None = None) -> np.ndarray:
    """Draws the 22 body joints over a picture: left blue, right red, middle yellow.

    Args:
        image: (H, W, 3) uint8.
        keypoints: (22, 2) pixels.
        scale: the picture is enlarged this many times first.
        width: of the lines in pixels; None takes half the scale.
    """
    canvas = Image.fromarray(image).resize((image.shape[1] * scale, image.shape[0] * scale), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(canvas)
    points = [(float(x) * scale, float(y) * scale) for x, y in keypoints]
    for joint, name in enumerate(JOINT_NAMES):
        color = _LEFT if name.startswith("left") else _RIGHT if name.startswith("right") else _MIDDLE
        if PARENTS[joint] >= 0:
            draw.line([points[PARENTS[joint]], points[joint]], fill=color, width=width or max(1, scale // 2))
    return np.asarray(canvas)
