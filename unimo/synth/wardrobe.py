"""Named looks: random numbers in, an `Outfit` in one of the looks out.

A `Look` says which garments there are and what they are made of; an `Outfit` is one person in it, with colours, hair
and the `Cut` that moves the mesh; `unimo.synth.garments` paints it. Colours are RGB in 0..1; lengths are metres on the
resting body.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unimo.synth.appearance import HAIR_TONES, SKIN_TONES, Color, hsv_to_rgb
from unimo.synth.cut import Cut

# (hue, saturation, value) ranges
Palette = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]

ANY: Palette = ((0.0, 1.0), (0.25, 0.9), (0.3, 0.95))
LIGHT: Palette = ((0.0, 1.0), (0.0, 0.15), (0.82, 0.97))
PASTEL: Palette = ((0.0, 1.0), (0.15, 0.4), (0.75, 0.95))
DARK: Palette = ((0.0, 1.0), (0.05, 0.5), (0.08, 0.28))
VIVID: Palette = ((0.0, 1.0), (0.7, 1.0), (0.6, 0.95))
DENIM: Palette = ((0.58, 0.63), (0.35, 0.7), (0.25, 0.6))
EARTH: Palette = ((0.05, 0.14), (0.25, 0.55), (0.3, 0.7))
SIGNAL: Palette = ((0.05, 0.2), (0.85, 1.0), (0.9, 1.0))
GREY: Palette = ((0.55, 0.7), (0.0, 0.12), (0.25, 0.75))


@dataclass(frozen=True)
class Look:
    """The garments of a look.

    Attributes:
        top, top_second, bottom, bottom_second: palettes of the garments and of the second colour of their cloth.
        cloth, bottom_cloth: names of `unimo.synth.textures.TEXTURES`.
        period: metres of one period of the cloth, (low, high).
        sleeve, leg, skirt: where they end (0 shoulder or hip, 1 elbow or knee, 2 wrist or ankle), (low, high); a skirt
            of 0 is none.
        waist: height of the waistline, 0 pelvis to 1 neck.
        neck: "round", "v", "straps" or "high".
        details: names in `unimo.synth.garments.DETAILS`.
        bulk: thickness of (top, bottom), metres.
        flare: of the skirt, metres a metre.
        sock: where socks begin along the leg, 2 for none.
        shoes: palette, or None for bare feet.
        hair: styles that go with it; empty for all.
        matching: the bottom is of the colours of the top.
        trousers: there are trousers under the skirt.
    """

    top: Palette
    bottom: Palette
    top_second: Palette = ANY
    bottom_second: Palette = ANY
    cloth: str = "plain"
    bottom_cloth: str = "plain"
    period: tuple[float, float] = (0.07, 0.12)
    sleeve: tuple[float, float] = (1.85, 1.95)
    leg: tuple[float, float] = (1.85, 1.95)
    skirt: tuple[float, float] = (0.0, 0.0)
    waist: float = 0.16
    neck: str = "round"
    details: tuple[str, ...] = ()
    bulk: tuple[float, float] = (0.006, 0.008)
    flare: float = 0.1
    sock: float = 2.0
    shoes: Palette | None = DARK
    hair: tuple[str, ...] = ()
    matching: bool = False
    trousers: bool = False


LOOKS: dict[str, Look] = {
    "t-shirt and jeans": Look(
        ANY, DENIM, bottom_second=((0.58, 0.62), (0.2, 0.4), (0.55, 0.75)), bottom_cloth="mottled", sleeve=(0.5, 0.75),
        details=("print", "belt"), period=(0.09, 0.12), shoes=LIGHT),
    "sailor": Look(
        LIGHT, DARK, top_second=((0.55, 0.65), (0.6, 0.9), (0.2, 0.5)), cloth="stripes", leg=(0.6, 0.85),
        period=(0.07, 0.09), shoes=LIGHT),
    "dress": Look(
        ANY, ANY, top_second=LIGHT, cloth="dots", sleeve=(0.1, 0.3), skirt=(0.75, 1.05), waist=-1.0, flare=0.22,
        period=(0.11, 0.14), details=("sash",), neck="v", hair=("long", "bun", "tail", "medium")),
    "suit": Look(
        DARK, DARK, top_second=LIGHT, cloth="plain", details=("shirt front", "tie", "lapels"), bulk=(0.012, 0.01),
        neck="high", matching=True, hair=("bald", "short", "medium", "tail", "bun")),
    "hoodie": Look(
        PASTEL, GREY, details=("pouch", "cuffs"), bulk=(0.022, 0.016), shoes=LIGHT),
    "tracksuit": Look(
        VIVID, VIVID, top_second=LIGHT, details=("zip", "side stripes", "high collar"), bulk=(0.012, 0.012),
        neck="high", matching=True, shoes=LIGHT),
    "blouse and skirt": Look(
        PASTEL, ANY, bottom_second=DARK, bottom_cloth="plaid", sleeve=(0.6, 1.2), skirt=(0.6, 1.0), flare=0.16,
        waist=0.3, details=("buttons",), neck="v", period=(0.09, 0.12), hair=("long", "bun", "tail", "medium")),
    "overalls": Look(
        LIGHT, DENIM, top_second=VIVID, bottom_second=DENIM, cloth="stripes", bottom_cloth="mottled",
        sleeve=(0.5, 0.8), details=("bib",), waist=0.3, bulk=(0.008, 0.014), period=(0.07, 0.09)),
    "sportswear": Look(
        VIVID, VIVID, top_second=LIGHT, sleeve=(0.0, 0.02), leg=(0.35, 0.6), details=("number", "side stripes"),
        neck="straps", sock=1.35, bulk=(0.01, 0.014), shoes=VIVID),
    "plaid shirt": Look(
        ((0.95, 1.08), (0.7, 0.9), (0.5, 0.8)), EARTH, top_second=DARK, cloth="plaid", details=("placket", "belt"),
        period=(0.09, 0.12), bulk=(0.01, 0.01), shoes=EARTH),
    "long coat": Look(
        EARTH, DARK, top_second=DARK, cloth="herringbone", skirt=(0.9, 1.2), waist=-1.0, flare=0.12,
        details=("shirt front", "lapels", "buttons", "scarf"), bulk=(0.02, 0.01), neck="high", period=(0.1, 0.13),
        trousers=True),
    "swimsuit": Look(
        VIVID, VIVID, cloth="plain", sleeve=(0.0, 0.02), leg=(0.05, 0.1), waist=-1.0, neck="straps",
        details=("sides",), matching=True, bulk=(0.002, 0.002), shoes=None,
        hair=("bald", "short", "bun", "tail", "cap")),
    "trunks": Look(
        ANY, VIVID, bottom_second=LIGHT, bottom_cloth="checks", sleeve=(0.0, 0.02), leg=(0.45, 0.75), waist=0.12,
        details=("bare chest",), bulk=(0.0, 0.014), shoes=None, period=(0.1, 0.13),
        hair=("bald", "short", "medium", "cap")),
    "work vest": Look(
        SIGNAL, DARK, top_second=LIGHT, sleeve=(1.85, 1.95), details=("vest",), bulk=(0.014, 0.012), shoes=EARTH,
        hair=("short", "cap", "helmet", "tail")),
    "gown": Look(
        ANY, ANY, top_second=LIGHT, cloth="mottled", sleeve=(1.2, 1.9), skirt=(1.75, 1.85), waist=-1.0, flare=0.13,
        details=("sash", "hem"), period=(0.16, 0.25), hair=("long", "bun", "scarf", "medium")),
    "pyjamas": Look(
        PASTEL, PASTEL, top_second=LIGHT, bottom_second=LIGHT, cloth="pinstripes", bottom_cloth="pinstripes",
        details=("buttons",), matching=True, bulk=(0.014, 0.016), neck="v", period=(0.08, 0.1), shoes=None),
}  # fmt: skip

HAIR: dict[str, tuple[float, float]] = {  # thickness, and where it ends at the back of the head
    "bald": (0.0, 0.0), "short": (0.012, -0.05), "medium": (0.02, -0.10), "long": (0.024, -0.3),
    "bun": (0.01, -0.05), "tail": (0.01, -0.05), "cap": (0.014, 0.0), "beanie": (0.022, -0.03),
    "scarf": (0.014, -0.3), "helmet": (0.03, 0.0),
}  # fmt: skip
HATS = ("cap", "beanie", "scarf", "helmet")


@dataclass(frozen=True)
class Outfit:
    """One person in one look.

    Attributes:
        look: name in `LOOKS`; hair: name in `HAIR`.
        cut: how the mesh is moved.
        skin, hair_color (of the hat when there is one), natural_hair, top, second, bottom, bottom_second, shoes, third:
            RGB in 0..1.
        period: metres of the cloth's pattern.
        beard: colour share of a beard, 0..1.
    """

    look: str
    hair: str
    cut: Cut
    skin: Color
    hair_color: Color
    natural_hair: Color
    top: Color
    second: Color
    bottom: Color
    bottom_second: Color
    shoes: Color
    third: Color
    period: float
    beard: float


def sample_outfit(rng: np.random.Generator, avoid: np.ndarray) -> Outfit:
    """Draws a person: every look is as likely as any other.

    Args:
        rng: source of randomness.
        avoid: (N, 3) colours of the background; garments keep some distance from them where the look allows it.
    """
    name = list(LOOKS)[rng.integers(len(LOOKS))]
    look = LOOKS[name]
    tone = rng.uniform(0, len(SKIN_TONES) - 1)
    skin = np.array([np.interp(tone, np.arange(len(SKIN_TONES)), SKIN_TONES[:, c]) for c in range(3)])
    natural_hair = HAIR_TONES[rng.integers(len(HAIR_TONES))] * rng.uniform(0.85, 1.15)
    styles = look.hair or tuple(HAIR)
    hair = styles[rng.integers(len(styles))]
    thickness, nape = HAIR[hair]
    bare = np.vstack([avoid, skin])
    top = _pick(rng, look.top, bare)
    second = _pick(rng, look.top_second, top[None])
    bottom = top if look.matching else _pick(rng, look.bottom, np.vstack([bare, top]))
    sleeve, leg, skirt = (float(rng.uniform(*pair)) for pair in (look.sleeve, look.leg, look.skirt))
    cut = Cut(
        skirt=skirt, flare=look.flare * float(rng.uniform(0.7, 1.3)), top=look.bulk[0], bottom=look.bulk[1],
        waist=look.waist, sleeve=sleeve, leg=leg, hair=thickness * float(rng.uniform(0.8, 1.3)), nape=nape,
        bun=0.045 if hair == "bun" else 0.0, tail=0.04 if hair == "tail" else 0.0,
        hood=0.06 if name == "hoodie" else 0.0,
    )  # fmt: skip
    return Outfit(
        look=name, hair=hair, cut=cut, skin=_triple(skin), natural_hair=_triple(0.8 * natural_hair),
        hair_color=_triple(_pick(rng, ANY, bare) if hair in HATS else natural_hair), top=_triple(top),
        second=_triple(second), bottom=_triple(bottom),
        bottom_second=_triple(second if look.matching else _pick(rng, look.bottom_second, bottom[None])),
        shoes=_triple(_pick(rng, look.shoes, np.vstack([avoid, bottom]))) if look.shoes else _triple(skin),
        third=_triple(_pick(rng, VIVID, np.vstack([top, second]))), period=float(rng.uniform(*look.period)),
        beard=float(rng.uniform(0.5, 0.9)) if rng.random() < 0.2 and hair not in ("long", "bun", "tail") else 0.0,
    )  # fmt: skip


def _pick(rng: np.random.Generator, palette: Palette, avoid: np.ndarray) -> np.ndarray:
    """A colour of a palette, the farthest from `avoid` (N, 3) of a few draws; always the same number of draws."""
    draws = [hsv_to_rgb(*(rng.uniform(*pair) for pair in palette)) for _ in range(6)]
    return max(draws, key=lambda color: min(0.4, float(np.min(np.linalg.norm(avoid - color, axis=1)))))


def _triple(color: np.ndarray) -> Color:
    clipped = np.clip(color, 0.0, 1.0)
    return float(clipped[0]), float(clipped[1]), float(clipped[2])
