"""The fast path against the plain modules: same encoder outputs, ids and features for every shape of network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from motion_tokenizer import FastMotionVQVAE, MotionTokenizerConfig, MotionVQVAE, chunks

VARIANTS = {
    "plain": {},
    "causal": {"causal": True},
    "tapered": {"widths": (16, 24, 12, 8), "expert_scale": (1.0, 0.5, 0.5, 0.75)},
    "projected": {"codebook_dim": 4},
    "cosine": {"codebook_dim": 4, "codebook_cosine": True},
    "wide kernels": {"residual_kernels": (5, 9), "dilation_growth": 2},
    "even kernels": {"residual_kernels": (2, 4), "causal": True},
    "short kernels": {"residual_kernels": (1, 1), "resample_kernel_factor": 1},
    "long resampling": {"resample_kernel_factor": 3, "strides": (3, 1, 2, 1)},
}


def _model(**settings: object) -> MotionVQVAE:
    torch.manual_seed(0)
    config = {"widths": (16, 16, 16, 16), "codebook_size": 32, "residual_layers": 2, **settings}
    model = MotionVQVAE(MotionTokenizerConfig(**config)).eval()  # pyright: ignore[reportArgumentType]
    for layer in model.modules():
        if isinstance(layer, (nn.Conv1d, nn.ConvTranspose1d)):
            nn.init.kaiming_normal_(layer.weight, a=1)
            nn.init.normal_(layer.bias, std=0.1)  # pyright: ignore[reportArgumentType]
    return model


def _relative(value: torch.Tensor, expected: torch.Tensor) -> float:
    return float((value - expected).abs().max() / expected.abs().max())


@torch.no_grad()
@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS.keys())
def test_same_as_plain(settings: dict[str, object]) -> None:
    model = _model(**settings)
    fast = FastMotionVQVAE(model)
    for batch, frames in ((1, 1), (2, 2), (3, 5), (1, 17)):
        features = torch.randn(batch, 145, frames).transpose(1, 2)  # any strides will do
        plain = model.encoder(model.normalize(features).transpose(1, 2)).transpose(1, 2)
        assert _relative(fast.encoded(features), plain) < 1e-5
        ids = fast.encode(features)
        assert ids.shape == (batch, frames, model.config.tokens_per_frame) and ids.dtype == torch.int64
        assert (ids == model.encode(features)).float().mean() > 0.99
        assert _relative(fast.decode(ids), model.decode(ids)) < 1e-5


@torch.no_grad()
def test_statistics_are_the_models() -> None:
    model = _model()
    model.set_statistics(torch.randn(145), torch.rand(145) + 0.5, torch.randn(3), torch.rand(3) + 0.5)
    ids = torch.randint(32, (2, 3, 36))
    assert _relative(FastMotionVQVAE(model).decode(ids), model.decode(ids)) < 1e-5


def test_wrong_inputs() -> None:
    fast = FastMotionVQVAE(_model())
    for features in (torch.zeros(1, 2, 144), torch.zeros(1, 0, 145), torch.zeros(2, 145)):
        with pytest.raises(ValueError, match="shape"):
            fast.encode(features)
    with pytest.raises(ValueError, match="shape"):
        fast.decode(torch.zeros(1, 2, 35, dtype=torch.int64))
    with pytest.raises(ValueError, match="must lie in"):
        fast.decode(torch.full((1, 2, 36), 32))


@torch.no_grad()
def test_long_clips_go_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    model = _model()
    fast, features = FastMotionVQVAE(model), torch.randn(1, 90, 145)
    ids = fast.encode(features)
    decoded = fast.decode(ids)
    monkeypatch.setattr(chunks, "CHUNK_FRAMES", 16)
    assert (fast.encode(features) == ids).float().mean() > 0.99
    assert _relative(fast.decode(ids), decoded) < 1e-5
