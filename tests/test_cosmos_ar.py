"""Cosmos-AR becomes UniMo's transformer: the visual half is Cosmos's to the last bit, the motion half is new."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ar_model import ARConfig, Context, Engine, SequenceLayout, UniMoTransformer
from ar_model.config import DepthConfig
from ar_model.sequence import VISUAL
from tests import cosmos_downloads as nvidia
from unimo import cosmos_ar
from unimo.bundle import COMPONENTS, load_bundle
from unimo.cosmos import PARTS, find_source, import_cosmos, read_component
from unimo.cosmos_ar import fresh_parts, is_fresh, transformer_config
from unimo.errors import CheckpointError
from unimo.weights import check_fit, without_weights

MOTION_PARTS = {"motion_embeddings.weight", "special_embeddings.weight", "motion_output.weight", "position_gain"}
GRID = (3, 2, 4)


def released(text: bool) -> dict[str, Tensor]:
    """The names and shapes of NVIDIA's 4B, or of its 5B."""
    shapes: dict[str, tuple[int, ...]] = {
        "tok_embeddings": (64064 if text else 64000, 4096), "norm": (4096,), "output": (64000, 4096),
    }  # fmt: skip
    for index in range(16):
        block: dict[str, tuple[int, ...]] = {
            "attention.wq": (4096, 4096), "attention.wk": (1024, 4096), "attention.wv": (1024, 4096),
            "attention.wo": (4096, 4096), "attention.q_norm": (128,), "attention.k_norm": (128,),
            "feed_forward.w1": (14336, 4096), "feed_forward.w3": (14336, 4096), "feed_forward.w2": (4096, 14336),
            "attention_norm": (4096,), "ffn_norm": (4096,),
        }  # fmt: skip
        if text:
            block |= {
                "cross_attention.wq": (4096, 4096), "cross_attention.wk": (1024, 1024),
                "cross_attention.wv": (1024, 1024), "cross_attention.wo": (4096, 4096),
                "cross_attention.q_norm": (128,), "cross_attention.k_norm": (128,), "cross_attention_norm": (4096,),
            }  # fmt: skip
        shapes |= {f"layers.{index}.{name}": shape for name, shape in block.items()}
    return {f"{name}.weight": torch.empty(shape, device="meta") for name, shape in shapes.items()}


def save(folder: Path, state: dict[str, Tensor]) -> Path:
    return nvidia.save_model(folder, state)


def imported(folder: Path, text: bool) -> tuple[UniMoTransformer, UniMoTransformer]:
    """Cosmos's transformer, and what its download becomes in a bundle of full precision."""
    plain = nvidia.transformer(text)
    save(folder / "ar", nvidia.nvidia_names(plain))
    import_cosmos({"ar": folder / "ar"}, folder / "bundle", dtype=torch.float32).verify()
    return plain, load_bundle(folder / "bundle").ar_model


# ---------------------------------------------------------------------- sizes


@pytest.mark.parametrize(("text", "parameters"), [(False, 4_014_088_192), (True, 4_584_845_312)], ids=["4B", "5B"])
def test_released_sizes(text: bool, parameters: int) -> None:
    weights = released(text)
    assert sum(value.numel() for value in weights.values()) == parameters
    config = transformer_config(weights, COMPONENTS["ar_model"].preset("base"))
    rows, gain, context = (64064, 1.0, 1024) if text else (64000, 0.0, None)
    assert config == ARConfig(head_dim=128, visual_embedding_rows=rows, position_gain=gain, context_dim=context)
    with without_weights():
        model = UniMoTransformer(config)
    lacking = {key: value for key, value in model.state_dict().items() if is_fresh(key)}
    assert lacking.keys() == MOTION_PARTS
    check_fit(model, weights | lacking, Path("model.pt"))


# ---------------------------------------------------------------------- the visual half


