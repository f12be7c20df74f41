"""LPIPS with random weights: the formula, what a distance must do, gradients, and the text of each error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from unimo.errors import CheckpointError, InputError, MissingAssetError
from unimo.metrics.lpips import LPIPS, load_lpips, mean_lpips


def write_weights(folder: Path, network: str) -> tuple[Path, Path]:
    """Random weights in the layout of torchvision and of the package lpips."""
    torch.manual_seed(3)
    model = LPIPS(network)
    backbone = {f"features.{key}": value for key, value in model.features.state_dict().items()}
    backbone["classifier.6.bias"] = torch.zeros(1000)
    linear = {f"lin{index}.model.1.weight": torch.rand_like(value) for index, value in enumerate(model.weights)}
    torch.save(backbone, folder / f"{network}-backbone.pth")
    torch.save(linear, folder / f"{network}.pth")
    return folder / f"{network}-backbone.pth", folder / f"{network}.pth"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_weights(tmp_path_factory.mktemp("lpips"), "alex")


@pytest.fixture(scope="module")
def model(files: tuple[Path, Path]) -> LPIPS:
    return load_lpips("alex", *files)


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    real = torch.rand(3, 3, 40, 48, generator=generator) * 2 - 1
    return (real + 0.2 * torch.randn(real.shape, generator=generator)).clamp(-1, 1), real


def test_the_same_picture_has_distance_zero_and_sides_may_be_exchanged(model: LPIPS, pair) -> None:
    ours, real = pair
    assert torch.equal(model(real, real), torch.zeros(3))
    assert (model(ours, real) > 1e-3).all()
    torch.testing.assert_close(model(ours, real), model(real, ours))
    torch.testing.assert_close(model(ours[1:2], real[1:2]), model(ours, real)[1:2])


def test_more_noise_is_farther_away(model: LPIPS, pair) -> None:
    ours, real = pair
    values = [float(model(real + share * (ours - real), real).mean()) for share in (0.25, 0.5, 1.0)]
    assert 0 < values[0] < values[1] < values[2]


def test_the_distance_is_that_of_the_formula(files: tuple[Path, Path], model: LPIPS, pair) -> None:
    """AlexNet once more in plain functions, with the taps behind each of its five ReLUs."""
    state, linear = (torch.load(path, weights_only=True) for path in files)

    def features(picture: torch.Tensor) -> list[torch.Tensor]:
        mean, spread = torch.tensor([-0.03, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.45])
        x, found = (picture - mean[:, None, None]) / spread[:, None, None], []
        for index, stride, padding in ((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1)):
            if index in (3, 6):
                x = F.max_pool2d(x, 3, 2)
            x = F.conv2d(x, state[f"features.{index}.weight"], state[f"features.{index}.bias"], stride, padding).relu()
            found.append(x)
        return found

    expected = torch.zeros(3)
    for layer, (ours, real) in enumerate(zip(*map(features, pair), strict=True)):
        squared = (F.normalize(ours, dim=1) - F.normalize(real, dim=1)) ** 2
        expected += (squared * linear[f"lin{layer}.model.1.weight"]).sum(1).mean((1, 2))
    torch.testing.assert_close(model(*pair), expected)


def test_gradients_reach_the_picture_and_no_weight(model: LPIPS, pair) -> None:
    ours, real = pair
    ours = ours.clone().requires_grad_()
    model(ours, real).sum().backward()
    assert ours.grad is not None and torch.isfinite(ours.grad).all() and ours.grad.abs().amax((1, 2, 3)).min() > 0
    assert all(parameter.grad is None for parameter in model.parameters())
    black = torch.full((1, 3, 40, 48), -1.0, requires_grad=True)
    model(black, black.detach().clone()).sum().backward()
    assert black.grad is not None and torch.isfinite(black.grad).all()


def test_a_step_along_the_gradient_comes_nearer(model: LPIPS, pair) -> None:
    ours, real = (side.clone() for side in pair)
    before = model(ours, real).sum()
    ours.requires_grad_()
    for _ in range(20):
        (slope,) = torch.autograd.grad(model(ours, real).sum(), ours)
        ours = (ours - 0.01 * slope.sign()).detach().requires_grad_()
    assert model(ours, real).sum() < 0.9 * before


def test_videos_of_bytes_give_the_mean_of_their_frames(model: LPIPS) -> None:
    rng = np.random.default_rng(0)
    real = rng.integers(0, 256, (2, 5, 32, 40, 3), dtype=np.uint8)
    ours = (real // 2).astype(np.uint8)
    tensors = [torch.from_numpy(side.reshape(10, 32, 40, 3)).permute(0, 3, 1, 2) / 127.5 - 1 for side in (ours, real)]
    assert mean_lpips(model, ours, real, batch_size=3) == pytest.approx(float(model(*tensors).mean()), rel=1e-5)
    assert mean_lpips(model, real, real) == 0


def test_vgg_has_its_five_stages(tmp_path: Path) -> None:
    model = load_lpips("vgg", *write_weights(tmp_path, "vgg"))
    sizes = [tuple(features.shape[1:]) for features in model._tapped(torch.zeros(1, 3, 32, 48))]
    assert sizes == [(64, 32, 48), (128, 16, 24), (256, 8, 12), (512, 4, 6), (512, 2, 3)]
    # the size of torchvision's vgg16 without its classifier
    assert sum(value.numel() for value in model.features.parameters()) == 14_714_688


def test_missing_files_say_which_one_is_wanted(files: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(MissingAssetError, match="alexnet-owt-7be5be79.pth") as caught:
        load_lpips("alex", tmp_path / "none.pth", files[1])
    assert caught.value.where == str(tmp_path / "none.pth")
    with pytest.raises(MissingAssetError, match=r"lpips/weights/v0\.1/alex\.pth"):
        load_lpips("alex", files[0], tmp_path / "none.pth")
    with pytest.raises(InputError, match="alex, vgg"):
        load_lpips("squeeze", *files)


def test_wrong_files_are_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    backbone, linear = files
    with pytest.raises(CheckpointError, match="other weights than torchvision's weights alexnet"):
        load_lpips("alex", linear, linear)
    with pytest.raises(CheckpointError, match="other weights than the linear layers"):
        load_lpips("alex", backbone, backbone)
    with pytest.raises(CheckpointError, match="vgg16-397923af"):
        load_lpips("vgg", *files)
    text, pickled, short = tmp_path / "text.pth", tmp_path / "object.pth", tmp_path / "short.pth"
    text.write_text("<html>not found</html>")
    torch.save({"model": Path("x")}, pickled)
    short.write_bytes(backbone.read_bytes()[:5000])
    for path in (text, pickled, short):
        with pytest.raises(CheckpointError, match="wanted: torchvision's weights"):
            load_lpips("alex", path, linear)
    torch.save([torch.zeros(1)], pickled)
    with pytest.raises(CheckpointError, match="no state dict"):
        load_lpips("alex", pickled, linear)


def test_pictures_of_the_wrong_shape_are_refused(model: LPIPS) -> None:
    with pytest.raises(ValueError, match="one shape"):
        model(torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 40))
    with pytest.raises(ValueError, match="at least 32×32"):
        model(torch.zeros(1, 3, 31, 32), torch.zeros(1, 3, 31, 32))
