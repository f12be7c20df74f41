"""The motion tokenizer leaf: shapes, ids, statistics, causality, checkpoints and the errors a caller can make."""

from __future__ import annotations

import pytest
import torch

from motion_tokenizer import MotionTokenizerConfig, MotionVQVAE, PartwiseVQVAE, build_motion_tokenizer, chunks
from motion_tokenizer.partwise import PARTS, part_channels

TINY = dict(
    widths=(24, 16, 16, 8), residual_layers=1, dilation_growth=1, codebook_size=32, codebook_dim=4,
    codebook_cosine=True, kmeans_init=False,
)  # fmt: skip


def tiny(**changes) -> MotionVQVAE:
    torch.manual_seed(0)
    return MotionVQVAE(MotionTokenizerConfig(**{**TINY, **changes}))


def features(batch: int = 2, frames: int = 5, seed: int = 1) -> torch.Tensor:
    return torch.randn(batch, frames, 145, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("frames", [1, 2, 5, 17])
@pytest.mark.parametrize("changes", [{}, {"causal": True}, {"resample_kernel_factor": 1}])
def test_every_frame_has_36_ids_and_ids_decode_to_features(frames, changes):
    model = tiny(**changes).eval()
    ids = model.encode(features(frames=frames))
    assert ids.shape == (2, frames, 36) and ids.dtype == torch.int64
    assert model.decode(ids).shape == (2, frames, 145)


def test_forward_in_evaluation_is_decode_of_encode():
    model = tiny().eval()
    output = model(features())
    assert torch.equal(output.ids, model.encode(features()))
    torch.testing.assert_close(output.features, model.decode(output.ids))


def test_encode_changes_no_state_even_in_training_mode_before_kmeans():
    model = tiny(kmeans_init=True).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    ids = model.encode(features())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert len(ids.unique()) > 1


def test_first_translation_row_has_its_own_statistics():
    model = tiny()
    mean, std = torch.zeros(145), torch.full((145,), 2.0)
    model.set_statistics(mean, std, torch.tensor([0.0, 0.0, 3.0]), torch.tensor([0.5, 0.5, 0.5]))
    x = torch.zeros(1, 3, 145)
    x[..., 144] = 4.0
    assert model.normalize(x)[0, :, 144].tolist() == [2.0, 2.0, 2.0]
    x[..., 144] = 3.0
    assert model.normalize(x)[0, :, 144].tolist() == [0.0, 1.5, 1.5]
    torch.testing.assert_close(model.denormalize(model.normalize(features())), features())


def test_causal_model_does_not_look_ahead_and_the_plain_one_does():
    x, changed = features(frames=8), features(frames=8)
    changed[:, 5:] += 1
    for causal in (True, False):
        model = tiny(causal=causal, residual_layers=2, dilation_growth=3).eval()
        for module in model.modules():  # residual branches start at zero: make them count
            if isinstance(module, torch.nn.Conv1d):
                torch.nn.init.normal_(module.weight, std=0.2)
        code = model.encoder(x.transpose(1, 2)), model.encoder(changed.transpose(1, 2))
        same_code = torch.allclose(code[0][..., : 5 * 36], code[1][..., : 5 * 36])
        out = model.decoders(code[0]), model.decoders(torch.cat([code[0][..., : 5 * 36], code[1][..., 5 * 36 :]], -1))
        same_out = torch.allclose(out[0][..., :5], out[1][..., :5])
        assert (same_code, same_out) == (causal, causal)


def with_live_residuals(model: MotionVQVAE) -> MotionVQVAE:
    """Residual branches start at zero: weights under which every layer counts."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5, generator=generator)
    return model.eval()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("rule", [{}, {"dilation_growth": 3, "residual_layers": 2, "resample_kernel_factor": 1}])
@torch.no_grad()
def test_a_long_clip_in_chunks_is_the_whole_clip(causal, rule, monkeypatch):
    model = with_live_residuals(tiny(causal=causal, **rule))
    x = features(batch=1, frames=150)
    ids = model.encode(x)
    whole = model.decode(ids)
    lengths = []
    monkeypatch.setattr(chunks, "CHUNK_FRAMES", 20)
    monkeypatch.setattr(
        model.encoder, "forward", lambda part, run=model.encoder.forward: lengths.append(part) or run(part)
    )
    assert torch.equal(model.encode(x), ids)
    torch.testing.assert_close(model.decode(ids), whole, atol=1e-5, rtol=0)
    halo = chunks.receptive_frames(model.config)
    assert max(part.shape[-1] for part in lengths) <= 20 + 2 * halo < 150


@torch.no_grad()
def test_receptive_field_is_no_smaller_than_what_the_network_sees():
    for changes in ({}, {"causal": True}, {"residual_layers": 2}):
        model = with_live_residuals(tiny(**changes))
        halo, x = chunks.receptive_frames(model.config), features(batch=1, frames=150)
        other = x.clone()
        other[:, 75] += 1
        changed = (model._encoded(x) - model._encoded(other)).abs().amax(-1)[0].unflatten(0, (150, 36)).amax(-1)
        codes = torch.randn(1, 150 * 36, 8, generator=torch.Generator().manual_seed(0))
        moved = codes.clone()
        moved[:, 75 * 36 : 76 * 36] += 1
        changed = changed + (model._decoded(codes) - model._decoded(moved)).abs().amax(-1)[0]
        seen = changed.nonzero()[:, 0]
        assert 75 - halo <= int(seen.min()) and int(seen.max()) <= 75 + halo
        assert int(seen.max()) > 75 + halo // 4


def test_base_has_the_papers_size():
    counts = MotionVQVAE(MotionTokenizerConfig(codebook_update="gradient")).parameter_counts()
    assert counts == {
        "encoder": 23_379_968, "codebook": 262_144, "pose decoder": 24_196_222, "shape decoder": 24_136_714,
        "orientation decoder": 24_134_662, "translation decoder": 24_133_123,
    }  # fmt: skip
    # the paper says 123.13 M
    assert sum(counts.values()) == pytest.approx(123.13e6, rel=0.025)


def train_step(model: MotionVQVAE, optimizer: torch.optim.Optimizer, step: int) -> float:
    torch.manual_seed(step)
    loss = model(features(batch=8, seed=step)).losses["total"]
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


@pytest.mark.parametrize("rule", ["ema", "gradient"])
def test_resumed_codebook_equals_an_uninterrupted_one(rule):
    changes = {
        "codebook_update": rule,
        "codebook_cosine": rule == "ema",
        "kmeans_init": True,
        "neighbour_code_noise": 0.1,
    }
    model = tiny(**changes).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    for step in range(3):
        train_step(model, optimizer, step)
    resumed = tiny(**changes).train()
    resumed.load_state_dict(model.state_dict())
    resumed_optimizer = torch.optim.SGD(resumed.parameters(), lr=1e-2)
    for step in range(3, 6):
        assert train_step(model, optimizer, step) == train_step(resumed, resumed_optimizer, step)
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), resumed.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("rule", ["ema", "gradient"])
def test_one_batch_is_learned_and_the_encoder_gets_gradients_through_the_codes(rule):
    model = tiny(codebook_update=rule, codebook_cosine=rule == "ema", kmeans_init=True, widths=(48, 32, 24, 24)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    x = 0.5 * features(batch=4, frames=3)
    first = None
    for _ in range(30):
        output = model(x)
        optimizer.zero_grad()
        output.losses["total"].backward()
        assert all(p.grad is not None for p in model.encoder.parameters())
        optimizer.step()
        first = first or float(output.losses["reconstruction"].detach())
    assert float(output.losses["reconstruction"].detach()) < 0.9 * first


def test_dead_codes_are_revived_by_encoder_outputs():
    model = tiny(dead_code_threshold=0.5).train()
    with torch.no_grad():  # all codes but one point away from every encoder output
        encoded = model.quantizer.project_in(model._encoded(model.normalize(features())))
        away = -torch.nn.functional.normalize(encoded.flatten(0, 1).mean(0), dim=0)
        model.quantizer.vq._codebook.embed[0, 1:] = away
        model.quantizer.vq._codebook.embed_avg[0, 1:] = away
    for _ in range(70):
        used = len(model(features()).ids.unique())
    assert used > 8


def test_frozen_codes_keep_every_id_while_the_decoders_learn():
    model = tiny().train()
    ids, before = model.encode(features()), model.decode(model.encode(features())).detach()
    model.freeze_codes()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.1)
    for step in range(3):
        train_step(model, optimizer, step)
    assert torch.equal(ids, model.encode(features()))
    assert not torch.allclose(before, model.decode(ids))


def test_code_noise_acts_in_training_only():
    model = tiny(random_code_noise=1.0)
    output = model.eval()(features())
    torch.testing.assert_close(output.features, model.decode(output.ids))
    model.train()
    torch.manual_seed(0)
    noisy = model(features()).features
    assert not torch.allclose(noisy, output.features)


def test_without_quantisation_the_codebook_is_left_alone():
    model = tiny(kmeans_init=True).train()
    before = model.quantizer.codebook.clone()
    output = model(features(), quantize=False)
    assert torch.equal(before, model.quantizer.codebook) and float(output.losses["commitment"]) == 0
    assert not bool(model.quantizer.vq._codebook.initted)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.encode(torch.zeros(2, 5, 144)), r"\(B, T, 145\)"),
        (lambda m: m.encode(torch.zeros(5, 145)), r"\(B, T, 145\)"),
        (lambda m: m.decode(torch.zeros(2, 5, 35, dtype=torch.int64)), r"\(B, T, 36\)"),
        (lambda m: m.decode(torch.zeros(2, 5, 36)), "int64"),
        (lambda m: m.decode(torch.full((2, 5, 36), 32)), r"0\.\.31"),
        (lambda m: m.set_statistics(torch.zeros(145), torch.zeros(145), torch.zeros(3), torch.ones(3)), "positive"),
        (lambda m: m.set_statistics(torch.zeros(144), torch.ones(145), torch.zeros(3), torch.ones(3)), "mean"),
        (lambda m: MotionTokenizerConfig(widths=(8, 8)), "same length"),
        (lambda m: MotionTokenizerConfig(codebook_update="both"), "codebook_update"),
        (lambda m: MotionTokenizerConfig(codebook_cosine=True, codebook_update="gradient"), "codebook_cosine"),
        (lambda m: MotionTokenizerConfig(residual_kernels=(4, 1)), "odd"),
        (lambda m: MotionTokenizerConfig(random_code_noise=1.5), "fractions"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(tiny())


PARTWISE = {"partwise": True, "strides": (1, 1, 2, 2), "widths": (16, 16, 16, 16)}


def test_parts_cover_every_channel_once():
    channels = part_channels((126, 10, 6, 3))
    assert sorted(c for part in channels for c in part) == list(range(145))
    # left and right hip are lower body, the first spine joint upper
    assert channels[0][:12] == list(range(12)) and 12 in channels[1] and channels[3] == [142, 143, 144]


@pytest.mark.parametrize("frames", [1, 4, 17])
def test_partwise_baseline_compresses_time_and_learns(frames):
    torch.manual_seed(0)
    model = build_motion_tokenizer(MotionTokenizerConfig(**{**TINY, **PARTWISE}))
    assert isinstance(model, PartwiseVQVAE) and list(model.parameter_counts()) == list(PARTS)
    x = features(batch=4, frames=frames)
    output = model(x)
    assert output.features.shape == x.shape and output.ids.shape == (4, model.num_tokens(frames), 4)
    assert torch.equal(output.ids // 32, torch.arange(4).expand_as(output.ids)) and model.num_ids == 128
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = [train_step(model, optimizer, 0) for _ in range(12)]
    assert losses[-1] < losses[0]


def test_each_model_refuses_the_others_configuration():
    with pytest.raises(ValueError, match="build_motion_tokenizer"):
        MotionVQVAE(MotionTokenizerConfig(partwise=True))
    with pytest.raises(ValueError, match="build_motion_tokenizer"):
        PartwiseVQVAE(MotionTokenizerConfig())