@torch.no_grad()
@pytest.mark.parametrize("text", [False, True], ids=["4B", "5B"])
def test_video_is_written_by_the_very_same_numbers(tmp_path: Path, text: bool) -> None:
    plain, model = imported(tmp_path, text)
    for key, value in nvidia.nvidia_names(plain).items():
        assert torch.equal(model.state_dict()[key.removeprefix("model.")], value), key
    generator = torch.Generator().manual_seed(7)
    context = Context(torch.randn(2, 5, 10, generator=generator)) if text else None
    layout = SequenceLayout("video", *GRID, begin_of_video=text)
    tokens = layout.build(torch.randint(60, (2, *GRID), generator=generator), begin_id=60 if text else None)
    hidden = [each(tokens, layout, context) for each in (model, plain)]
    assert torch.equal(*hidden) and hidden[0].std() > 0.1
    assert torch.equal(*(each.head(VISUAL)(state) for each, state in zip((model, plain), hidden, strict=True)))
    written = [Engine(each).generate_video(tokens[:, -8:].view(2, 2, 4), 3, context=context) for each in (model, plain)]
    assert torch.equal(*written)


@torch.no_grad()
@pytest.mark.parametrize("text", [False, True], ids=["4B", "5B"])
def test_the_gain_lets_the_table_in(tmp_path: Path, text: bool) -> None:
    """The 4B does not see the table until its gain is trained; the 5B does."""
    _, model = imported(tmp_path, text)
    assert torch.equal(model.position_gain, torch.full((2,), float(text)))  # type: ignore[arg-type]
    layout = SequenceLayout("video", *GRID)
    tokens = layout.build(torch.randint(60, (1, *GRID)))
    context = Context(torch.randn(1, 5, 10)) if text else None
    before = model(tokens, layout, context)
    model.position_gain.fill_(0.5)  # type: ignore[union-attr]
    assert not torch.allclose(model(tokens, layout, context), before, atol=1e-3)


def test_bfloat16_weights_stay_what_they_are(tmp_path: Path) -> None:
    state = {key: value.bfloat16() for key, value in nvidia.nvidia_names(nvidia.transformer()).items()}
    import_cosmos({"ar": save(tmp_path / "ar", state)}, tmp_path / "bundle")
    found = load_bundle(tmp_path / "bundle").component("ar_model", torch.bfloat16).state_dict()
    for key, value in state.items():
        assert torch.equal(found[key.removeprefix("model.")], value), key
    assert {value.dtype for value in found.values()} == {torch.bfloat16}


@pytest.mark.parametrize("text", [False, True], ids=["4B", "5B"])
def test_the_bundle_says_which_release_it_is(tmp_path: Path, text: bool) -> None:
    imported(tmp_path, text)
    record = load_bundle(tmp_path / "bundle").info.training["cosmos"]["ar_model"]
    name = "Cosmos-Predict1-5B-Video2World" if text else "Cosmos-Predict1-4B"
    assert record["from"] == f"https://huggingface.co/nvidia/{name}"
    assert record["files"].keys() == {"model.pt"}


# ---------------------------------------------------------------------- the motion half


def test_the_motion_half_is_like_the_visual_half_and_always_the_same(tmp_path: Path) -> None:
    plain, model = imported(tmp_path, text=False)
    fresh = {key: value for key, value in model.state_dict().items() if is_fresh(key)}
    assert fresh.keys() == MOTION_PARTS
    visual = plain.tok_embeddings.weight.std()
    assert abs(visual - 0.3) < 0.02
    for name in ("motion_embeddings.weight", "special_embeddings.weight"):
        assert abs(fresh[name].std() / visual - 1) < 0.1, name
    assert abs(fresh["motion_output.weight"].std() * 48**0.5 - 1) < 0.05
    assert fresh["motion_output.weight"].abs().max() <= 3 * 48**-0.5

    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    again = fresh_parts(model.config, plain.state_dict())
    assert torch.rand(1) == expected
    assert again.keys() == fresh.keys() and all(torch.equal(again[key], fresh[key]) for key in fresh)


def test_the_deviation_is_that_of_all_numbers() -> None:
    table = torch.randn(2500, 3) * 0.2 + 1.5
    assert abs(cosmos_ar._deviation(table) - float(table.double().std(correction=0))) < 1e-9


@pytest.mark.parametrize("text", [False, True], ids=["4B", "5B"])
def test_every_part_that_cosmos_lacks_is_made(text: bool) -> None:
    """Those of another motion layout too: what is fresh follows from the model, not from a list."""
    state = nvidia.transformer(text).state_dict()
    weights = {key: value for key, value in state.items() if not is_fresh(key)}
    preset = ARConfig(motion_layout="frame", depth=DepthConfig(dim=12, layers=2, heads=2, ffn_hidden=20, code_dim=4))
    config = transformer_config(weights, preset)
    fresh = fresh_parts(config, weights)
    model = UniMoTransformer(config)
    model.load_state_dict(weights | fresh, strict=True, assign=True)
    assert any(key.startswith("depth.layers.1.") for key in fresh)
    assert all(value.isfinite().all() for value in fresh.values())


