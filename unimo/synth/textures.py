"""Procedural cloth: places on the cloth (N, 2) in metres in, the share of the second colour (N,) in 0..1 out.

The first coordinate runs round the body, the second along it. Edges are as soft as the mesh is coarse, since the
textures are sampled at vertices.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# metres over which an edge is blurred: about half an edge of the fine mesh
SOFT = 0.012

Texture = Callable[[np.ndarray, float], np.ndarray]


def band(coordinate: np.ndarray, period: float, share: float = 0.5) -> np.ndarray:
    """1 inside bands that take `share` of every period, 0 between."""
    inside = 0.5 * share * period - np.abs((coordinate / period) % 1.0 - 0.5) * period
    return np.clip(0.5 + inside / SOFT, 0.0, 1.0)


def plain(cloth: np.ndarray, period: float) -> np.ndarray:
    """One colour."""
    return np.zeros(len(cloth))


def stripes(cloth: np.ndarray, period: float) -> np.ndarray:
    """Rings round the body."""
    return band(cloth[:, 1], period)


def pinstripes(cloth: np.ndarray, period: float) -> np.ndarray:
    """Lines along the body."""
    return band(cloth[:, 0], period, 0.35)


def checks(cloth: np.ndarray, period: float) -> np.ndarray:
    """A chequer-board."""
    u, v = band(cloth[:, 0], period), band(cloth[:, 1], period)
    return u * (1 - v) + v * (1 - u)


def plaid(cloth: np.ndarray, period: float) -> np.ndarray:
    """Crossing bands, darker where they meet."""
    return 0.5 * (band(cloth[:, 0], period, 0.45) + band(cloth[:, 1], period, 0.45))


def dots(cloth: np.ndarray, period: float) -> np.ndarray:
    """Dots in rows that are shifted by half a period."""
    row = np.floor(cloth[:, 1] / period)
    u = ((cloth[:, 0] / period + 0.5 * (row % 2)) % 1.0 - 0.5) * period
    v = ((cloth[:, 1] / period) % 1.0 - 0.5) * period
    return np.clip(0.5 + (0.3 * period - np.hypot(u, v)) / SOFT, 0.0, 1.0)


def herringbone(cloth: np.ndarray, period: float) -> np.ndarray:
    """Slanting lines that turn at every half period round the body."""
    zigzag = np.abs((cloth[:, 0] / period) % 1.0 - 0.5) * period
    return 0.7 * band(cloth[:, 1] + zigzag, 0.5 * period)


def mottled(cloth: np.ndarray, period: float) -> np.ndarray:
    """Smooth uneven patches, such as worn denim."""
    u, v = 2 * np.pi * cloth.T / period
    patches = np.sin(u + 1.3 * np.sin(0.7 * v)) * np.sin(1.1 * v + 1.7 * np.sin(0.6 * u))
    return np.clip(0.5 + 0.35 * (patches + 0.5 * np.sin(2.3 * u - 1.9 * v)), 0.0, 1.0)


TEXTURES: dict[str, Texture] = {
    "plain": plain, "stripes": stripes, "pinstripes": pinstripes, "checks": checks, "plaid": plaid, "dots": dots,
    "herringbone": herringbone, "mottled": mottled,
}  # fmt: skip
