"""The cut of clothes and hair: a `Cut` in, a body's resting mesh that is moved to look like it out.

Nothing is added to the mesh: vertices of the bare body move outwards, and those of a skirt share the weights of both
legs, so that faces, joints and the names of the vertices stay, and mask, depth and normals follow the clothes.
Metres; the resting body has its arms along ±x and faces +z, y up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unimo.synth.appearance import PARTS, BodyRegions

_LEGS = ((1, 2), (4, 5), (7, 8), (10, 11))


@dataclass(frozen=True)
class Cut:
    """How far clothes and hair stand off the body; the default is the bare body.

    Attributes:
        skirt: where a skirt or coat ends along the leg: 0 none, 1 knee, 2 ankle.
        flare: how much wider a skirt gets on its way down, metres a metre.
        top, bottom: thickness of the garment on trunk and arms, on hips and legs.
        waist: height where the one meets the other, 0 pelvis to 1 neck.
        sleeve, leg: where they end along arm and leg (0, 1, 2: shoulder, elbow, wrist; hip, knee, ankle).
        hair: thickness of hair or hat.
        nape: how far down the back of the head it reaches, metres above the eyes (negative: below).
        bun, tail: size of a knot at the back of the head, and of a ponytail.
        hood: size of a hood in the nape.
    """

    skirt: float = 0.0
    flare: float = 0.0
    top: float = 0.0
    bottom: float = 0.0
    waist: float = 0.15
    sleeve: float = 2.0
    leg: float = 2.0
    hair: float = 0.0
    nape: float = -0.03
    bun: float = 0.0
    tail: float = 0.0
    hood: float = 0.0


def ramp(value: np.ndarray, start: float, stop: float) -> np.ndarray:
    """0 before `start`, 1 after `stop` (which may lie below), smooth between."""
    share = np.clip((value - start) / (stop - start), 0.0, 1.0)
    return share * share * (3.0 - 2.0 * share)


def hair_share(regions: BodyRegions, nape: float) -> np.ndarray:
    """(V,) 0..1: under hair; the hairline falls from the forehead over the ears to the nape."""
    line = np.interp(regions.head_back, [-0.075, -0.03, 0.0, 0.035], [0.052, 0.042, -0.005, nape])
    head = np.isin(regions.part, [PARTS.index("head"), PARTS.index("neck")])
    trunk = (regions.part == PARTS.index("trunk")) & (regions.head_back > 0.02) & (nape < -0.12)
    strand = ramp(np.abs(regions.rest[:, 0]) - 0.2 * regions.head_up, 0.11, 0.085)
    body = head | (trunk * strand > 0.5)
    return body * ramp(regions.head_up - line, -0.008, 0.012)


def cut_mesh(
    cut: Cut, template: np.ndarray, weights: np.ndarray, normals: np.ndarray, regions: BodyRegions
) -> tuple[np.ndarray, np.ndarray]:
    """The dressed resting mesh.

    Args:
        cut: the clothes.
        template: (V, 3) resting vertices of the bare body.
        weights: (V, 22) skinning weights.
        normals: (V, 3) unit normals of the bare body.
        regions: where the vertices lie.

    Returns:
        (V, 3) float32 resting vertices, (V, 22) float32 weights.
    """
    moved = template + (_thickness(cut, regions)[:, None] * normals)
    moved = moved + _hair_offset(cut, regions, normals)
    if cut.skirt <= 0:
        return moved.astype(np.float32), weights
    moved, share = _drape(cut, moved, template, regions)
    side = np.clip(0.5 + moved[:, 0] / 0.30, 0.0, 1.0)[:, None]
    shared = weights.copy()
    for left, right in _LEGS:
        both = weights[:, [left]] + weights[:, [right]]
        shared[:, [left]], shared[:, [right]] = both * side, both * (1.0 - side)
    mixed = weights + share[:, None] * (shared - weights)
    return moved.astype(np.float32), mixed.astype(np.float32)


def _thickness(cut: Cut, regions: BodyRegions) -> np.ndarray:
    """(V,) metres of cloth on trunk and limbs."""
    part = {name: regions.part == index for index, name in enumerate(PARTS)}
    above = ramp(regions.trunk, cut.waist - 0.04, cut.waist + 0.02)
    neckline = ramp(regions.trunk, 1.02, 0.9)
    top = part["trunk"] * above * neckline + part["arm"] * ramp(regions.arm, cut.sleeve, cut.sleeve - 0.06)
    bottom = part["trunk"] * (1.0 - above) + part["leg"] * ramp(regions.leg, cut.leg, cut.leg - 0.05)
    return cut.top * top + cut.bottom * bottom


def _hair_offset(cut: Cut, regions: BodyRegions, normals: np.ndarray) -> np.ndarray:
    """(V, 3) metres: hair or hat all round, a knot or tail behind, a hood in the nape."""
    offset = (cut.hair * hair_share(regions, cut.nape))[:, None] * normals
    x = regions.rest[:, 0]
    behind = ramp(regions.head_back, 0.01, 0.05)
    back = np.array([0.0, 0.0, -1.0])
    if cut.bun:
        offset = offset + (cut.bun * behind * _bump(np.hypot(x, regions.head_up - 0.02), 0.05))[:, None] * back
    if cut.tail:
        along = ramp(regions.head_up, -0.26, -0.2) * ramp(regions.head_up, 0.06, 0.01)
        offset = offset + (cut.tail * behind * along * _bump(x, 0.045))[:, None] * back
    if cut.hood:
        low = _bump(np.hypot(0.7 * x, regions.head_up + 0.15), 0.09) * behind
        offset = offset + (cut.hood * low)[:, None] * back
    return offset


def _bump(distance: np.ndarray, radius: float) -> np.ndarray:
    """1 in the middle, 0 from `radius` on."""
    return ramp(np.abs(distance), radius, 0.3 * radius)


def _drape(
    cut: Cut, moved: np.ndarray, template: np.ndarray, regions: BodyRegions
) -> tuple[np.ndarray, np.ndarray]:
    """Closes both legs into one skirt: the outer two thirds of each leg make the outside, the rest goes inside.

    Returns:
        (V, 3) vertices, (V,) 0..1 how much a vertex belongs to the skirt.
    """
    x, y, z = moved.T
    leg = regions.part == PARTS.index("leg")
    hip, crotch = template[leg, 1].max(), template[regions.part == PARTS.index("trunk"), 1].min()
    axis_x, axis_z = np.abs(template[leg, 0]).mean(), template[leg, 2].mean()
    fall = np.maximum(hip + 0.08 - y, 0.0)
    wide, deep = 0.185 + 0.01 + cut.flare * fall, 0.115 + cut.flare * fall
    around = np.abs(np.arctan2(z - axis_z, np.abs(x) - axis_x))
    outer = np.minimum(0.75 * around, 0.5 * np.pi)
    # what comes behind the seam goes back slowly at first, so that the seam has no fold that is seen
    behind = 0.012 * np.clip(around / np.pi - 2.0 / 3.0, 0.0, 0.2) / 0.2
    depth = (deep * np.sin(outer) - behind) * (1.0 - ramp(around, 0.87 * np.pi, np.pi))
    front = np.where(z >= axis_z, 1.0, -1.0)
    side = np.where(x >= 0, 1.0, -1.0)
    skirt = np.stack([side * np.maximum(wide * np.cos(outer), 0.0), y, axis_z + front * depth], axis=1)
    # above the crotch there is one tube: pushed out to the same ellipse
    radius = np.hypot(x / wide, (z - axis_z) / deep)
    factor = np.maximum(1.0 + ramp(radius, 0.15, 0.45) * (1.0 / np.maximum(radius, 0.05) - 1.0), 1.0)
    hidden = 0.05 * ramp(radius, 0.5, 0.2) * (y < crotch + 0.05)  # the crotch goes up, out of sight
    hips = np.stack([x * factor, y + hidden, axis_z + (z - axis_z) * factor], axis=1)
    upper = ramp(y, crotch - 0.01, crotch + 0.02)[:, None]
    target = upper * hips + (1.0 - upper) * skirt
    share = ramp(y, hip + 0.10, hip - 0.02) * ramp(regions.leg, cut.skirt + 0.012, cut.skirt - 0.012)
    share = share * (leg | (regions.part == PARTS.index("trunk")))
    return moved + share[:, None] * (target - moved), share
