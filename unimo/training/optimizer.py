"""The optimisers of the training loop behind one object: AdamW, and Muon for the matrices of repeated blocks.

In: a model and an `OptimizationConfig`. Out: `Optimizers`, whose state is flat tensors by number, so that checkpoints
need no pickle. Muon: Jordan et al. 2024, torch's implementation with updates scaled to AdamW's size.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from unimo.training.config import OptimizationConfig

_BLOCK = re.compile(r"(^|\.)(layers|transformer_blocks)\.\d+\.")


def parameter_groups(parameters: list[nn.Parameter], config: OptimizationConfig) -> list[dict[str, Any]]:
    """AdamW's groups by weight decay and rate: decay on matrices and kernels only, `rate` by `reference_fan_in`."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in parameters:
        wide = parameter.ndim >= 2
        rate = min(1.0, config.reference_fan_in / parameter[0].numel()) if wide and config.reference_fan_in else 1.0
        groups.setdefault((config.weight_decay if wide else 0.0, rate), []).append(parameter)
    return [{"params": params, "weight_decay": decay, "rate": rate} for (decay, rate), params in groups.items()]


class Optimizers:
    """AdamW over all trainable parameters or, with `muon_rate`, over those that Muon leaves."""

    def __init__(self, model: nn.Module, config: OptimizationConfig) -> None:
        named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
        matrices = [p for name, p in named if config.muon_rate and p.ndim == 2 and _BLOCK.search(name)]
        if config.muon_rate and not matrices:
            raise ValueError("muon_rate is set, but no matrix is in blocks called layers.N or transformer_blocks.N")
        taken = {id(parameter) for parameter in matrices}
        groups = parameter_groups([p for _, p in named if id(p) not in taken], config)
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.beta1, config.beta2))
        ]
        if config.muon_rate:
            muon = torch.optim.Muon(
                [{"params": matrices, "rate": config.muon_rate / config.learning_rate}],
                lr=config.muon_rate, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw",
            )  # fmt: skip
            self.parts.append(muon)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All parameters in the order of their state's numbers."""
        return [p for part in self.parts for group in part.param_groups for p in group["params"]]

    def set_rate(self, rate: float) -> None:
        """Sets the learning rate of AdamW; every group follows in its own proportion."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = rate * group["rate"]

    def zero_grad(self) -> None:
        """Forgets all gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def step(self) -> None:
        """Applies the gradients."""
        for part in self.parts:
            part.step()

    def state(self) -> dict[int, dict[str, Tensor]]:
        """State tensors of every parameter that has any, by its number in `parameters`."""
        numbers = {id(parameter): number for number, parameter in enumerate(self.parameters)}
        return {
            numbers[id(parameter)]: {key: torch.as_tensor(value) for key, value in values.items()}
            for part in self.parts
            for parameter, values in part.state.items()
        }

    def load_state(self, state: dict[int, dict[str, Tensor]]) -> None:
        """Restores what `state` gave.

        Raises:
            ValueError: the state is of other parameters or of another optimiser.
        """
        first = 0
        for part in self.parts:
            own = [p for group in part.param_groups for p in group["params"]]
            wanted = "momentum_buffer" if isinstance(part, torch.optim.Muon) else "exp_avg"
            mine = {i: state[first + i] for i in range(len(own)) if first + i in state}
            if any(wanted not in values or values[wanted].shape != own[i].shape for i, values in mine.items()):
                raise ValueError("the optimiser's state is of other parameters")
            part.load_state_dict({"state": mine, "param_groups": part.state_dict()["param_groups"]})
            first += len(own)
        if any(number >= first for number in state):
            raise ValueError("the optimiser's state is of more parameters")
