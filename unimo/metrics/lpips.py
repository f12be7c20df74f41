"""LPIPS, the learned perceptual distance of Zhang et al. 2018, from weights that the user gives; none are shipped.

In: RGB tensors (N, 3, H, W) in -1..1, or uint8 pictures. Out: one distance a picture, differentiable: a metric and a
training loss. Two files make the network: the backbone's weights in torchvision's layout, and the linear layers that
the package `lpips` carries (version 0.1).
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from unimo.errors import CheckpointError, InputError, MissingAssetError

SMALLEST_SIDE = 32
BACKBONE_FILES = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth"}
"""The files that `torchvision.models.alexnet` and `vgg16` with weights="IMAGENET1K_V1" download."""
# numbers are convolutions' output channels, "M" a pooling layer; a tap behind the last convolution of each stage
_VGG_STAGES = ((64, 64), ("M", 128, 128), ("M", 256, 256, 256), ("M", 512, 512, 512), ("M", 512, 512, 512))
_CHANNELS = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}
_TAPS = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29)}


class LPIPS(nn.Module):
    """Distance of two pictures in the features of an image classifier.

    At five layers the features are divided by their length over channels, their squared differences weighted by
    channel, and averaged over the picture; the layers are summed.

    Args:
        network: "alex" (the metric that papers report) or "vgg" (smoother gradients, usual as a loss).

    Raises:
        InputError: another network.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, network: str = "alex") -> None:
        super().__init__()
        if network not in BACKBONE_FILES:
            raise InputError(f"unknown network {network!r}", None, f"one of {', '.join(BACKBONE_FILES)}")
        self.taps = _TAPS[network]
        self.features = _alexnet() if network == "alex" else _vgg16()
        self.weights = nn.ParameterList([nn.Parameter(torch.zeros(1, width, 1, 1)) for width in _CHANNELS[network]])
        # mean and spread of ImageNet's pictures, for inputs in -1..1
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))
        self.requires_grad_(False).eval()

    def forward(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Distances (N,) of pictures (N, 3, H, W) in -1..1: 0 is the same, around 1 is unlike; without unit.

        Raises:
            ValueError: shapes differ, or a side is below 32 pixels.
        """
        if predicted.shape != target.shape or predicted.ndim != 4 or predicted.shape[1] != 3:
            raise ValueError(f"need two (N, 3, H, W) of one shape, got {predicted.shape} and {target.shape}")
        if min(predicted.shape[-2:]) < SMALLEST_SIDE:
            raise ValueError(f"need at least {SMALLEST_SIDE}×{SMALLEST_SIDE} pixels, got {predicted.shape[-2:]}")
        distances = predicted.new_zeros(len(predicted))
        for ours, real, weight in zip(self._tapped(predicted), self._tapped(target), self.weights, strict=True):
            squared = (_unit_length(ours) - _unit_length(real)) ** 2
            distances = distances + (squared * weight).sum(1).mean((1, 2))
        return distances

    def _tapped(self, pictures: Tensor) -> list[Tensor]:
        values, found = (pictures - self.shift) / self.scale, []
        for index, layer in enumerate(self.features):
            values = layer(values)
            if index in self.taps:
                found.append(values)
        return found


def load_lpips(network: str, backbone: str | Path, linear: str | Path, device: str | torch.device = "cpu") -> LPIPS:
    """Builds LPIPS from the user's files.

    Args:
        network: "alex" or "vgg".
        backbone: state dict of torchvision's `alexnet` or `vgg16`, as it comes; its classifier is not used.
        linear: `lpips/weights/v0.1/alex.pth` or `vgg.pth` of the package `lpips`.
        device: where to.

    Raises:
        InputError: an unknown network.
        MissingAssetError: a file is not there; it says which one is wanted.
        CheckpointError: a file cannot be read, or holds other weights.
    """
    model = LPIPS(network)
    wanted = f"torchvision's weights {BACKBONE_FILES[network]}"
    state = _read(backbone, wanted, f"https://download.pytorch.org/models/{BACKBONE_FILES[network]}")
    kept = {key: value for key, value in state.items() if not key.startswith("classifier.")}
    _fill(model.features, {key.removeprefix("features."): value for key, value in kept.items()}, backbone, wanted)
    wanted = f"the linear layers lpips/weights/v0.1/{network}.pth of the package lpips"
    state = _read(linear, wanted, "pip download --no-deps lpips, and unzip the wheel")
    names = {f"lin{index}.model.1.weight": str(index) for index in range(len(model.weights))}
    _fill(model.weights, {names.get(key, key): value for key, value in state.items()}, linear, wanted)
    return model.to(device)


@torch.inference_mode()
def mean_lpips(model: LPIPS, predicted: np.ndarray, target: np.ndarray, batch_size: int = 8) -> float:
    """Mean LPIPS of uint8 pictures (..., H, W, 3)."""
    if predicted.shape != target.shape:
        raise ValueError(f"need two sides of one shape, got {predicted.shape} and {target.shape}")
    predicted, target = (side.reshape(-1, *side.shape[-3:]) for side in (predicted, target))
    found = []
    for start in range(0, len(target), batch_size):
        sides = (side[start : start + batch_size] for side in (predicted, target))
        found.append(model(*(_as_input(side, model.shift) for side in sides)))
    return float(torch.cat(found).mean())


def _as_input(pictures: np.ndarray, like: Tensor) -> Tensor:
    """uint8 (N, H, W, 3) → (N, 3, H, W) in -1..1."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).to(like).permute(0, 3, 1, 2) / 127.5 - 1


def _unit_length(features: Tensor) -> Tensor:
    # the root's slope is infinite at zero, and whole feature vectors can be zero behind a ReLU
    length = (features.square().sum(1, keepdim=True) + 1e-20).sqrt()
    return features / (length + 1e-10)


def _alexnet() -> nn.Sequential:
    """AlexNet's layers in torchvision's order, without its last pooling."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, stride=2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, stride=2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(),
    )  # fmt: skip


def _vgg16() -> nn.Sequential:
    """VGG-16's layers in torchvision's order, without its last pooling."""
    layers: list[nn.Module] = []
    channels = 3
    for step in (step for stage in _VGG_STAGES for step in stage):
        if isinstance(step, str):
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(channels, step, 3, padding=1), nn.ReLU()]
            channels = step
    return nn.Sequential(*layers)


def _read(path: str | Path, wanted: str, source: str) -> Mapping[str, Tensor]:
    path = Path(path).expanduser()
    if not path.is_file():
        raise MissingAssetError(f"LPIPS needs {wanted}", str(path), source)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise CheckpointError(f"this file cannot be read as weights; wanted: {wanted}", str(path), source) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"this file holds no state dict; wanted: {wanted}", str(path), source)
    return state


def _fill(module: nn.Module, state: Mapping[str, Tensor], path: str | Path, wanted: str) -> None:
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        what = f"these are other weights than {wanted} ({reason})"
        raise CheckpointError(what, str(Path(path).expanduser()), "give the file for the same network") from error
