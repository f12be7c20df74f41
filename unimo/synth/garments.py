"""The colours of clothes: an `Outfit` and a dressed resting body in, one plain colour per vertex out.

Skin first, then garments, then their details, then the head. Shares and colours are in 0..1; lengths are metres.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from unimo.synth.appearance import PARTS, BodyRegions, Color
from unimo.synth.cut import hair_share, ramp
from unimo.synth.textures import TEXTURES, band
from unimo.synth.wardrobe import LOOKS, Outfit


def outfit_colors(outfit: Outfit, regions: BodyRegions, dressed: np.ndarray) -> np.ndarray:
    """Plain (unlit) colours of a dressed person.

    Args:
        outfit: who wears what.
        regions: where the vertices lie on the bare body.
        dressed: (V, 3) resting vertices of the dressed body.

    Returns:
        (V, 3) float32 in 0..1.
    """
    return _Painter(outfit, regions, dressed).paint()


class _Painter:
    """Lays colours over one another, skin first."""

    def __init__(self, outfit: Outfit, regions: BodyRegions, dressed: np.ndarray) -> None:
        self.outfit, self.look, self.regions = outfit, LOOKS[outfit.look], regions
        self.colors = np.tile(np.asarray(outfit.skin), (len(regions.part), 1))
        self.part = {name: regions.part == index for index, name in enumerate(PARTS)}
        self.x, self.y, self.z = dressed.T.astype(np.float64)
        self.body = self.part["trunk"] | self.part["leg"]
        self.front = ramp(self.z, -0.02, 0.02)
        self.cloth = self._cloth()

    def _cloth(self) -> np.ndarray:
        """(V, 2): metres round the trunk or limb, and along it."""
        x, y, z = self.x, self.y, self.z
        round_arm = 0.045 * np.arctan2(z - np.median(z[self.part["arm"]]), y - np.median(y[self.part["arm"]]))
        leg = self.part["leg"] & (self.outfit.cut.skirt <= 0)
        axis = np.abs(x[self.part["leg"]]).mean()
        round_leg = 0.09 * np.arctan2(np.abs(x) - axis, z)
        across = np.where(self.part["arm"], round_arm, np.where(leg, round_leg, 0.16 * np.arctan2(x, z)))
        along = np.where(self.part["arm"], np.abs(self.regions.rest[:, 0]), y)
        return np.stack([across, along], axis=1)

    def lay(self, share: np.ndarray, color: Color | np.ndarray) -> None:
        """Covers (V,) shares with one colour or (V, 3) colours."""
        self.colors += np.clip(share, 0.0, 1.0)[:, None] * (np.asarray(color) - self.colors)

    def paint(self) -> np.ndarray:
        self._garments()
        for detail in self.look.details:
            DETAILS[detail](self)
        self._head()
        return self.colors.astype(np.float32)

    @property
    def top_share(self) -> np.ndarray:
        """(V,) 0..1 under the upper garment."""
        cut, regions = self.outfit.cut, self.regions
        trunk = self.part["trunk"] * ramp(regions.trunk, cut.waist - 0.02, cut.waist + 0.02) * self._neck()
        sleeve = self.part["arm"] * ramp(regions.arm, cut.sleeve + 0.03, cut.sleeve - 0.03)
        high = self.part["neck"] * ramp(self.y, 0.24, 0.22) * (self.look.neck == "high")
        return trunk + sleeve + high

    def _neck(self) -> np.ndarray:
        """(V,) 0..1: what the neckline leaves of the upper garment on the trunk."""
        x, trunk = np.abs(self.x), self.regions.trunk
        if self.look.neck == "v":
            return 1.0 - self.front * ramp(trunk - 0.78 - 2.2 * x, -0.02, 0.05)
        if self.look.neck == "straps":
            strap = np.maximum(ramp(np.abs(x - 0.09), 0.045, 0.025), ramp(trunk, 0.78, 0.72))
            return strap * ramp(x, 0.17, 0.15)
        return np.ones(len(x)) if self.look.neck == "high" else ramp(np.hypot(x, 0.9 * (self.y - 0.2)), 0.05, 0.075)

    def _garments(self) -> None:
        outfit, look, regions, cut = self.outfit, self.look, self.regions, self.outfit.cut
        if look.shoes is not None:
            self.lay(self.part["foot"] + self.part["leg"] * ramp(regions.leg, 1.93, 1.97), outfit.shoes)
        if look.sock < 2:
            self.lay(self.part["leg"] * ramp(regions.leg, look.sock - 0.03, look.sock + 0.03), outfit.second)
        below = self.part["trunk"] * ramp(regions.trunk, cut.waist + 0.06, cut.waist + 0.03)
        skirt = self.part["leg"] * ramp(regions.leg, cut.skirt + 0.02, cut.skirt) if cut.skirt else None
        one_piece = look.waist < 0
        legs = self.part["leg"] * ramp(regions.leg, cut.leg + 0.025, cut.leg - 0.025)
        bottom = self._woven(look.bottom_cloth, outfit.bottom, outfit.bottom_second)
        top = self._woven(look.cloth, outfit.top, outfit.second)
        if skirt is None or look.trousers:
            self.lay(below + legs, bottom)
        if skirt is not None:
            self.lay(skirt if one_piece else below + skirt, top if one_piece else bottom)
        self.lay(self.top_share, top)

    def _woven(self, cloth: str, first: Color, second: Color) -> np.ndarray:
        share = TEXTURES[cloth](self.cloth, self.outfit.period)[:, None]
        return np.asarray(first) * (1.0 - share) + np.asarray(second) * share

    def _head(self) -> None:
        """Eyes, mouth, beard, hair or hat."""
        outfit, regions = self.outfit, self.regions
        skin, face = np.asarray(outfit.skin), self.part["head"] & (regions.head_back < -0.03)
        x, up = np.abs(self.x), regions.head_up
        if outfit.beard:
            around_mouth = 1.0 - ramp(np.hypot(x, 1.5 * (up + 0.075)), 0.03, 0.02)
            self.lay(outfit.beard * face * ramp(up, -0.05, -0.07) * around_mouth, outfit.natural_hair)
        self.lay(face * ramp(np.hypot(0.8 * (x - 0.034), up), 0.018, 0.009), 0.25 * skin)
        self.lay(face * ramp(np.hypot(0.6 * x, up + 0.072), 0.016, 0.008), skin * (0.65, 0.4, 0.4))
        if outfit.hair == "bald":
            return
        covered = hair_share(regions, outfit.cut.nape)
        if outfit.hair == "tail":
            tail = ramp(np.abs(self.x), 0.045, 0.03) * ramp(up, -0.26, -0.22) * ramp(regions.head_back, 0.0, 0.03)
            covered = np.maximum(covered, tail * (self.part["trunk"] | self.part["neck"] | self.part["head"]))
        self.lay(covered, outfit.hair_color)
        if outfit.hair in ("cap", "beanie", "helmet"):
            rim = ramp(np.abs(up - 0.055), 0.02, 0.01) * covered
            self.lay(rim * (outfit.hair != "helmet"), 0.6 * np.asarray(outfit.hair_color))


def _print(p: _Painter) -> None:
    """A round print on the chest."""
    p.lay(p.top_share * p.front * ramp(np.hypot(p.x, p.y + 0.02), 0.085, 0.065), p.outfit.second)


def _belt(p: _Painter) -> None:
    waist = p.outfit.cut.waist
    p.lay(p.part["trunk"] * ramp(np.abs(p.regions.trunk - waist), 0.045, 0.025), (0.16, 0.1, 0.07))


def _sash(p: _Painter) -> None:
    """A band of the second colour round the waist."""
    p.lay(p.part["trunk"] * ramp(np.abs(p.regions.trunk - 0.32), 0.06, 0.035), p.outfit.second)


def _shirt_front(p: _Painter) -> None:
    """A light shirt in the opening of a jacket."""
    p.lay(p.top_share * p.front * ramp(p.regions.trunk - 0.42 - 6.0 * np.abs(p.x), -0.08, 0.06), p.outfit.second)
    p.lay(p.part["neck"] * ramp(p.y, 0.25, 0.22), p.outfit.second)


def _tie(p: _Painter) -> None:
    width, length = ramp(np.abs(p.x), 0.032, 0.018), ramp(p.regions.trunk, 0.4, 0.48)
    p.lay(p.part["trunk"] * p.front * width * length, p.outfit.third)


def _lapels(p: _Painter) -> None:
    edge = np.abs(p.regions.trunk - 0.42 - 6.0 * (np.abs(p.x) - 0.03))
    p.lay(p.top_share * p.front * 0.6 * ramp(edge, 0.2, 0.08) * ramp(p.regions.trunk, 0.4, 0.5)
          * ramp(np.abs(p.x), 0.12, 0.1), 0.55 * np.asarray(p.outfit.top))  # fmt: skip


def _pouch(p: _Painter) -> None:
    """The pocket of a hoodie, its hem, and the hood."""
    trunk, dark = p.regions.trunk, 0.72 * np.asarray(p.outfit.top)
    pocket = ramp(np.abs(p.x) + 0.25 * trunk, 0.19, 0.17) * ramp(np.abs(trunk - 0.33), 0.14, 0.11)
    p.lay(p.part["trunk"] * p.front * pocket, dark)
    p.lay(ramp(p.regions.head_up, -0.245, -0.22) * ramp(np.abs(p.x), 0.1, 0.08) * p.part["trunk"] * (1 - p.front), dark)
    p.lay(p.part["trunk"] * ramp(np.abs(trunk - p.outfit.cut.waist), 0.05, 0.03), dark)


def _cuffs(p: _Painter) -> None:
    dark = 0.72 * np.asarray(p.outfit.top)
    p.lay(p.part["arm"] * ramp(np.abs(p.regions.arm - p.outfit.cut.sleeve + 0.06), 0.1, 0.06) * p.top_share, dark)


def _zip(p: _Painter) -> None:
    p.lay(p.part["trunk"] * p.front * p.top_share * ramp(np.abs(p.x), 0.025, 0.012), p.outfit.second)


def _side_stripes(p: _Painter) -> None:
    """Light stripes down the outside of arms and legs."""
    legs = p.part["leg"] * ramp(np.abs(p.z), 0.035, 0.018) * ramp(np.abs(p.x), 0.12, 0.135)
    p.lay(legs * ramp(p.regions.leg, p.outfit.cut.leg + 0.03, p.outfit.cut.leg - 0.03), p.outfit.second)
    p.lay(p.part["arm"] * p.top_share * ramp(np.abs(p.z - 0.01), 0.03, 0.018) * ramp(p.y, 0.095, 0.11), p.outfit.second)


def _high_collar(p: _Painter) -> None:
    p.lay(p.part["neck"] * ramp(p.y, 0.26, 0.24), p.outfit.second)


def _buttons(p: _Painter) -> None:
    """A row of dark buttons."""
    row = np.clip(band(p.y, 0.09, 0.45), 0, 1) * ramp(np.abs(p.x), 0.028, 0.012)
    p.lay(p.part["trunk"] * p.front * p.top_share * row, 0.4 * np.asarray(p.outfit.top))


def _placket(p: _Painter) -> None:
    p.lay(p.part["trunk"] * p.front * p.top_share * ramp(np.abs(p.x), 0.035, 0.02), 0.55 * np.asarray(p.outfit.top))


def _bib(p: _Painter) -> None:
    """The bib and straps of overalls."""
    trunk, x = p.regions.trunk, np.abs(p.x)
    bib = p.front * ramp(x, 0.12, 0.1) * ramp(trunk, 0.72, 0.68)
    straps = ramp(np.abs(x - 0.085), 0.032, 0.018) * ramp(trunk, 0.2, 0.3)
    p.lay(p.part["trunk"] * np.maximum(bib, straps), p._woven("mottled", p.outfit.bottom, p.outfit.bottom_second))
    pocket = p.front * ramp(x, 0.065, 0.05) * ramp(np.abs(trunk - 0.52), 0.11, 0.09)
    p.lay(p.part["trunk"] * pocket, 0.7 * np.asarray(p.outfit.bottom))


def _number(p: _Painter) -> None:
    """A bar on the chest and two on the back."""
    chest, back = ramp(np.abs(p.x), 0.03, 0.018), ramp(np.abs(np.abs(p.x) - 0.05), 0.03, 0.018)
    bars = np.maximum(p.front * chest, (1 - p.front) * back)
    p.lay(p.top_share * p.part["trunk"] * bars * ramp(np.abs(p.regions.trunk - 0.55), 0.22, 0.19), p.outfit.second)


def _scarf(p: _Painter) -> None:
    p.lay(p.part["neck"] * ramp(p.y, 0.27, 0.25) + p.part["trunk"] * ramp(p.regions.trunk, 0.86, 0.92)
          * ramp(np.abs(p.x), 0.1, 0.08), p.outfit.third)  # fmt: skip


def _sides(p: _Painter) -> None:
    """Side panels of a swimsuit."""
    p.lay(p.part["trunk"] * p.top_share * ramp(np.abs(p.x), 0.1, 0.125), p.outfit.second)


def _bare_chest(p: _Painter) -> None:
    p.lay(p.top_share, p.outfit.skin)


def _vest(p: _Painter) -> None:
    """Dark sleeves, and reflecting bands round the trunk and over the shoulders."""
    p.lay(p.part["arm"] * p.top_share, p.outfit.bottom)
    trunk = p.part["trunk"] * p.top_share
    low, high = (ramp(np.abs(p.regions.trunk - height), 0.06, 0.04) for height in (0.3, 0.55))
    straps = ramp(np.abs(np.abs(p.x) - 0.1), 0.035, 0.02) * ramp(p.regions.trunk, 0.5, 0.6)
    p.lay(trunk * np.maximum(np.maximum(low, high), straps), (0.9, 0.9, 0.88))
    p.lay(trunk * p.front * ramp(np.abs(p.x), 0.016, 0.008), 0.3 * np.asarray(p.outfit.bottom))


def _hem(p: _Painter) -> None:
    end = p.outfit.cut.skirt
    ring = ramp(p.regions.leg, end - 0.14, end - 0.1) * ramp(p.regions.leg, end + 0.02, end)
    p.lay(p.part["leg"] * ring, p.outfit.second)


DETAILS: dict[str, Callable[[_Painter], None]] = {
    "print": _print, "belt": _belt, "sash": _sash, "shirt front": _shirt_front, "tie": _tie, "lapels": _lapels,
    "pouch": _pouch, "cuffs": _cuffs, "zip": _zip, "side stripes": _side_stripes, "high collar": _high_collar,
    "buttons": _buttons, "placket": _placket, "bib": _bib, "number": _number, "scarf": _scarf, "sides": _sides,
    "bare chest": _bare_chest, "vest": _vest, "hem": _hem,
}  # fmt: skip
