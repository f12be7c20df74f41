"""The diffusion decoder's task on made-up ids and latents: batches, the dropped condition, learning, sampling."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from tests.visual_tokenizer.test_training import FakePack
from unimo.data.tokens import TokenPack
from unimo.errors import InputError
from unimo.training.config import OptimizationConfig
from unimo.training.diffusion_decoder import (
    DiffusionClips,
    DiffusionDataConfig,
    DiffusionDecoderTask,
    DiffusionDecoderTrainingConfig,
    person_share,
)
from visual_tokenizer import ContinuousTokenizerConfig, ContinuousVisualTokenizer, DiffusionDecoderConfig

CONFIG = DiffusionDecoderTrainingConfig(
    model=DiffusionDecoderConfig(
        num_blocks=2, num_heads=2, head_dim=16, latent_channels=4, num_ids=8, token_dim=8, text_dim=None,
        adaln_lora_dim=8, mlp_ratio=2, max_size=(8, 16, 16), window=2, overlap=1,
    ),
    optimization=OptimizationConfig(steps=10, batch_size=6, learning_rate=3e-3),
    data=DiffusionDataConfig(validation_clips=6, sampled_clips=4),
)  # fmt: skip


@dataclass
class FakeLatents:
    latents: np.ndarray

    def __len__(self) -> int:
        return len(self.latents)


def _clips() -> DiffusionClips:
    """Latents are what the ids say: every channel of a cell is a number that belongs to its id."""
    rng = np.random.default_rng(0)
    ids = rng.integers(8, size=(6, 2, 3, 3))
    values = rng.standard_normal((8, 4)).astype(np.float32)
    latents = values[ids].transpose(0, 4, 1, 2, 3).repeat(2, 3).repeat(2, 4)
    tokens = TokenPack(ids.astype(np.uint16), np.zeros((6, 9, 36), np.uint16), np.zeros((6, 9, 145), np.float32))
    return DiffusionClips(FakePack(), tokens, FakeLatents(latents.astype(np.float16)))  # type: ignore[arg-type]


def _task(config: DiffusionDecoderTrainingConfig = CONFIG) -> DiffusionDecoderTask:
    sizes = ContinuousTokenizerConfig(8, (1, 1, 1), 1, 4, latent_channels=4, statistics_frames=2)
    codes = torch.linspace(-1, 1, 8)[:, None]
    return DiffusionDecoderTask(config, _clips(), _clips(), ContinuousVisualTokenizer(sizes), 15.0, codes)


def test_a_batch_depends_on_the_step_alone() -> None:
    task = _task()
    first, again, other = task.batch(2), task.batch(2), task.batch(3)
    for key in ("ids", "latents", "sigma", "noise", "person"):
        assert torch.equal(first[key], again[key])
    assert not torch.equal(first["noise"], other["noise"])
    assert first["latents"].shape == first["noise"].shape == (6, 4, 2, 6, 6)
    assert first["person"].shape == (6, 1, 2, 6, 6)


def test_the_condition_is_dropped_as_often_as_asked() -> None:
    task = _task(replace(CONFIG, data=replace(CONFIG.data, drop=0.5)))
    dropped = [float((task.batch(step)["ids"] == 0).flatten(1).all(1).float().mean()) for step in range(40)]
    assert 0.4 < np.mean(dropped) < 0.6
    never = _task(replace(CONFIG, data=replace(CONFIG.data, drop=0.0)))
    assert not any((never.batch(step)["ids"] == 0).flatten(1).all(1).any() for step in range(10))


def test_ids_are_learned_as_the_condition() -> None:
    task = _task()
    before = task.validate(task.model)
    optimizer = torch.optim.AdamW(task.model.parameters(), lr=3e-3)
    for step in range(80):
        loss, _ = task.loss(task.batch(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = task.validate(task.model)
    # where the noise drowns the latents only the ids tell what they are
    assert after["loss_at_8"] < 0.5 * before["loss_at_8"]
    assert {"plain.psnr_db", "guided.psnr_db"} <= set(after)


def test_the_person_counts_more() -> None:
    plain, heavy = _task(), _task(replace(CONFIG, data=replace(CONFIG.data, person_weight=5.0)))
    batch = plain.batch(0)
    error = torch.zeros_like(batch["person"])
    person = batch["person"] == 1
    assert person.any()
    for task in (plain, heavy):
        task._error = lambda _: torch.where(person, 1.0, error)  # type: ignore[method-assign]
    assert heavy.loss(batch)[0] > 2 * plain.loss(batch)[0]


def test_the_share_of_the_person_in_latent_cells() -> None:
    masks = np.zeros((1, 9, 16, 16), bool)
    masks[0, 0, :8, :8] = True  # the first latent frame is one picture
    masks[0, 1:5, 8:, 8:] = True  # the second is eight pictures, four of which have the person
    share = person_share(masks, torch.Size((2, 2, 2)))
    assert share.shape == (1, 1, 2, 2, 2)
    assert share[0, 0, 0].tolist() == [[1, 0], [0, 0]] and share[0, 0, 1].tolist() == [[0, 0], [0, 0.5]]


def test_a_prompt_is_read_and_dropped_with_the_ids() -> None:
    model = replace(CONFIG.model, text_dim=6, prompt_tokens=3)
    task = _task(replace(CONFIG, model=model, data=replace(CONFIG.data, drop=0.5)))
    assert task.shipped.prompt is not None
    task.shipped.prompt.fill_(1.0)
    batch = next(batch for batch in map(task.batch, range(20)) if 0 < (batch["ids"] == 0).flatten(1).all(1).sum() < 6)
    dropped = (batch["ids"] == 0).flatten(1).all(1)
    assert (batch["text"][dropped] == 0).all() and (batch["text"][~dropped] == 1).all()
    task.loss(batch)[0].backward()
    assert {"plain.psnr_db"} <= set(task.validate(task.model))


def test_clips_longer_than_the_window_are_refused() -> None:
    long = replace(_clips(), latents=FakeLatents(np.zeros((6, 4, 3, 6, 6), np.float16)))  # type: ignore[arg-type]
    task = _task()
    with pytest.raises(InputError, match="clips of 3 latent frames, while the decoder draws 2 at once"):
        DiffusionDecoderTask(CONFIG, long, long, task.tokenizer, 15.0, torch.zeros(8, 1))


def test_packs_of_different_clips_are_refused() -> None:
    clips = _clips()
    with pytest.raises(ValueError, match="6, 6 and 5"):
        replace(clips, latents=FakeLatents(np.zeros((5, 4, 2, 6, 6), np.float16)))  # type: ignore[arg-type]
