"""The plan of a training: counted parameters and FLOPs, saved tensors as measured, ZeRO's shares, no allocation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from ar_model import ARConfig, SequenceLayout, UniMoTransformer
from ar_model.attention import prefix_mask
from ar_model.config import DepthConfig
from unimo.assets import config_path
from unimo.bundle import BundleSettings
from unimo.config import load_config
from unimo.training.activations import chunk_bytes, depth_bytes, recomputed_bytes, saved_bytes, stream_bytes
from unimo.training.ar import ArTrainingConfig
from unimo.training.plan import Hardware, TrainingPlan, layouts, live_pairs, make_plan, sequence_work

FRAME = ("model.motion_layout=frame", "model.depth={}")
# near the proportions of base, so that no single term hides the others
MIDDLE = ARConfig(
    dim=96, layers=3, heads=4, kv_heads=2, ffn_hidden=336, visual_ids=300, motion_ids=64, position_gain=0.0
)
FRAMES = replace(
    MIDDLE,
    motion_layout="frame",
    depth=DepthConfig(dim=48, layers=2, heads=2, ffn_hidden=128, code_dim=16),
)


def base(*overrides: str) -> ArTrainingConfig:
    return load_config(ArTrainingConfig, config_path("ar_model", "base"), overrides)


def clips() -> BundleSettings:
    return load_config(BundleSettings, config_path("bundle", "base"))


def plan_base(*overrides: str, **hardware: Any) -> TrainingPlan:
    return make_plan(base(*overrides), clips(), Hardware(**hardware))


def sequence(config: ARConfig, task: str, batch: int = 1) -> tuple[SequenceLayout, Tensor]:
    layout = SequenceLayout(task, 3, 8, 8, 17, motion_layout=config.motion_layout)
    visual = torch.randint(config.visual_ids, (batch, 3, 8, 8))
    return layout, layout.build(visual, torch.randint(config.motion_ids, (batch, 17, 36)))


# ---------------------------------------------------------------------- parameters


def test_the_parameters_of_base_are_the_papers() -> None:
    plan = plan_base()
    attention = 2 * 4096 * 4096 + 2 * 4096 * 1024 + 2 * 128  # wq, wo, wk, wv, two norms of heads
    blocks = 16 * (attention + 3 * 4096 * 14336 + 2 * 4096)
    assert plan.parameters == {
        "blocks": blocks,
        "visual embedding": 64000 * 4096,
        "visual head": 64000 * 4096,
        "motion embedding and head": 2 * 512 * 4096,
        "last norm, special tokens, position gains": 4096 + 4 * 4096 + 16,
    }
    assert blocks == pytest.approx(3.49e9, rel=1e-3)
    assert sum(plan.parameters.values()) == pytest.approx(4.018e9, rel=1e-3)


def test_every_parameter_of_every_preset_is_counted() -> None:
    for preset in ("debug", "mini"):
        config = load_config(ArTrainingConfig, config_path("ar_model", preset))
        settings = load_config(BundleSettings, config_path("bundle", preset))
        plan = make_plan(config, settings, Hardware())
        heads = {part: count for part, count in plan.parameters.items() if "training only" in part}
        model = UniMoTransformer(config.model)
        assert sum(plan.parameters.values()) - sum(heads.values()) == sum(p.numel() for p in model.parameters())
        assert bool(heads) == bool(config.data.keypoint_weight)


def test_nothing_is_allocated() -> None:
    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            real = [t for t in tree_leaves(result) if isinstance(t, Tensor) and t.device.type != "meta"]
            assert sum(t.numel() for t in real) <= 16, f"{func} made {[tuple(t.shape) for t in real]}"
            return result

    config, settings = base(), clips()
    with Watch():
        make_plan(config, settings, Hardware())
        with pytest.raises(AssertionError, match="made"):
            torch.zeros(17)


# ---------------------------------------------------------------------- FLOPs


@pytest.mark.parametrize(("config", "task"), [(MIDDLE, "v2m"), (MIDDLE, "i2vm"), (FRAMES, "v2m"), (FRAMES, "i2vm")])
def test_flops_are_those_that_torch_counts(config: ARConfig, task: str) -> None:
    model, (layout, tokens) = UniMoTransformer(replace(config, attention="mask")), sequence(config, task)
    work = sequence_work(config, layout)
    # the reference back-end computes masked pairs too: the squares of the sequence and of every frame's 36 slots
    dead = len(layout) ** 2 - int(prefix_mask(len(layout), layout.prefix_length).sum())
    masked = 4.0 * dead * config.layers * config.heads * config.head_width
    if config.depth is not None:
        masked += 4.0 * 17 * (36 * 35 // 2) * config.depth.layers * config.depth.dim
    with sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as forward:
            loss = model.loss(tokens, layout).total
        with FlopCounterMode(display=False) as backward:
            loss.backward()
    assert forward.get_total_flops() == work.forward + masked
    assert backward.get_total_flops() == 2 * (work.forward + masked)


def test_live_pairs_are_those_of_the_mask() -> None:
    for task in ("v2m", "i2vm"):
        layout, _ = sequence(MIDDLE, task)
        assert live_pairs(layout) == int(prefix_mask(len(layout), layout.prefix_length).sum())


def test_the_work_of_base_beside_the_facts() -> None:
    """The facts say 346 and 313 TFLOP: they put the 64 000-way head on all 11 558 positions, 18.2 TFLOP."""
    plan = plan_base()
    v2m, i2vm = plan.sequences["v2m"], plan.sequences["i2vm"]
    assert (v2m.positions, v2m.condition, v2m.targets) == (11558, 9218, 2340)
    assert (i2vm.positions, i2vm.condition, i2vm.targets) == (11558, 1026, 10532)
    everywhere = 2.0 * 11558 * 64000 * 4096
    assert 3 * (v2m.linear + v2m.attention + everywhere) == pytest.approx(346e12, rel=2e-3)
    assert 3 * (i2vm.linear + i2vm.attention + everywhere) == pytest.approx(313e12, rel=4e-3)
    assert 3 * v2m.forward == pytest.approx(328.0e12, rel=1e-3)
    assert 3 * i2vm.forward == pytest.approx(307.9e12, rel=1e-3)
    # 8 192 visual targets are more than one chunk of 2^26 logits, 2 340 motion targets are not
    assert i2vm.recomputed_heads == 2.0 * 8192 * 64000 * 4096 and v2m.recomputed_heads == 0
    assert v2m.executed(True) - v2m.executed(False) == v2m.linear + v2m.attention
    step = 3 * (v2m.forward + i2vm.forward) / 2 + i2vm.recomputed_heads / 2
    assert plan.step_seconds(False) == pytest.approx(step / (0.4 * 989e12))


def test_a_frame_at_one_position_makes_sequences_shorter() -> None:
    plan = plan_base(*FRAME)
    assert plan.sequences["v2m"].positions == plan.sequences["i2vm"].positions == 9283
    assert plan.sequences["v2m"].targets == 2340 and plan.parameters["depth transformer"] > 2e8
    assert 3 * plan.sequences["v2m"].forward == pytest.approx(262.8e12, rel=1e-3)


# ---------------------------------------------------------------------- activations


def measured(model: UniMoTransformer, layout: SequenceLayout, tokens: Tensor, precision: str) -> int:
    """Bytes that autograd saves in a forward pass, without weights (or bfloat16 copies of them), position tables and
    the additive masks that only the CPU's kernels need."""
    shapes = {tuple(p.shape) for p in model.parameters()} | {tuple(p.shape)[::-1] for p in model.parameters()}
    tables = model.positions(layout, "cpu")
    known = {t.untyped_storage().data_ptr() for t in (tables.cos, tables.sin, tables.absolute) if t is not None}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage().data_ptr()
        if storage not in known and tuple(tensor.shape) not in shapes and not bool(torch.isneginf(tensor).any()):
            kept[storage] = tensor
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            model.loss(tokens, layout)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("task", ["v2m", "i2vm"])
@pytest.mark.parametrize(
    ("config", "batch"), [(MIDDLE, 1), (MIDDLE, 2), (FRAMES, 1), (replace(MIDDLE, qk_norm=False), 1)]
)
def test_saved_bytes_are_within_a_tenth_of_what_autograd_saves(
    config: ARConfig, batch: int, task: str, precision: str
) -> None:
    model, (layout, tokens) = UniMoTransformer(config).train(), sequence(config, task, batch)
    product = 4 if precision == "float32" else 2
    found = measured(model, layout, tokens, precision)
    assert saved_bytes(config, layout, batch, product, False) == pytest.approx(found, rel=0.1)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("config", [MIDDLE, FRAMES])
