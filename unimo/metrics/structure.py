"""How alike two pictures look, without a network: SSIM, multi-scale SSIM, gradient similarity and sharpness.

In: pictures (..., H, W, 3) RGB of two sides, uint8 or on the scale 0..255. Out: one number a call, pooled over all
pictures; identical pictures give 1, except `gmsd`, which gives 0.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.ndimage import correlate1d

WINDOW, SIGMA = 11, 1.5
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
LUMINANCE = np.array([0.299, 0.587, 0.114])
GMSD_CONSTANT = 170.0
_PIXELS_AT_ONCE = 2**20


def ssim(predicted: np.ndarray, target: np.ndarray, mask: np.ndarray | None = None, data_range: float = 255.0) -> float:
    """Structural similarity (Wang et al. 2004): at each pixel, from means m, variances v and covariance c in a window,

    (2 m_p m_t + C1)(2 c + C2) / ((m_p² + m_t² + C1)(v_p + v_t + C2)), C1 = (0.01 range)², C2 = (0.03 range)²,
    in an 11×11 Gaussian window of sigma 1.5 (population variances). It is taken in each colour channel and averaged, as
    video tokenizers are measured, where the paper itself has grey pictures. Cosmos's TokenBench instead leaves
    scikit-image at its defaults, a flat 7×7 window: its numbers are not these.

    Args:
        predicted: (..., H, W, 3), at least 11×11 pixels.
        target: the same shape.
        mask: optional (..., H, W) bool; only windows centred on its pixels count, which also see what lies beside it.
            Without such windows the result is NaN.
        data_range: largest value minus smallest possible one.

    Returns:
        Mean over all windows that lie wholly in the picture; at most 1, without unit, 1 is best. Equal to
        scikit-image's `structural_similarity(gaussian_weights=True, use_sample_covariance=False, channel_axis=-1)`.

    Raises:
        ValueError: shapes differ or a side is too small.
    """
    _check(predicted, target, WINDOW)
    total, count = 0.0, 0
    edge = WINDOW // 2
    masks = None if mask is None else mask.reshape(-1, *mask.shape[-2:])[:, edge:-edge, edge:-edge]
    for rows, one, two in _chunks(predicted, target):
        luminance, structure = _similarity_maps(one, two, data_range)
        values = luminance * structure
        if masks is not None:
            values = values[masks[rows]]
        total, count = total + float(values.sum()), count + values.size
    return total / count if count else float("nan")


def ms_ssim(predicted: np.ndarray, target: np.ndarray, scales: int = 3, data_range: float = 255.0) -> float:
    """Multi-scale SSIM (Wang, Simoncelli and Bovik 2003).

    The pictures are halved (means of 2×2 pixels) `scales` - 1 times. At each scale counts the mean of the structure
    factor (2 c + C2) / (v_p + v_t + C2), at the coarsest that of the whole SSIM; negative means count as 0. Their
    weighted geometric mean is taken for each picture and channel, then the mean of those.

    Args:
        predicted: (..., H, W, 3); the shorter side must be at least 11 · 2^(scales - 1) pixels.
        target: the same shape.
        scales: 1 to 5. The paper's 5 need 176 pixels; 4 need 88 and 3 need 44. Fewer scales take the first of the
            paper's weights, scaled to sum to 1, so that numbers compare only at the same `scales`.
        data_range: largest value minus smallest possible one.

    Returns:
        0..1, without unit, 1 is best.

    Raises:
        ValueError: shapes differ, or a side is too small for the scales.
    """
    if not 1 <= scales <= len(SCALE_WEIGHTS):
        raise ValueError(f"scales must be 1 to {len(SCALE_WEIGHTS)}, not {scales}")
    _check(predicted, target, WINDOW * 2 ** (scales - 1))
    weights = np.array(SCALE_WEIGHTS[:scales]) / sum(SCALE_WEIGHTS[:scales])
    values = []
    for _, one, two in _chunks(predicted, target):
        product = np.ones((len(one), 3))
        for scale, weight in enumerate(weights):
            luminance, structure = _similarity_maps(one, two, data_range)
            last = scale == scales - 1
            mean = (luminance * structure if last else structure).mean((1, 2))
            product *= np.maximum(mean, 0) ** weight
            if not last:
                one, two = _halved(one), _halved(two)
        values.append(product)
    return float(np.concatenate(values).mean())


def gmsd(predicted: np.ndarray, target: np.ndarray) -> float:
    """Gradient magnitude similarity deviation (Xue, Zhang, Mou and Bovik 2014).

    Of the luminance at half size, with Prewitt gradient magnitudes g: the standard deviation over the picture of
    (2 g_p g_t + 170) / (g_p² + g_t² + 170). Beyond the border lies black, as in the authors' code.

    Args:
        predicted: (..., H, W, 3) on the scale 0..255.
        target: the same shape.

    Returns:
        Mean over pictures; 0 is best, 0.1 is a plain difference, around 0.35 the worst seen; without unit.

    Raises:
        ValueError: shapes differ.
    """
    _check(predicted, target, 4)
    values = []
    for _, one, two in _chunks(predicted, target):
        g_one, g_two = (_gradient_magnitude(_halved(_luminance(side), pad=True)) for side in (one, two))
        similarity = (2 * g_one * g_two + GMSD_CONSTANT) / (g_one**2 + g_two**2 + GMSD_CONSTANT)
        values.append(similarity.std((1, 2), ddof=1))
    return float(np.concatenate(values).mean())


def sharpness_ratio(predicted: np.ndarray, target: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Gradient energy of ours over that of the real: the sum of squared luminance steps to the right and down.

    It says how much detail there is, not whether it is the right detail: read it beside `ssim`.

    Args:
        predicted: (..., H, W, 3).
        target: the same shape.
        mask: optional (..., H, W) bool; only steps that start at its pixels count.

    Returns:
        1 is as sharp as the real one, below is blurred, above is noise or ringing; without unit. NaN where the real
        one is flat.

    Raises:
        ValueError: shapes differ.
    """
    _check(predicted, target, 2)
    masks = None if mask is None else mask.reshape(-1, *mask.shape[-2:])[:, :-1, :-1]
    ours = real = 0.0
    for rows, one, two in _chunks(predicted, target):
        part = True if masks is None else masks[rows]
        ours += float(np.sum(_step_energy(one), where=part))
        real += float(np.sum(_step_energy(two), where=part))
    return ours / real if real else float("nan")


