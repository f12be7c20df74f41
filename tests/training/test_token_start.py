"""Mean latents of ids: right where an id is common, guessed from its code where it is rare."""

from __future__ import annotations

import torch

from unimo.training.token_start import embedding_start, mean_latents


def _data(clips: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids, latents of two channels and 2 x 2 cells an id, codes, and what each id stands for (16, 8)."""
    generator = torch.Generator().manual_seed(0)
    codes = torch.cartesian_prod(torch.linspace(-1, 1, 4), torch.linspace(-1, 1, 4))
    meant = codes @ torch.randn(2, 8, generator=generator)
    ids = torch.randint(15, (clips, 2, 3, 3), generator=generator)  # id 15 never occurs
    cells = meant[ids].unflatten(-1, (2, 2, 2))  # N, K, h, w, C, u, u
    latents = cells.permute(0, 4, 1, 2, 5, 3, 6).reshape(clips, 2, 2, 6, 6)
    return ids, latents, codes, meant


def test_common_ids_get_their_mean_and_others_what_their_code_says() -> None:
    ids, latents, codes, meant = _data(60)
    noisy = latents + 0.3 * torch.randn(latents.shape, generator=torch.Generator().manual_seed(1))
    means = mean_latents(zip(ids.split(7), noisy.split(7), strict=True), codes)
    assert means.shape == (16, 8)
    assert (means[:15] - meant[:15]).abs().max() < 0.25
    assert (means[15] - meant[15]).abs().max() < 0.4 < meant[15].abs().max()


def test_the_mean_wins_over_the_code_where_an_id_is_common() -> None:
    ids, latents, codes, _ = _data(60)
    shuffled = codes[torch.randperm(16, generator=torch.Generator().manual_seed(3))]
    right, wrong = mean_latents([(ids, latents)], codes), mean_latents([(ids, latents)], shuffled)
    assert (right[:15] - wrong[:15]).abs().mean() < 0.1 * right[:15].abs().mean()


def test_the_embedding_keeps_what_tells_ids_apart() -> None:
    means = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)) * torch.tensor([3.0, 2, 1, 0.01, 0.01, 0.01])
    rows = embedding_start(means, 3)
    assert rows.shape == (50, 3) and abs(rows[:, 0].std() - 1) < 0.1
    known = torch.cat([rows, torch.ones(50, 1)], dim=1)
    left = means - known @ torch.linalg.lstsq(known, means).solution
    assert left.abs().max() < 0.1
    assert embedding_start(means, 9).shape == (50, 9) and embedding_start(means, 9)[:, 6:].std() > 0.5
