"""One case of a parity fixture: what the reference was given, what it answered, and how near this project comes.

In:  NAME.json (a mapping: configuration, seeds, notes) beside NAME.safetensors: weights `sd.*`, inputs `[SUB.]in.*`
     and expected outputs `[SUB.]out.*`, where SUB names a sub-case.
Out: a `Case` that collects a `Check` for every expected output.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from unimo.errors import InputError

PASS, FAIL, NOT_CHECKED = "pass", "FAIL", "not checked"
# absolute tolerances; EXACT is for ids, tokens and bfloat16 results
EXACT = 0.0
TABLE = 1e-6
COEFFICIENTS = 1e-5
LOGITS = 1e-4
LATENT = 1e-4
PIXELS = 1e-3
DIT = 1e-3

_EXPECTED = re.compile(r"(^|\.)out\.")


@dataclass(frozen=True)
class Check:
    """One expected output: the largest absolute difference, what is allowed, the verdict and a word on it."""

    name: str
    verdict: str
    difference: float | None = None
    tolerance: float | None = None
    note: str = ""


@dataclass
class Case:
    """A case in memory; `checks` grows while it runs."""

    name: str
    path: Path
    info: dict[str, Any]
    tensors: dict[str, Tensor]
    checks: list[Check] = field(default_factory=list)

    @property
    def config(self) -> dict[str, Any]:
        """The configuration of the reference's model.

        Raises:
            InputError: there is none.
        """
        return self.setting("config")

    def setting(self, key: str, within: dict[str, Any] | None = None) -> Any:
        """A value of the JSON file, or of a mapping in it.

        Raises:
            InputError: the key is missing.
        """
        values = self.info if within is None else within
        if key not in values:
            raise InputError(f"the setting {key!r} is missing", f"{self.path}.json", "make the fixture again")
        return values[key]

    def require(self, wanted: dict[str, Any], found: dict[str, Any]) -> None:
        """Refuses a reference that this project cannot stand for.

        Raises:
            InputError: a setting is there with another value than the wanted one.
        """
        for key, value in wanted.items():
            if found.get(key, value) != value:
                raise InputError(
                    f"{key} = {found[key]!r} has no counterpart in this project, which has {value!r}",
                    f"{self.path}.json",
                    "leave the case out, or make it with that setting",
                )

    def given(self, name: str) -> Tensor:
        """A tensor of the case.

        Raises:
            InputError: it is missing.
        """
        if name not in self.tensors:
            fix = "make the fixture again, or copy it again: it is incomplete"
            raise InputError(f"the tensor {name!r} is missing", f"{self.path}.safetensors", fix)
        return self.tensors[name]

    def weights(self) -> dict[str, Tensor]:
        """The reference's state dict."""
        return {key[3:]: value for key, value in self.tensors.items() if key.startswith("sd.")}

    def load(self, model: torch.nn.Module, weights: dict[str, Tensor], ours: frozenset[str] = frozenset()) -> None:
        """Puts weights into a model, all of them and nothing else; `ours` are those that the reference does not have.

        Raises:
            InputError: a weight is missing, left over or of another shape.
        """
        shapes = {key: tuple(value.shape) for key, value in model.state_dict().items() if key not in ours}
        missing, extra = sorted(shapes.keys() - weights.keys()), sorted(weights.keys() - shapes.keys())
        wrong = [f"{key} {tuple(weights[key].shape)}, not {shapes[key]}" for key in shapes.keys() & weights.keys()
                 if tuple(weights[key].shape) != shapes[key]]  # fmt: skip
        for what, keys in (("missing", missing), ("not of this model", extra), ("of another shape", sorted(wrong))):
            if keys:
                more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
                raise InputError(
                    f"weights are {what}: {', '.join(keys[:3])}{more}",
                    f"{self.path}.safetensors against the sizes in {self.path.name}.json",
                    "make the fixture again, or copy it again: its two files do not belong together",
                )
        model.load_state_dict(weights, strict=False)

    def expected(self, sub: str = "") -> list[str]:
        """Names of the expected outputs, without `[SUB.]out.`."""
        prefix = f"{sub}.out." if sub else "out."
        return [name.removeprefix(prefix) for name in self.tensors if name.startswith(prefix)]

    def subcases(self) -> list[str]:
        """Names of the sub-cases, from the tensors."""
        return sorted({name.split(".out.")[0] for name in self.tensors if ".out." in name})

    def compare(
        self, name: str, found: Tensor, tolerance: float, note: str = "", expected: Tensor | None = None
    ) -> None:
        """Adds the check of one expected output; `expected` is that output in another form than the stored one.

        Raises:
            InputError: the expected output is missing.
        """
        expected = self.given(name) if expected is None else expected
        if found.shape != expected.shape or not expected.numel():
            note = f"shape {tuple(found.shape)}, expected {tuple(expected.shape)}"
            self.checks.append(Check(name, FAIL, None, tolerance, note))
            return
        difference = float((found.double() - expected.double()).abs().max())
        self.checks.append(Check(name, PASS if difference <= tolerance else FAIL, difference, tolerance, note))

    def leave(self, name: str, why: str) -> None:
        """Says that an expected output is not checked."""
        self.checks.append(Check(name, NOT_CHECKED, note=why))

    def finish(self) -> None:
        """Lists the expected outputs that nothing has looked at.

        Raises:
            InputError: nothing was compared at all.
        """
        seen = {check.name for check in self.checks}
        for name in self.tensors:
            if _EXPECTED.search(name) and name not in seen:
                self.leave(name, "unknown output, nothing here to compare it with")
        if not any(check.verdict != NOT_CHECKED for check in self.checks):
            fix = "a case needs expected outputs (out.*)"
            raise InputError("nothing in this case could be compared", f"{self.path}.safetensors", fix)


def read_case(path: Path) -> Case:
    """Reads NAME.json and NAME.safetensors.

    Args:
        path: DIRECTORY/NAME, without a suffix.

    Raises:
        InputError: one of the files is missing or cannot be read.
    """
    # a name may hold dots, so no `with_suffix`
    described, stored = path.with_name(f"{path.name}.json"), path.with_name(f"{path.name}.safetensors")
    fix = "every case is NAME.json beside NAME.safetensors: make or copy both again"
    try:
        info = json.loads(described.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"the case's description cannot be read ({error})", str(described), fix) from error
    if not isinstance(info, dict):
        raise InputError("the case's description is no mapping", str(described), fix)
    try:
        tensors = load_file(stored)
    except (OSError, SafetensorError) as error:
        raise InputError(f"the case's tensors cannot be read ({error})", str(stored), fix) from error
    return Case(path.name, path, info, tensors)
