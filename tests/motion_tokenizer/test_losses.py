"""The reconstruction loss: means inside an expert, sums over experts, differences of the translation from row 1 on."""

from __future__ import annotations

import torch

from motion_tokenizer.losses import reconstruction_losses

DIMS = (126, 10, 6, 3)


def test_each_expert_counts_the_same_whatever_its_channels():
    target = torch.zeros(2, 4, 145)
    for expert, channels in (("pose", slice(0, 126)), ("translation", slice(142, 145))):
        predicted = target.clone()
        predicted[..., channels] = 1.0
        losses = reconstruction_losses(predicted, target, DIMS)
        assert losses["reconstruction"] == 1.0 and losses[f"reconstruction_{expert}"] == 1.0


def test_an_error_in_the_first_position_is_no_velocity():
    predicted = torch.zeros(1, 5, 145)
    predicted[:, 0, 142:] = 7.0
    losses = reconstruction_losses(predicted, torch.zeros(1, 5, 145), DIMS)
    assert losses["velocity"] == 0 and losses["acceleration"] == 0
    predicted[:, 1, 142:] = 7.0
    assert reconstruction_losses(predicted, torch.zeros(1, 5, 145), DIMS)["velocity"] > 0


def test_a_constant_error_costs_no_difference_term_and_short_clips_are_finite():
    for frames in (1, 2, 3, 8):
        losses = reconstruction_losses(torch.ones(1, frames, 145), torch.zeros(1, frames, 145), DIMS)
        assert losses["reconstruction"] == 4.0 and losses["velocity"] == 0 and losses["acceleration"] == 0