def test_checkpointing_keeps_the_inputs_of_blocks(config: ARConfig, precision: str) -> None:
    model, (layout, tokens) = UniMoTransformer(config).train(), sequence(config, "v2m")
    model.activation_checkpointing = True
    product = 4 if precision == "float32" else 2
    planned, whole = (saved_bytes(config, layout, 1, product, again) for again in (True, False))
    found = measured(model, layout, tokens, precision)
    assert planned == pytest.approx(found, rel=0.1) and planned < 0.25 * whole
    model.activation_checkpointing = False
    block = (measured(model, layout, tokens, precision) - found) / config.layers
    if config.depth is None:
        assert recomputed_bytes(config, layout, 1, product) == pytest.approx(block, rel=0.1)
    else:
        assert recomputed_bytes(config, layout, 1, product) == depth_bytes(config, 17, product)


def test_a_chunked_loss_saves_rows_instead_of_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    model, (layout, tokens) = UniMoTransformer(MIDDLE).train(), sequence(MIDDLE, "i2vm")
    whole = saved_bytes(MIDDLE, layout, 1, 4, False)
    for module in ("ar_model.transformer", "unimo.training.activations"):
        monkeypatch.setattr(f"{module}.MAX_LOGITS", 10 * 300)
    planned = saved_bytes(MIDDLE, layout, 1, 4, False)
    # 128 visual and 612 motion targets: rows of 96 channels were saved before, too; their logits are gone
    assert whole - planned == 4 * (128 * 300 + 612 * 64)
    assert planned == pytest.approx(measured(model, layout, tokens, "float32"), rel=0.1)
    assert chunk_bytes(MIDDLE, layout, 1, 4, False) == (4 + 4) * 10 * 300
    assert chunk_bytes(MIDDLE, layout, 1, 2, True) == (4 + 4 + 2 + 4) * 10 * 300


