"""How drawn clips compare with real ones, one number a clip and measure.

In: uint8 clips (T, H, W, 3) of both, and the person's masks. Out: `PictureScores`, a table by measure.
"""

from __future__ import annotations

import numpy as np

from unimo.metrics.flicker import flicker_error
from unimo.metrics.structure import gmsd, sharpness_ratio, ssim
from unimo.metrics.video import psnr_db


class PictureScores:
    """Collects the measures of clips, of the whole frame and, where the key says so, of the person.

    Keys: `psnr_db`, `psnr_in_mask_db`, `ssim`, `gmsd`, `sharpness_ratio`, `flicker_error` (0-255 a frame),
    `flicker_error_in_mask`.
    """

    def __init__(self) -> None:
        self._rows: list[dict[str, float]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, drawn: np.ndarray, real: np.ndarray, mask: np.ndarray) -> None:
        """One clip: (T, H, W, 3) uint8 drawn and real, mask (T, H, W) bool."""
        self._rows.append(
            {
                "psnr_db": psnr_db(drawn, real),
                "psnr_in_mask_db": psnr_db(drawn, real, mask),
                "ssim": ssim(drawn, real),
                "gmsd": gmsd(drawn, real),
                "sharpness_ratio": sharpness_ratio(drawn, real),
                "flicker_error": 255 * flicker_error(drawn, real),
                "flicker_error_in_mask": 255 * flicker_error(drawn, real, mask),
            }
        )

    @property
    def values(self) -> dict[str, np.ndarray]:
        """Each measure of all clips, in their order."""
        return {key: np.array([row[key] for row in self._rows]) for key in self._rows[0]}
