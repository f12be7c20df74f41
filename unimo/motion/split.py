"""Validation data out of a user's own motions: whole subjects, chosen by a hash of their names."""

from __future__ import annotations

import hashlib
import logging

from unimo.errors import InputError
from unimo.motion.library import MotionLibrary

logger = logging.getLogger(__name__)

_SHARE = 0.1
_NAMES_SHOWN = 8


def hold_out(library: MotionLibrary) -> tuple[MotionLibrary, MotionLibrary]:
    """Training and validation motions: about a tenth of the subjects, or of the motions of a single subject.

    A subject (or motion) falls on one side by its name alone, so files that are added do not move it; only in small
    sets, where the tenth that the hash takes is nobody or everybody, the nearest one is taken or given back.

    Raises:
        InputError: there is only one motion.
    """
    subjects = set(library.subjects)
    names = {named.name for named in library}
    if len(names) < 2:
        what = "one motion cannot be both trained on and validated with"
        raise InputError(what, next(iter(names)), "more motions, or --validation-data with motions of other subjects")
    alone = len(subjects) == 1
    held = _tenth(names if alone else subjects)
    sides: tuple[list, list] = ([], [])
    for named in library:
        sides[(named.name if alone else named.subject) in held].append(named)
    train, validation = (MotionLibrary(side, library.skipped) for side in sides)
    if alone:
        logger.warning(
            "all motions are of one subject, %s: validation holds out %d of its %d motions and shares the subject; "
            "--validation-data takes motions of others",
            *subjects, len(validation), len(library),
        )  # fmt: skip
    else:
        shown = ", ".join(sorted(held)[:_NAMES_SHOWN]) + (", …" if len(held) > _NAMES_SHOWN else "")
        logger.info(
            "held out for validation: %d of %d subjects (%s), %d of %d motions; "
            "if one person has several of these names, use --validation-data",
            len(held), len(subjects), shown, len(validation), len(library),
        )  # fmt: skip
    return train, validation


def _tenth(names: set[str]) -> set[str]:
    """About a tenth of the names; at least one, never all."""
    ordered = sorted(names, key=_place)
    count = sum(_place(name) < _SHARE for name in ordered)
    return set(ordered[: min(max(count, 1), len(ordered) - 1)])


def _place(name: str) -> float:
    """A number in 0..1 that follows from the name."""
    return int.from_bytes(hashlib.sha256(name.encode(errors="surrogateescape")).digest()[:8], "big") / 2**64
