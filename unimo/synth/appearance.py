"""What a synthetic person wears: a random `Appearance` in, one plain colour per vertex out.

Front and back, left and right limbs and the parts of the body can be told apart: the face is bare with dark eyes and
mouth, hair covers the back of the head, shirts may carry a front panel, legs may have socks and bare knees.
Colours are RGB in 0..1; lengths are metres on the resting body (arms along ±x, facing +z, y up).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Color = tuple[float, float, float]

SKIN_TONES = np.array([
    [0.98, 0.86, 0.77], [0.95, 0.80, 0.68], [0.90, 0.72, 0.58], [0.83, 0.63, 0.47],
    [0.74, 0.53, 0.38], [0.62, 0.42, 0.29], [0.48, 0.32, 0.22], [0.36, 0.24, 0.17],
])  # fmt: skip
HAIR_TONES = np.array([
    [0.08, 0.07, 0.06], [0.20, 0.13, 0.09], [0.36, 0.22, 0.12], [0.52, 0.30, 0.14],
    [0.78, 0.62, 0.34], [0.62, 0.60, 0.58], [0.55, 0.18, 0.10],
])  # fmt: skip
TRUNK_PATTERNS = ("plain", "stripes", "panel", "jacket", "halves", "logo")
HAIR_STYLES = ("bald", "short", "medium", "long", "cap")


@dataclass(frozen=True)
class Appearance:
    """Colours and cut of one person.

    Attributes:
        skin, hair, top, accent, bottom, shoes, socks: RGB in 0..1.
        hair_style: one of `HAIR_STYLES`.
        pattern: one of `TRUNK_PATTERNS`; drawn on the trunk in `accent`.
        sleeve: where sleeves end along the arm: 0 shoulder, 1 elbow, 2 wrist.
        leg: where trousers, shorts or skirt end along the leg: 0 hip, 1 knee, 2 ankle.
        sock: where socks begin along the leg (2 means none).
        waist: height of the waistline, 0 pelvis to 1 neck.
        stripe_period: metres.
        barefoot: shoes are left out.
    """

    skin: Color
    hair: Color
    top: Color
    accent: Color
    bottom: Color
    shoes: Color
    socks: Color
    hair_style: str
    pattern: str
    sleeve: float
    leg: float
    sock: float
    waist: float
    stripe_period: float
    barefoot: bool


@dataclass(frozen=True)
class BodyRegions:
    """Where each vertex of the resting body lies; all arrays (V,) unless said.

    Attributes:
        part: index into `PARTS`.
        arm: 0 shoulder, 1 elbow, 2 wrist along the arm.
        leg: 0 hip, 1 knee, 2 ankle along the leg.
        trunk: 0 pelvis to 1 neck in height.
        rest: (V, 3) resting vertices.
        front: True on the front half.
        head_up: metres above the eyes.
        head_back: metres behind the middle of the head.
        face_dark: eyes and mouth, True where they are.
    """

    part: np.ndarray
    arm: np.ndarray
    leg: np.ndarray
    trunk: np.ndarray
    rest: np.ndarray
    front: np.ndarray
    head_up: np.ndarray
    head_back: np.ndarray
    face_dark: np.ndarray


PARTS = ("trunk", "neck", "head", "arm", "hand", "leg", "foot")
_PART_JOINTS = {
    "trunk": [0, 3, 6, 9, 13, 14], "neck": [12], "head": [15, 22, 23, 24], "arm": [16, 17, 18, 19],
    "hand": [20, 21, *range(25, 55)], "leg": [1, 2, 4, 5], "foot": [7, 8, 10, 11],
}  # fmt: skip


def body_regions(rest_vertices: np.ndarray, weights: np.ndarray, rest_joints: np.ndarray) -> BodyRegions:
    """Finds the regions of a body.

    Args:
        rest_vertices: (V, 3) zero-pose vertices.
        weights: (V, J) skinning weights; J is 22 or 55 in SMPL-X order.
        rest_joints: (J', 3) zero-pose joints in SMPL-X order, J' at least 22.
    """
    joints_known = weights.shape[1]
    by_part = [weights[:, [j for j in _PART_JOINTS[name] if j < joints_known]].sum(axis=1) for name in PARTS]
    part = np.argmax(np.stack(by_part, axis=1), axis=1)
    x, y, z = rest_vertices.T
    shoulder, elbow, wrist = (abs(rest_joints[j, 0]) for j in (16, 18, 20))
    hip, knee, ankle = (rest_joints[j, 1] for j in (1, 4, 7))
    head = part == PARTS.index("head")
    head_z = 0.5 * (z[head].min() + z[head].max())
    top = y[head].max()
    eye_height = top - 0.105
    # the sole of the face: front vertices within a small distance of where eyes and mouth stand
    front_z = z[head].max()
    spots = [(0.032, eye_height), (-0.032, eye_height), (0.0, eye_height - 0.072)]
    near = np.min([np.hypot((x - sx) * (1.0 if sx else 0.6), y - sy) for sx, sy in spots], axis=0)
    return BodyRegions(
        part=part,
        arm=np.interp(np.abs(x), [shoulder, elbow, wrist], [0.0, 1.0, 2.0]),
        leg=np.interp(-y, [-hip, -knee, -ankle], [0.0, 1.0, 2.0]),
        trunk=(y - rest_joints[0, 1]) / (rest_joints[12, 1] - rest_joints[0, 1]),
        rest=rest_vertices,
        front=z > rest_joints[6, 2],
        head_up=y - eye_height,
        head_back=head_z - z,
        face_dark=head & (near < 0.022) & (z > front_z - 0.07),
    )


def sample_appearance(rng: np.random.Generator, avoid: np.ndarray) -> Appearance:
    """Draws a person.

    Args:
        rng: source of randomness.
        avoid: (N, 3) colours of the background; garments keep some distance from them where that is possible.
    """
    tone = rng.uniform(0, len(SKIN_TONES) - 1)
    skin = np.array([np.interp(tone, np.arange(len(SKIN_TONES)), SKIN_TONES[:, c]) for c in range(3)])
    skin = np.clip(skin * rng.uniform(0.93, 1.05), 0, 1)
    top = _garment_color(rng, np.vstack([avoid, skin]))
    bottom = _garment_color(rng, np.vstack([avoid, skin, top]) if rng.random() < 0.85 else avoid)
    style = str(rng.choice(HAIR_STYLES, p=[0.08, 0.34, 0.22, 0.24, 0.12]))
    hair = HAIR_TONES[rng.integers(len(HAIR_TONES))] * rng.uniform(0.85, 1.15)
    sleeve = [rng.uniform(0.05, 0.2), rng.uniform(0.4, 0.75), 1.9][rng.choice(3, p=[0.15, 0.5, 0.35])]
    leg = [rng.uniform(0.45, 0.95), 1.9, rng.uniform(0.5, 1.3)][rng.choice(3, p=[0.35, 0.5, 0.15])]
    return Appearance(
        skin=_triple(skin),
        hair=_triple(hair if style != "cap" else _garment_color(rng, skin[None])),
        top=_triple(top),
        accent=_triple(_garment_color(rng, np.vstack([top, bottom]))),
        bottom=_triple(bottom),
        shoes=_triple(_garment_color(rng, np.vstack([avoid, bottom]))),
        socks=_triple(rng.choice([0.12, 0.5, 0.92]) * np.ones(3)),
        hair_style=style,
        pattern=str(rng.choice(TRUNK_PATTERNS, p=[0.2, 0.18, 0.16, 0.16, 0.12, 0.18])),
        sleeve=float(sleeve),
        leg=float(leg),
        sock=float(rng.uniform(1.5, 1.85)) if leg < 1.2 and rng.random() < 0.6 else 2.0,
        waist=float(rng.uniform(0.05, 0.28)),
        stripe_period=float(rng.uniform(0.13, 0.24)),
        barefoot=bool(rng.random() < 0.1),
    )


def vertex_colors(appearance: Appearance, regions: BodyRegions) -> np.ndarray:
    """Plain (unlit) colours of a dressed person, (V, 3) float32 in 0..1."""
    look, where = appearance, {name: regions.part == index for index, name in enumerate(PARTS)}
    colors = np.tile(np.asarray(look.skin, np.float32), (len(regions.part), 1))
    colors[where["head"] & regions.face_dark] = np.asarray(look.skin, np.float32) * 0.35
    colors[_hair(look.hair_style, where, regions)] = look.hair
    accented = where["trunk"] * _trunk_pattern(look, regions)
    if look.pattern == "stripes":
        accented = accented + where["arm"] * _stripes(np.abs(regions.rest[:, 0]), look)
    cloth = np.asarray(look.top) + accented[:, None] * (np.asarray(look.accent) - np.asarray(look.top))
    sleeve = where["arm"] * _soft_step((look.sleeve - regions.arm) * 0.25)
    shirt = where["trunk"] * _soft_step((regions.trunk - look.waist) * 0.5)
    trousers = where["leg"] * _soft_step((look.leg - regions.leg) * 0.4)
    socks = where["leg"] * _soft_step((regions.leg - max(look.sock, look.leg)) * 0.4)
    colors[where["trunk"]] = look.bottom
    for share, color in ((sleeve + shirt, cloth), (trousers, look.bottom), (socks, look.socks)):
        colors += share[:, None].astype(np.float32) * (np.asarray(color, np.float32) - colors)
    if not look.barefoot:
        colors[where["foot"]] = look.shoes
    return colors


def _soft_step(metres: np.ndarray, width: float = 0.03) -> np.ndarray:
    """0 to 1 across a hem: as wide as an edge of the low-polygon mesh, so that interpolation keeps it straight."""
    return np.clip(0.5 + metres / width, 0.0, 1.0)


def _stripes(coordinate: np.ndarray, look: Appearance) -> np.ndarray:
    """0 to 1 to 0 in periods along a coordinate in metres."""
    triangle = np.abs((coordinate / look.stripe_period) % 1.0 - 0.5) - 0.25
    return _soft_step(triangle * look.stripe_period, 0.04)


def _trunk_pattern(look: Appearance, regions: BodyRegions) -> np.ndarray:
    """(V,) share of the accent colour on trunk vertices, 0..1."""
    x, y, _ = regions.rest.T
    if look.pattern == "stripes":
        return _stripes(y, look)
    if look.pattern == "panel":
        return regions.front * _soft_step(0.11 - np.abs(x), 0.05)
    if look.pattern == "jacket":
        return regions.front * _soft_step(0.05 - np.abs(x), 0.05)
    if look.pattern == "halves":
        return _soft_step(0.5 * (regions.trunk - 0.62), 0.05)
    if look.pattern == "logo":
        return regions.front * _soft_step(0.09 - np.hypot(x, 0.5 * (regions.trunk - 0.66)), 0.05)
    return np.zeros(len(x))


def _hair(style: str, where: dict[str, np.ndarray], regions: BodyRegions) -> np.ndarray:
    """(V,) bool: vertices under hair or cap."""
    if style == "bald":
        return np.zeros(len(regions.part), dtype=bool)
    # the hairline falls from the forehead to the nape as one goes round the head
    nape = {"short": -0.03, "medium": -0.07, "long": -0.30, "cap": 0.01}[style]
    line = np.interp(regions.head_back, [-0.07, -0.03, 0.0, 0.03], [0.045, 0.04, 0.0, nape])
    covered = regions.head_up > line
    body = where["head"] | where["neck"] if style != "long" else where["head"] | where["neck"] | where["trunk"]
    behind = regions.head_back > (0.0 if style != "long" else 0.02)
    return covered & (where["head"] | (body & behind & (regions.head_up > -0.32)))


def _garment_color(rng: np.random.Generator, avoid: np.ndarray) -> np.ndarray:
    """A colour that keeps its distance from `avoid` (N, 3): the farthest of a few draws once one is far enough."""
    best, best_distance = np.zeros(3), -1.0
    for _ in range(6):
        hue, saturation, value = rng.random(), rng.beta(2.0, 1.6), rng.uniform(0.12, 0.95)
        color = hsv_to_rgb(hue, saturation, value)
        distance = float(np.min(np.linalg.norm(avoid - color, axis=1)))
        if distance > best_distance:
            best, best_distance = color, distance
        if distance > 0.35:
            break
    return best


def hsv_to_rgb(hue: float, saturation: float, value: float) -> np.ndarray:
    """HSV in 0..1 to RGB (3,) in 0..1."""
    shifted = np.abs(((hue + np.array([0.0, 2 / 3, 1 / 3])) % 1.0) * 6.0 - 3.0) - 1.0
    return value * (1.0 - saturation * (1.0 - np.clip(shifted, 0.0, 1.0)))


def _triple(color: np.ndarray) -> Color:
    clipped = np.clip(color, 0.0, 1.0)
    return float(clipped[0]), float(clipped[1]), float(clipped[2])
