"""The optional terms of the reconstruction loss, and the scores of validation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from unimo.errors import InputError, MissingAssetError
from unimo.metrics.lpips import LPIPS
from unimo.metrics.pictures import PictureScores
from unimo.metrics.video import box_downsampled, psnr_db
from unimo.training.clip_batches import ClipDataConfig
from unimo.training.video_losses import ReconstructionLoss
from unimo.training.video_scores import score_reconstructions
from visual_tokenizer import haar_patch, haar_unpatch

CONFIG = ClipDataConfig(crop=32)


@pytest.fixture(scope="module")
def with_lpips(tmp_path_factory: pytest.TempPathFactory) -> ClipDataConfig:
    """A config whose two files hold random weights in the layouts of torchvision and of the package lpips."""
    folder = tmp_path_factory.mktemp("lpips")
    torch.manual_seed(3)
    model = LPIPS("alex")
    backbone, linear = folder / "backbone.pth", folder / "linear.pth"
    torch.save({f"features.{key}": value for key, value in model.features.state_dict().items()}, backbone)
    weights = {f"lin{index}.model.1.weight": torch.rand_like(value) for index, value in enumerate(model.weights)}
    torch.save(weights, linear)
    return replace(
        CONFIG, lpips_weight=0.5, lpips_network="alex", lpips_backbone=str(backbone), lpips_linear=str(linear)
    )


def clip() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Drawn coefficients that want a gradient, the real video that moves by a pixel a frame, and a mask."""
    generator = torch.Generator().manual_seed(0)
    wide = torch.rand(2, 3, 40, 48, generator=generator)
    wide = torch.nn.functional.avg_pool2d(wide, 3, 1, 1) * 2 - 1
    real = torch.stack([wide[..., :32, frame : frame + 32] for frame in range(9)], dim=2)
    drawn = real + 0.1 * torch.randn(real.shape, generator=generator)
    return haar_patch(drawn).requires_grad_(), real, torch.zeros(2, 9, 32, 32, dtype=torch.bool)


def loss_and_slope(config: ClipDataConfig) -> tuple[float, torch.Tensor, dict[str, float]]:
    coefficients, real, mask = clip()
    loss, numbers = ReconstructionLoss(config, "cpu")(coefficients, haar_patch(real), real, mask)
    (slope,) = torch.autograd.grad(loss, coefficients)
    return float(loss.detach()), slope, numbers


def test_both_terms_are_off_at_first() -> None:
    loss, _, numbers = loss_and_slope(CONFIG)
    assert set(numbers) == {"l1", "l2"} and loss == pytest.approx(numbers["l1"] + numbers["l2"])


@pytest.mark.parametrize("term", ["flow", "lpips"])
def test_a_term_changes_the_loss_and_its_gradient(term: str, with_lpips: ClipDataConfig) -> None:
    config = with_lpips if term == "lpips" else replace(CONFIG, flow_weight=0.5)
    plain, plain_slope, _ = loss_and_slope(CONFIG)
    loss, slope, numbers = loss_and_slope(config)
    assert set(numbers) == {"l1", "l2", term} and numbers[term] > 1e-3
    assert loss == pytest.approx(plain + 0.5 * numbers[term], rel=1e-5)
    assert torch.isfinite(slope).all() and (slope - plain_slope).abs().sum() > 0.01 * plain_slope.abs().sum()


def test_lpips_is_that_of_the_frames(with_lpips: ClipDataConfig) -> None:
    coefficients, real, _ = clip()
    drawn = haar_unpatch(coefficients.detach())
    errors = ReconstructionLoss(with_lpips, "cpu")
    assert errors.lpips is not None
    each = [float(errors.lpips(drawn[:, :, frame], real[:, :, frame]).mean()) for frame in range(9)]
    assert loss_and_slope(with_lpips)[2]["lpips"] == pytest.approx(np.mean(each), rel=1e-4)


def test_the_terms_are_float32_under_autocast(with_lpips: ClipDataConfig) -> None:
    config = replace(with_lpips, flow_weight=1.0)
    expected = loss_and_slope(config)[2]
    with torch.autocast("cpu", torch.bfloat16):
        numbers = loss_and_slope(config)[2]
    assert numbers["flow"] == pytest.approx(expected["flow"], rel=1e-4)
    assert numbers["lpips"] == pytest.approx(expected["lpips"], rel=1e-4)


def test_files_of_lpips_are_looked_for_at_once(with_lpips: ClipDataConfig, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lpips_backbone and lpips_linear"):
        ClipDataConfig(lpips_weight=1.0, lpips_backbone="x.pth")
    missing = str(tmp_path / "none.pth")
    with pytest.raises(MissingAssetError, match="alexnet-owt-7be5be79.pth"):
        ReconstructionLoss(replace(with_lpips, lpips_backbone=missing), "cpu")
    with pytest.raises(MissingAssetError, match=r"lpips/weights/v0\.1/alex\.pth"):
        ReconstructionLoss(replace(with_lpips, lpips_linear=missing), "cpu")
    with pytest.raises(InputError, match="alex, vgg"):
        ReconstructionLoss(replace(with_lpips, lpips_network="squeeze"), "cpu")


class Pack:
    """Three random clips; the person stands inside, at the edge where no window of SSIM has its centre, nowhere."""

    def __init__(self) -> None:
        self.frames = np.random.default_rng(0).integers(0, 256, (3, 9, 48, 48, 3), dtype=np.uint8)
        self._masks = np.zeros((3, 9, 48, 48), bool)
        self._masks[0, :, 20:40, 3:9] = self._masks[1, :, 10:30, :4] = True

    def __len__(self) -> int:
        return 3

    def masks(self, rows: np.ndarray) -> np.ndarray:
        return self._masks[rows]


def test_scores_are_those_of_the_metrics() -> None:
    pack = Pack()
    drawn = []

    def reconstruct(video: torch.Tensor) -> torch.Tensor:
        darker = video * torch.linspace(0.7, 1, 9).view(1, 1, 9, 1, 1)
        drawn.append(((darker + 1) * 127.5).round().byte().permute(0, 2, 3, 4, 1).numpy())
        return darker

    scores = score_reconstructions(reconstruct, pack, 8)  # type: ignore[arg-type]
    ours = drawn[0]
    pairs = list(zip(ours, pack.frames, strict=True))
    expected = PictureScores()
    for clip_number, pair in enumerate(pairs):
        expected.add(*pair, pack.masks(np.array([clip_number]))[0])
    coarse = [box_downsampled(real) for real in pack.frames]
    baseline = {
        "downsampled_16x.psnr_db": [psnr_db(*pair) for pair in zip(coarse, pack.frames, strict=True)],
        # nobody is in the third clip
        "downsampled_16x.psnr_in_mask_db": [
            psnr_db(coarse[row], pack.frames[row], pack.masks(np.array([row]))[0]) for row in (0, 1)
        ],
    }
    assert scores == pytest.approx({key: np.nanmean(each) for key, each in (expected.values | baseline).items()})
    assert 0.2 < scores["ssim"] < 0.999 and 2 < scores["flicker_error"] < 25  # of 255


def test_a_perfect_copy_scores_best() -> None:
    scores = score_reconstructions(lambda video: video, Pack(), 1)  # type: ignore[arg-type]
    assert scores["ssim"] == scores["sharpness_ratio"] == pytest.approx(1) and scores["flicker_error"] == 0
    assert scores["psnr_in_mask_db"] > 140 > scores["downsampled_16x.psnr_in_mask_db"]