def test_streams_count_where_they_are_not_saved_anyway() -> None:
    layout, _ = sequence(MIDDLE, "v2m")
    assert stream_bytes(MIDDLE, layout) == 3 * 4 * 96 * len(layout)
    assert stream_bytes(replace(MIDDLE, absolute_positions=False, position_gain=None), layout) == 0


def test_a_batch_holds_both_tasks_and_one_sequence_the_larger() -> None:
    one, two, four = (plan_base(f"optimization.batch_size={size}") for size in (1, 2, 4))
    saved = {task: saved_bytes(base().model, layout, 1, 2, False) for task, layout in layouts(base(), clips()).items()}
    assert two.activations[False] - one.activations[False] == pytest.approx(min(saved.values()), rel=0.02)
    assert four.activations[False] == pytest.approx(2 * two.activations[False], rel=0.03)
    alone = plan_base("data.tasks=[v2m]", "optimization.batch_size=2")
    assert list(alone.sequences) == ["v2m"] and alone.activations[False] > 2 * saved["v2m"]


# ---------------------------------------------------------------------- memory


def test_zero_stages_divide_what_they_should() -> None:
    count, gpus = 4018298896, 8
    plan = plan_base(gpus=gpus)
    matrices = count - 64000 * 4096 - 512 * 4096 - 16 * (2 * 4096 + 256) - 4096 - 4 * 4096 - 16
    loop, one, two, three = (plan.states[stage] for stage in (0, 1, 2, 3))
    # the loop: float32 weights, gradients, moments, and bfloat16 copies of what products read
    assert (loop.weights, loop.master, loop.gradients, loop.optimizer) == (
        2 * matrices,
        4 * count,
        4 * count,
        8 * count,
    )
    assert (one.weights, one.gradients) == (2 * count, 2 * count)
    assert (one.master, one.optimizer) == (4 * count / gpus, 8 * count / gpus)
    assert two == replace(one, gradients=2 * count / gpus)
    assert three == replace(two, weights=2 * count / gpus, gathered=2 * 2 * 64000 * 4096)
    lone = plan_base(gpus=1)
    assert lone.states[1].total == lone.states[2].total == lone.states[3].total == 16 * count


def test_in_float32_there_is_no_second_copy() -> None:
    count = 4018298896
    plan = plan_base("optimization.precision=float32", "optimization.ema_decay=0.99", gpus=4)
    assert vars(plan.states[0]) == {
        "weights": 4 * count, "master": 0, "gradients": 4 * count, "optimizer": 8 * count, "average": 4 * count,
        "gathered": 0,
    }  # fmt: skip
    assert plan.states[2].gradients == count and plan.states[2].weights == 4 * count


def test_muon_keeps_one_moment_of_the_blocks_matrices() -> None:
    matrices = 16 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336)
    both = plan_base("optimization.muon_rate=0.01").states[0].optimizer
    assert plan_base().states[0].optimizer - both == 4 * matrices


def test_memory_is_states_and_the_larger_of_activations_and_update() -> None:
    plan, count = plan_base(gpus=8), 4018298896
    assert plan.checkpointing
    assert plan.activations[False] > 4 * count > plan.activations[True]
    assert plan.memory(0, False) == plan.states[0].total + plan.activations[False]
    assert plan.memory(0, True) == plan.states[0].total + 4 * count
    assert plan.memory(2, True) == plan.states[2].total + plan.activations[True]
    assert [plan.fits(stage, True) for stage in (0, 1, 2, 3)] == [False, True, True, True]
    assert not plan.fits(1, False) and plan_base(gpus=8, gpu_memory=141e9).fits(1, False)


def test_keys_and_values_of_base_are_64_kib_a_position() -> None:
    plan = plan_base()
    assert plan.kv_token == 65536
    assert plan.kv_token * plan.sequences["v2m"].positions == pytest.approx(757e6, rel=1e-3)


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "values", [{"gpus": 0}, {"gpu_memory": 0.0}, {"peak": -1.0}, {"utilisation": 0.0}, {"utilisation": 1.5}]
)
def test_impossible_hardware_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        Hardware(**values)


def test_what_is_not_planned_for_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 16"):
        make_plan(base(), replace(clips(), side=500), Hardware())
    with pytest.raises(ValueError, match="context_dim"):
        make_plan(base("model.context_dim=1024"), clips(), Hardware())
