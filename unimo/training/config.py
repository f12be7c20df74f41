"""Settings of the training loop that every task shares; a task's own settings stand beside them in its file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class OptimizationConfig:
    """AdamW (and Muon) with linear warm-up and a cosine decay.

    Attributes:
        steps: optimiser steps of the whole run.
        minutes: optional wall-clock budget; the decay then follows whichever of steps and minutes is further on, and
            the run ends with it. Runs with a budget are not reproducible to the bit; runs without one are.
        batch_size: clips a step.
        learning_rate: peak rate; decays to `final_rate` times this.
        muon_rate: peak rate of Muon, which then trains the matrices of repeated blocks (`layers.N.`,
            `transformer_blocks.N.`) in place of AdamW; None trains everything with AdamW.
        precision: "float32", or "bfloat16" for autocast.
        reference_fan_in: kernels with more inputs than this learn slower in proportion, which keeps the size of the
            changes of wide and narrow layers alike; None gives all the same rate.
        ema_decay: decay of the averaged weights that are validated and shipped; 0 switches the average off.
        gradient_clip: largest global gradient norm.
        explode_at: a step whose gradient norm is above this multiple of `gradient_clip` is skipped; 20 in a row stop.
    """

    steps: int
    batch_size: int
    learning_rate: float
    minutes: float | None = None
    muon_rate: float | None = None
    warmup_steps: int = 100
    final_rate: float = 0.02
    reference_fan_in: int | None = None
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.99
    gradient_clip: float = 1.0
    explode_at: float = 1000.0
    precision: str = "float32"
    ema_decay: float = 0.0
    seed: int = 0
    log_every: int = 20
    validate_every: int = 500
    checkpoint_every: int = 500

    def __post_init__(self) -> None:
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision must be float32 or bfloat16, not {self.precision!r}")
        if self.steps < 1 or self.batch_size < 1 or self.learning_rate <= 0:
            raise ValueError("steps, batch_size and learning_rate must be positive")
        for name in ("minutes", "muon_rate"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive or null, not {getattr(self, name)}")
        for name in ("log_every", "validate_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