def _check(predicted: np.ndarray, target: np.ndarray, smallest: int) -> None:
    if predicted.shape != target.shape or predicted.ndim < 3 or predicted.shape[-1] != 3:
        raise ValueError(f"need two sides (..., H, W, 3) of one shape, got {predicted.shape} and {target.shape}")
    if min(predicted.shape[-3:-1]) < smallest:
        raise ValueError(f"need at least {smallest}×{smallest} pixels, got {predicted.shape[-3:-1]}")


def _chunks(predicted: np.ndarray, target: np.ndarray) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Both sides as (n, H, W, 3) float64, a few pictures at a time, with the rows they are."""
    predicted, target = (side.reshape(-1, *side.shape[-3:]) for side in (predicted, target))
    step = max(1, _PIXELS_AT_ONCE // (predicted.shape[1] * predicted.shape[2]))
    for start in range(0, len(predicted), step):
        rows = slice(start, start + step)
        yield rows, predicted[rows].astype(np.float64), target[rows].astype(np.float64)


def _similarity_maps(one: np.ndarray, two: np.ndarray, data_range: float) -> tuple[np.ndarray, np.ndarray]:
    """Luminance and structure factors (n, H - 10, W - 10, C) of SSIM."""
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mean_one, mean_two = _blurred(one), _blurred(two)
    variances = _blurred(one**2) - mean_one**2 + _blurred(two**2) - mean_two**2
    covariance = _blurred(one * two) - mean_one * mean_two
    luminance = (2 * mean_one * mean_two + c1) / (mean_one**2 + mean_two**2 + c1)
    return luminance, (2 * covariance + c2) / (variances + c2)


def _gaussian() -> np.ndarray:
    values = np.exp(-0.5 * ((np.arange(WINDOW) - WINDOW // 2) / SIGMA) ** 2)
    return values / values.sum()


def _blurred(pictures: np.ndarray) -> np.ndarray:
    """Gaussian means of the windows that lie wholly in the picture."""
    edge = WINDOW // 2
    rows = correlate1d(pictures, _gaussian(), axis=1)[:, edge:-edge]
    return correlate1d(rows, _gaussian(), axis=2)[:, :, edge:-edge]


def _halved(pictures: np.ndarray, pad: bool = False) -> np.ndarray:
    """Means of 2×2 pixels; an odd last row or column is dropped, or with `pad` meets black."""
    height, width = pictures.shape[1:3]
    if pad:
        rest = [(0, 0), (0, height % 2), (0, width % 2)] + [(0, 0)] * (pictures.ndim - 3)
        pictures = np.pad(pictures, rest)
    else:
        pictures = pictures[:, : height // 2 * 2, : width // 2 * 2]
    upper, lower = pictures[:, ::2], pictures[:, 1::2]
    return (upper[:, :, ::2] + upper[:, :, 1::2] + lower[:, :, ::2] + lower[:, :, 1::2]) / 4


def _luminance(pictures: np.ndarray) -> np.ndarray:
    return pictures @ LUMINANCE


def _gradient_magnitude(pictures: np.ndarray) -> np.ndarray:
    """Prewitt gradients of (n, H, W): differences over two pixels, averaged over three lines."""
    lines, step = np.full(3, 1 / 3), np.array([1.0, 0.0, -1.0])

    def along(axis: int, across: int) -> np.ndarray:
        return correlate1d(correlate1d(pictures, step, axis, mode="constant"), lines, across, mode="constant")

    return np.hypot(along(1, 2), along(2, 1))


def _step_energy(pictures: np.ndarray) -> np.ndarray:
    """Squared steps to the right and down of (n, H, W, 3) → (n, H - 1, W - 1)."""
    grey = _luminance(pictures)
    here = grey[:, :-1, :-1]
    return (grey[:, :-1, 1:] - here) ** 2 + (grey[:, 1:, :-1] - here) ** 2
