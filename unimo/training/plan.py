"""What training the transformer will take, by arithmetic alone: parameters, memory of each GPU, FLOPs, time of a step.

In: an `ArTrainingConfig`, the clip geometry of a `BundleSettings`, a `Hardware`. Out: a `TrainingPlan`. Parameters are
counted on the model itself, built on torch's "meta" device, which allocates nothing; the rest is formulas, which
tests/training/test_plan.py holds against counted FLOPs and measured saved tensors.
FLOPs count two for a multiply-add, and of attention only the live part of the mask. GB are 1e9 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from ar_model import ARConfig, SequenceLayout, UniMoTransformer
from ar_model.depth import block_config
from ar_model.sequence import CODES_PER_FRAME, MOTION, TEMPORAL_RATIO, VISUAL
from unimo.bundle import BundleSettings
from unimo.training import activations as formulas
from unimo.training.ar import ArTrainingConfig, task_layouts
from unimo.training.keypoints import KeypointHead
from unimo.training.optimizer import Optimizers

ZERO_STAGES = (0, 1, 2, 3)
FLOAT, BFLOAT = 4, 2
# pixels of a side of a visual token: the tokenizer is 8x16x16
CELL = 16
# share of a card that CUDA's context, message buffers and fragmentation may take
RESERVE = 0.1
# where parameters belong, by the first part of their name
PARTS = {
    "layers": "blocks",
    "tok_embeddings": "visual embedding",
    "output": "visual head",
    "motion_embeddings": "motion embedding and head",
    "motion_output": "motion embedding and head",
    "depth": "depth transformer",
    "keypoints": "keypoint head (training only)",
}
OTHER = "last norm, special tokens, position gains"


@dataclass(frozen=True)
class Hardware:
    """The machine, and what is assumed of it.

    Attributes:
        gpus: N, the number of GPUs, each of which takes `optimization.batch_size` sequences a step.
        gpu_memory: bytes of one; the default is a card of 80 GB.
        peak: FLOP/s of one; the default is an H100's for dense bfloat16 products.
        utilisation: share of the peak that a step reaches, recomputed work and idle time included.

    Raises:
        ValueError: a number is out of range.
    """

    gpus: int = 8
    gpu_memory: float = 80e9
    peak: float = 989e12
    utilisation: float = 0.4

    def __post_init__(self) -> None:
        if self.gpus < 1 or self.gpu_memory <= 0 or self.peak <= 0:
            raise ValueError("gpus, gpu_memory and peak must be positive")
        if not 0 < self.utilisation <= 1:
            raise ValueError(f"utilisation must be above 0 and at most 1, not {self.utilisation}")


@dataclass(frozen=True)
class SequenceWork:
    """One sequence of a task.

    Attributes:
        task: "v2m" or "i2vm".
        positions: S of the large transformer.
        condition: positions before the first target.
        targets: tokens that are predicted.
        linear, attention, heads: FLOPs of the forward pass: matrices of the blocks; scores and mixing of values over
            the live part of the mask; output layers on target tokens.
        embedding, depth: the same of the motion layout "frame": joining codes to frames, and the depth transformer
            without its output layer.
        recomputed_heads: FLOPs of heads that the chunked loss computes a second time.
    """

    task: str
    positions: int
    condition: int
    targets: int
    linear: float
    attention: float
    heads: float
    embedding: float
    depth: float
    recomputed_heads: float

    @property
    def forward(self) -> float:
        """FLOPs of the forward pass."""
        return self.linear + self.attention + self.heads + self.embedding + self.depth

    @property
    def recomputed_blocks(self) -> float:
        """FLOPs that activation checkpointing computes a second time."""
        return self.linear + self.attention + self.depth

    def executed(self, checkpointing: bool) -> float:
        """FLOPs of forward and backward pass (twice the forward) with what is computed a second time."""
        again = self.recomputed_blocks if checkpointing else 0.0
        return 3 * self.forward + self.recomputed_heads + again


@dataclass(frozen=True)
class States:
    """Bytes on each GPU that stay from step to step.

    Attributes:
        weights: those that the products read, in the precision of the training.
        master: their float32 originals, where they are apart.
        gradients: one number a parameter.
        optimizer: AdamW's two moments, Muon's one, float32.
        average: the averaged weights of `ema_decay`, float32, whole on every GPU.
        gathered: ZeRO 3: the largest two matrices or blocks, whole, one in use and one on its way.
    """

    weights: float
    master: float
    gradients: float
    optimizer: float
    average: float
    gathered: float

    @property
    def total(self) -> float:
        """Their sum."""
        return self.weights + self.master + self.gradients + self.optimizer + self.average + self.gathered


@dataclass(frozen=True)
class TrainingPlan:
    """What a training takes.

    Attributes:
        parameters: parameters by part of the model; their sum is the model.
        sequences: work of one sequence by task.
        states: bytes on each GPU by ZeRO stage.
        activations: bytes that a step needs beside the states on each GPU, without and with activation checkpointing:
            what is saved for the backward pass, position tables, streams and the largest chunk of logits.
        kv_token: bytes of keys and values of one position in bfloat16, when generating.
        batch: sequences of a step on each GPU.
        steps: of the whole training.
        checkpointing: whether the configuration asks for activation checkpointing.
        hardware: as given.
    """

    parameters: dict[str, int]
    sequences: dict[str, SequenceWork]
    states: dict[int, States]
    activations: dict[bool, float]
    kv_token: int
    batch: int
    steps: int
    checkpointing: bool
    hardware: Hardware

    def memory(self, zero: int, checkpointing: bool) -> float:
        """Most bytes on each GPU.

        Gradients count beside activations, though the backward pass makes the ones as it lets go of the others: an
        upper bound. In stage 0 the gradients' common message and then AdamW's own arrays, one number a parameter each,
        follow when activations are gone.
        """
        update = FLOAT * sum(self.parameters.values()) if zero == 0 else 0
        return self.states[zero].total + max(self.activations[checkpointing], update)

    def fits(self, zero: int, checkpointing: bool) -> bool:
        """Whether that leaves the reserve free."""
        return self.memory(zero, checkpointing) <= (1 - RESERVE) * self.hardware.gpu_memory

    def step_flops(self, checkpointing: bool) -> float:
        """FLOPs of one GPU in a step whose batch is half of either task."""
        return self.batch * sum(work.executed(checkpointing) for work in self.sequences.values()) / len(self.sequences)

    def step_seconds(self, checkpointing: bool) -> float:
        """Seconds of a step at the assumed utilisation."""
        return self.step_flops(checkpointing) / (self.hardware.peak * self.hardware.utilisation)


def make_plan(config: ArTrainingConfig, settings: BundleSettings, hardware: Hardware) -> TrainingPlan:
    """Plans the training of a transformer on clips of a bundle's geometry. Nothing is allocated.

    Steps that only read (`data.reading_steps`), whose sequences are shorter, are planned as the others.

    Raises:
        ValueError: the side is no multiple of 16, or the model reads text, which is not planned for.
    """
    if config.model.context_dim is not None:
        raise ValueError("there is no plan for a model that reads text: context_dim must be null")
    model, shapes = meta_model(config), layouts(config, settings)
    optimization, transformer = config.optimization, config.model
    return TrainingPlan(
        parameters=count_parameters(model),
        sequences={task: sequence_work(transformer, layout) for task, layout in shapes.items()},
        states={zero: training_states(model, config, hardware.gpus, zero) for zero in ZERO_STAGES},
        activations={again: _activations(config, shapes, again) for again in (False, True)},
        kv_token=2 * BFLOAT * transformer.layers * transformer.kv_heads * transformer.head_width,
        batch=optimization.batch_size,
        steps=optimization.steps,
        checkpointing=config.activation_checkpointing,
        hardware=hardware,
    )


def meta_model(config: ArTrainingConfig) -> nn.ModuleDict:
    """What is trained, as `ArTask` puts it together, on the device "meta": shapes without memory."""
    with torch.device("meta"):
        model = nn.ModuleDict({"transformer": UniMoTransformer(config.model)})
        if config.data.keypoint_weight:
            model["keypoints"] = KeypointHead(config.model.dim)
    return model


def count_parameters(model: nn.ModuleDict) -> dict[str, int]:
    """Parameters by part; every parameter is in one of them."""
    counts = dict.fromkeys([*PARTS.values(), OTHER], 0)
    for name, parameter in model.named_parameters():
        counts[PARTS.get(name.removeprefix("transformer.").split(".")[0], OTHER)] += parameter.numel()
    return {part: count for part, count in counts.items() if count}


def layouts(config: ArTrainingConfig, settings: BundleSettings) -> dict[str, SequenceLayout]:
    """The sequence of every task that is trained.

    Raises:
        ValueError: the side is no multiple of 16.
    """
    if settings.side % CELL:
        raise ValueError(f"side must be a multiple of {CELL}, the pixels of a visual token, not {settings.side}")
    latent_frames, cells = 1 + settings.frames // TEMPORAL_RATIO, settings.side // CELL
    known = task_layouts(config, (latent_frames, cells, cells), settings.frames)
    return {task: known[task] for task in config.data.tasks}


def live_pairs(layout: SequenceLayout) -> int:
    """Pairs of a query and a key that the mask lets through: the whole prefix, after it all positions up to itself."""
    length, prefix = len(layout), layout.prefix_length
    return prefix**2 + (length * (length + 1) - prefix * (prefix + 1)) // 2


def sequence_work(config: ARConfig, layout: SequenceLayout) -> SequenceWork:
    """The work of one sequence."""
    targets = {modality: formulas.target_tokens(layout, modality) for modality in (VISUAL, MOTION)}
    heads = {m: 2.0 * n * formulas.head_dim(config, m) * formulas.outputs(config, m) for m, n in targets.items()}
    chunked = [m for m, n in targets.items() if formulas.chunk_rows(config, m, n) < n]
    embedding, depth = _frame_work(config, layout.frames) if config.depth is not None else (0.0, 0.0)
    return SequenceWork(
        task=layout.task,
        positions=len(layout),
        condition=layout.condition_length,
        targets=sum(targets.values()),
        linear=2.0 * len(layout) * config.layers * _block_matrices(config),
        attention=4.0 * live_pairs(layout) * config.layers * config.heads * config.head_width,
        heads=sum(heads.values()),
        embedding=embedding,
        depth=depth,
        recomputed_heads=sum(heads[modality] for modality in chunked),
    )


def training_states(model: nn.ModuleDict, config: ArTrainingConfig, gpus: int, zero: int) -> States:
    """Bytes that stay on each of some GPUs, by ZeRO stage (Rajbhandari et al. 2020).

    Stage 0 is this project's loop: float32 weights, gradients and moments on every GPU and, under bfloat16 autocast, a
    copy of every matrix. Stages 1 to 3 are mixed precision as ZeRO has it: bfloat16 weights and gradients, float32
    master weights and moments. Stage 1 divides what is float32 by the number of GPUs, 2 also gradients, 3 also weights.
    """
    count = sum(parameter.numel() for parameter in model.parameters())
    mixed = config.optimization.precision == "bfloat16"
    shards = {name: gpus if zero >= stage else 1 for name, stage in (("master", 1), ("gradients", 2), ("weights", 3))}
    matrices = sum(module.weight.numel() for module in model.modules() if isinstance(module, nn.Linear))
    copies = BFLOAT * (matrices if zero == 0 else count)
    gathered = 2 * (BFLOAT if mixed else FLOAT) * _largest_unit(model) if zero == 3 and gpus > 1 else 0
    return States(
        weights=(copies if mixed else FLOAT * count) / shards["weights"],
        master=FLOAT * count / shards["master"] if mixed else 0.0,
        gradients=(BFLOAT if mixed and zero else FLOAT) * count / shards["gradients"],
        optimizer=_moments(model, config) / shards["master"],
        average=FLOAT * count if config.optimization.ema_decay else 0.0,
        gathered=gathered,
    )


def _moments(model: nn.ModuleDict, config: ArTrainingConfig) -> float:
    """Bytes of the optimisers' states for the whole model, whose parameters the loop's own `Optimizers` shares out."""
    moments = 0.0
    for part in Optimizers(model, config.optimization).parts:
        a_parameter = FLOAT if isinstance(part, torch.optim.Muon) else 2 * FLOAT
        moments += a_parameter * sum(p.numel() for group in part.param_groups for p in group["params"])
    return moments


def _largest_unit(model: nn.ModuleDict) -> int:
    """Parameters of the largest block, embedding or head."""
    transformer = model["transformer"]
    units = [child for child in transformer.children() if not isinstance(child, nn.ModuleList)]
    blocks = [block for child in transformer.children() if isinstance(child, nn.ModuleList) for block in child]
    return max(sum(parameter.numel() for parameter in unit.parameters()) for unit in [*units, *blocks])


def _activations(config: ArTrainingConfig, shapes: dict[str, SequenceLayout], checkpointing: bool) -> float:
    """Most bytes of a step's activations: both tasks' saved tensors and position tables, and beside them one task's
    streams and largest chunk of logits in the forward pass or what is computed again in the backward pass."""
    model, product = config.model, BFLOAT if config.optimization.precision == "bfloat16" else FLOAT
    steps = []
    for parts in _batches(config):
        saved, passing = 0.0, 0.0
        for task, number in parts.items():
            layout = shapes[task]
            saved += formulas.saved_bytes(model, layout, number, product, checkpointing)
            loss = formulas.chunk_bytes(model, layout, number, product, config.z_loss > 0)
            again = formulas.recomputed_bytes(model, layout, number, product) if checkpointing else 0.0
            passing = max(passing, number * formulas.stream_bytes(model, layout) + loss, again)
        steps.append(saved + passing)
    return max(steps) + sum(formulas.table_bytes(model, layout) for layout in shapes.values())


def _batches(config: ArTrainingConfig) -> list[dict[str, int]]:
    """Sequences by task of an even and of an odd step, as `ArTask.batch` shares them out."""
    size, tasks = config.optimization.batch_size, config.data.tasks
    if len(tasks) == 1:
        return [{tasks[0]: size}]
    steps = [{"v2m": (size + odd) // 2, "i2vm": size - (size + odd) // 2} for odd in (0, 1)]
    return [{task: number for task, number in parts.items() if number} for parts in steps]


def _block_matrices(config: ARConfig) -> int:
    """Weights of the products of one block."""
    attention = 2 * config.dim * config.head_width * (config.heads + config.kv_heads)
    return attention + 3 * config.dim * config.ffn_hidden


def _frame_work(config: ARConfig, frames: int) -> tuple[float, float]:
    """Forward FLOPs of the frame embedding and of the depth transformer without its output layer, for some frames."""
    assert config.depth is not None
    depth, blocks = config.depth, block_config(config, config.depth)
    slots, pairs = frames * CODES_PER_FRAME, frames * CODES_PER_FRAME * (CODES_PER_FRAME + 1) // 2
    condition = 2.0 * slots * depth.dim * config.dim
    matrices = 2.0 * slots * _block_matrices(blocks) + 4.0 * pairs * depth.dim
    return 2.0 * slots * depth.code_dim * config.dim, condition + depth.layers * matrices
