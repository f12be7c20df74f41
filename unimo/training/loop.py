"""The only training loop: optimiser, schedule, averaging, validation, checkpoints and logs for any `Task`.

In: a task, its `OptimizationConfig`, a folder. Out: the trained (averaged) weights in `task.model`, `log.jsonl` with
one JSON object a line, and checkpoints from which the same run goes on with the same numbers.
"""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unimo.errors import TrainingError
from unimo.training import parallel
from unimo.training.checkpoint import checkpoint_paths, load_checkpoint, save_checkpoint
from unimo.training.config import OptimizationConfig
from unimo.training.optimizer import Optimizers
from unimo.training.task import Positioned, Task

Progress = Callable[[float, dict[str, Any]], None]
_MAX_SKIPPED = 20


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, so that a run stops between steps; only the main thread gets signals."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: stop.set()) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def learning_rate(config: OptimizationConfig, step: int, progress: float) -> float:
    """Linear warm-up over steps, then cosine in `progress` (0..1) down to `final_rate` of the peak."""
    warmup = min(1.0, (step + 1) / max(1, config.warmup_steps))
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return config.learning_rate * warmup * (config.final_rate + (1 - config.final_rate) * cosine)


class Trainer:
    """Runs one task. Create it, then call `run()`; with `resume` it goes on from the newest checkpoint in `folder`.

    `clock` gives the seconds that a budget of minutes counts.
    """

    def __init__(
        self,
        task: Task,
        config: OptimizationConfig,
        folder: Path,
        resume: bool = False,
        progress: Progress | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.task, self.config, self.folder, self.progress = task, config, Path(folder), progress
        self._clock = clock
        self.folder.mkdir(parents=True, exist_ok=True)
        parallel.start()
        parallel.copy_from_first(task.model.state_dict().values())
        self.optimizer = Optimizers(task.model, config)
        self.average = self._copy_weights() if config.ema_decay else {}
        self.step, self.elapsed, self._skipped = 0, 0.0, 0
        saved = checkpoint_paths(self.folder)
        if resume and saved:
            self.step, self.elapsed, position = load_checkpoint(saved[-1], task.model, self.average, self.optimizer)
            if isinstance(task, Positioned):
                task.go_to(position)

    def run(self) -> dict[str, float]:
        """Trains to the end of the budget, validates, saves; returns the last validation's metrics.

        Ctrl-C and SIGTERM (what a scheduler sends) end the step, save a checkpoint and raise KeyboardInterrupt.
        """
        with _stop_signals() as stop:
            self._steps(stop)
        metrics = self._validate()
        self._log("validation", metrics)
        self.save()
        self._use_average()
        return metrics

    def _steps(self, stop: threading.Event) -> None:
        config, started = self.config, self._clock() - self.elapsed
        while self.step < config.steps and self._fraction() < 1.0:
            numbers = self._train_step()
            self.elapsed = parallel.from_first(self._clock() - started)
            stopped = parallel.any_of(stop.is_set())
            if self.step % config.log_every == 0:
                self._log("train", numbers)
            if self.progress:
                self.progress(self._fraction(), numbers)
            if self.step % config.validate_every == 0:
                self._log("validation", self._validate())
            if self.step % config.checkpoint_every == 0 or stopped:
                self.save()
            if stopped:
                raise KeyboardInterrupt

    def save(self) -> None:
        """Writes a checkpoint of this moment."""
        if parallel.rank() == 0:
            task, position = self.task, self.task.position() if isinstance(self.task, Positioned) else None
            save_checkpoint(self.folder, self.step, self.elapsed, task.model, self.average, self.optimizer, position)

    def _fraction(self) -> float:
        by_time = self.elapsed / (60 * self.config.minutes) if self.config.minutes else 0.0
        return max(self.step / self.config.steps, by_time)

    def _train_step(self) -> dict[str, float]:
        config, model = self.config, self.task.model
        model.train()
        # One seed a step makes dropout and the like the same after a resume, with no generator state to keep.
        torch.manual_seed((config.seed * 1_000_003 + self.step) * parallel.world_size() + parallel.rank())
        rate = learning_rate(config, self.step, self._fraction())
        self.optimizer.set_rate(rate)
        batch = self.task.batch(self.step)
        device = next(model.parameters()).device
        self.optimizer.zero_grad()  # first, so that old gradients do not lie beside activations
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            loss, numbers = self.task.loss(batch)
        loss.backward()
        parallel.average_gradients(model.parameters())
        norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip))
        self._update(norm, float(loss.detach()), batch)
        self.step += 1
        return {"loss": float(loss.detach()), **numbers, "gradient_norm": norm, "learning_rate": rate}

    def _update(self, norm: float, loss: float, batch: dict[str, Any]) -> None:
        """Applies the gradients; skips an exploding step, stops at a loss that is not finite or at too many skips."""
        healthy = math.isfinite(norm) and norm <= self.config.explode_at * self.config.gradient_clip
        self._skipped = 0 if healthy else self._skipped + 1
        if parallel.any_of(not math.isfinite(loss)) or self._skipped > _MAX_SKIPPED:
            raise TrainingError(
                f"step {self.step} of {self.task.name} failed: loss {loss}, gradient norm {norm}",
                f"clips {batch.get('names', 'unnamed')}",
                "look at these clips, lower learning_rate, then go on with --resume",
            )
        if not healthy:
            return
        self.optimizer.step()
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for key, value in self.task.model.state_dict().items() if self.average else ():
                target = self.average[key]
                if target.is_floating_point():
                    target.lerp_(value, 1 - decay)
                else:
                    target.copy_(value)

    def _copy_weights(self) -> dict[str, Tensor]:
        return {key: value.detach().clone() for key, value in self.task.model.state_dict().items()}

    def _use_average(self) -> None:
        if self.average:
            self.task.model.load_state_dict(self.average)

    @torch.no_grad()
    def _validate(self) -> dict[str, float]:
        """Validates the averaged weights in place, then puts the trained ones back; only the first process does."""
        if parallel.rank() > 0:
            return {}
        model, current = self.task.model, self._copy_weights() if self.average else {}
        model.eval()
        try:
            self._use_average()
            return self.task.validate(model)
        finally:
            if current:
                model.load_state_dict(current)

    def _log(self, kind: str, numbers: dict[str, float]) -> None:
        if parallel.rank() > 0:
            return
        row = {"kind": kind, "step": self.step, "minutes": round(self.elapsed / 60, 2), **numbers}
        with (self.folder / "log.jsonl").open("a", encoding="utf8") as handle:
            handle.write(json.dumps(row) + "\n")
