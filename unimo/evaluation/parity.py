"""Every case of a directory of parity fixtures against this project's modules.

In:  a directory of NAME.json + NAME.safetensors, made with NVIDIA's Cosmos code and random weights of any size.
Out: a `Report` per case, and the text of a table: case, sub-check, largest difference, tolerance, verdict.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from unimo.errors import InputError, UniMoError
from unimo.evaluation.parity_ar import check_absolute, check_model, check_rmsnorm, check_rope, check_sampling
from unimo.evaluation.parity_case import FAIL, NOT_CHECKED, PASS, Case, Check, read_case
from unimo.evaluation.parity_diffusion import check_diffusion
from unimo.evaluation.parity_visual import check_continuous, check_discrete, check_fsq, check_haar


@dataclass(frozen=True)
class Kind:
    """How a kind of case is known and checked: a word that its name starts with, or tensors that only it has."""

    word: str
    tensors: tuple[str, ...]
    check: Callable[[Case], None]

    def fits(self, case: Case) -> bool:
        """Whether all telling tensors are there, with any sub-case's name before them and any name behind a dot."""
        names = [f".{name}" for name in case.tensors]
        return all(any(f".{mark}" in name for name in names) for mark in self.tensors)


KINDS = (
    Kind("ar_", ("sd.tok_embeddings.weight", "out.logits_full"), check_model),
    Kind("dv", ("sd.encoder.", "out.indices"), check_discrete),
    Kind("cv", ("sd.encoder.", "out.latent"), check_continuous),
    Kind("diffusion_decoder", ("sd.net.blocks.", "out.net_cond"), check_diffusion),
    Kind("fsq", ("in.z", "out.indices"), check_fsq),
    Kind("haar", ("in.x", "out.patch"), check_haar),
    Kind("rope", ("out.cos", "out.sin"), check_rope),
    Kind("abs_pos_emb", ("out.table_",), check_absolute),
    Kind("rmsnorm", ("in.x", "sd.weight", "out.y"), check_rmsnorm),
    Kind("sampling", ("in.logits", "out.token"), check_sampling),
)


@dataclass(frozen=True)
class Report:
    """What one case gave; `error` says why it could not be run to its end."""

    name: str
    checks: tuple[Check, ...]
    error: UniMoError | None = None

    @property
    def passed(self) -> bool:
        """No check failed and the case ran to its end."""
        return self.error is None and all(check.verdict != FAIL for check in self.checks)


def run_directory(directory: Path) -> list[Report]:
    """Runs every case of a directory, in the order of their names.

    Raises:
        InputError: the directory does not exist or holds no case.
    """
    fix = "a directory of cases, each NAME.json beside NAME.safetensors"
    if not directory.is_dir():
        raise InputError("the directory of fixtures does not exist", str(directory), fix)
    names = sorted({path.stem for path in directory.iterdir() if path.suffix in (".json", ".safetensors")})
    if not names:
        raise InputError("there is no case in the directory", str(directory), fix)
    return [run_case(directory / name) for name in names]


def run_case(path: Path) -> Report:
    """Runs one case, DIRECTORY/NAME without a suffix; whatever goes wrong stands in the report."""
    case: Case | None = None
    try:
        case = read_case(path)
        kind_of(case).check(case)
        case.finish()
    except UniMoError as error:
        return Report(path.name, _checks(case), error)
    except Exception as error:  # a malformed case must not keep the others from running
        what = f"the case cannot be run ({type(error).__name__}: {error})"
        fix = "compare its settings and shapes with those of a case that runs, then make it again"
        return Report(path.name, _checks(case), InputError(what, f"{path}.json and .safetensors", fix))
    return Report(path.name, _checks(case))


def kind_of(case: Case) -> Kind:
    """The kind of a case, by its tensors, else by the word its name starts with.

    Raises:
        InputError: no kind fits.
    """
    by_tensors = [kind for kind in KINDS if kind.fits(case)]
    names = {str(case.info[key]) for key in ("kind", "case") if key in case.info} | {case.name}
    by_name = [kind for kind in KINDS if any(name.lower().startswith(kind.word) for name in names)]
    if not by_tensors and not by_name:
        known = ", ".join(kind.word.rstrip("_") for kind in KINDS)
        raise InputError(
            "the case is of an unknown kind",
            f"the tensors of {case.path}.safetensors and the names {', '.join(sorted(names))}",
            f"this project can check: {known}",
        )
    return (by_tensors or by_name)[0]


def table(reports: list[Report]) -> str:
    """The table, then what went wrong, then one line with the numbers of cases and checks."""
    rows = [("case", "sub-check", "max difference", "tolerance", "verdict", "")]
    for report in reports:
        rows += [(report.name, *_cells(check)) for check in report.checks]
        if report.error is not None:
            rows.append((report.name, "(run)", "-", "-", FAIL, report.error.what))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ["  ".join([*map(str.ljust, row, widths), row[5]]).rstrip() for row in rows]
    lines += [f"\n{report.name}: {report.error}" for report in reports if report.error is not None]
    checks = [check for report in reports for check in report.checks]
    counts = {verdict: sum(check.verdict == verdict for check in checks) for verdict in (PASS, FAIL, NOT_CHECKED)}
    failed = sum(not report.passed for report in reports)
    return "\n".join(lines) + (
        f"\n\n{len(reports)} cases: {len(reports) - failed} passed, {failed} failed; {len(checks)} outputs: "
        f"{counts[PASS]} within tolerance, {counts[FAIL]} not, {counts[NOT_CHECKED]} not checked"
    )


def _checks(case: Case | None) -> tuple[Check, ...]:
    return () if case is None else tuple(case.checks)


def _cells(check: Check) -> tuple[str, str, str, str, str]:
    difference = "-" if check.difference is None else f"{check.difference:.2e}"
    allowed = "-" if check.tolerance is None else f"{check.tolerance:.0e}" if check.tolerance else "exact"
    return check.name, difference, allowed, check.verdict, check.note