# ---------------------------------------------------------------------- what does not fit


def flattened(state: dict[str, Tensor], key: str) -> None:
    state[key] = state[key].flatten()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("output.weight"), "not the weights of --ar: output.weight is missing"),
        (lambda s: s.pop("layers.1.ffn_norm.weight"), r"1 missing \(layers.1.ffn_norm.weight\)"),
        (lambda s: s.pop("layers.1.attention.wk.weight"), r"1 missing \(layers.1.attention.wk.weight\)"),
        (lambda s: s.update(extra=torch.zeros(1)), "Cosmos's transformer has no weight called extra"),
        (
            lambda s: s.update({"motion_output.weight": torch.zeros(512, 48)}),
            "Cosmos's transformer has no weight called motion_output.weight",
        ),
        (
            lambda s: s.update({"layers.0.attention.wq.bias": torch.zeros(48)}),
            "Cosmos's transformer has no weight called layers.0.attention.wq.bias",
        ),
        (
            lambda s: s.update({"layers.1.cross_attention_norm.weight": torch.zeros(48)}),
            r"1 unexpected \(layers.1.cross_attention_norm.weight\)",
        ),
        (
            lambda s: s.update({"layers.1.feed_forward.w2.weight": torch.zeros(48, 41)}),
            r"1 of another shape \(layers.1.feed_forward.w2.weight\)",
        ),
        (lambda s: flattened(s, "output.weight"), r"output.weight must have 2 axes, got \(2880,\)"),
        (
            lambda s: s.update({"layers.0.attention.q_norm.weight": torch.zeros(7)}),
            "48 rows of queries or keys are no multiple of the heads' 7 channels",
        ),
        (
            lambda s: s.update({"tok_embeddings.weight": torch.zeros(50, 48)}),
            r"visual_embedding_rows \(50\) is below visual_ids \(60\)",
        ),
        (
            lambda s: s.update({"norm.weight": torch.ones(48).int()}),
            "norm.weight holds torch.int32, not numbers of a network",
        ),
    ],
)
def test_weights_must_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[dict[str, Tensor]], object], message: str
) -> None:
    state = {key.removeprefix("model."): value for key, value in nvidia.nvidia_names(nvidia.transformer()).items()}
    change(state)
    monkeypatch.setattr(cosmos_ar, "_deviation", lambda table: pytest.fail("a value was read"))
    with pytest.raises(CheckpointError, match=f"({message})(.|\n)*looked: {tmp_path / 'ar' / 'model.pt'}"):
        import_cosmos({"ar": save(tmp_path / "ar", state)}, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_an_embedding_without_deviation_is_refused(tmp_path: Path) -> None:
    state = nvidia.nvidia_names(nvidia.transformer())
    state["model.tok_embeddings.weight"] = torch.ones(60, 48)
    with pytest.raises(CheckpointError, match="not the weights of --ar: embedding_std must be positive, got 0.0"):
        import_cosmos({"ar": save(tmp_path / "ar", state)}, tmp_path / "bundle")


def test_the_larger_releases_are_refused() -> None:
    weights = {f"layers.{index}.ffn_norm.weight": torch.empty(5120, device="meta") for index in range(40)}
    weights["norm.weight"] = torch.empty(5120, device="meta")
    with pytest.raises(ValueError, match=r"of the 12B or 13B, whose positions \(YaRN\) UniMo does not have"):
        transformer_config(weights, ARConfig())


def test_a_preset_gives_what_shapes_do_not_tell(tmp_path: Path) -> None:
    folder = save(tmp_path / "ar", nvidia.nvidia_names(nvidia.transformer()))
    preset = replace(ARConfig(), motion_ids=256, rope_theta=777.0, attention="mask")
    model = read_component(find_source(PARTS["ar"], folder), preset)
    config = model.config
    assert isinstance(config, ARConfig)
    assert (config.motion_ids, config.rope_theta, config.attention) == (256, 777.0, "mask")
    assert (config.dim, config.heads, config.kv_heads, config.ffn_hidden, config.layers) == (48, 4, 2, 40, 2)
