"""Importers: motion of other projects' files as `ImportedMotion`s, one module a format."""

from __future__ import annotations

import importlib
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from unimo.errors import InputError

if TYPE_CHECKING:
    from unimo.data.importers.base import Importer

# the module of every format, and what it reads
FORMATS = MappingProxyType(
    {
        "gvhmr": ("gvhmr", "hmr4d_results.pt"),
        "wham": ("wham", "wham_output.pkl"),
        "phalp": ("phalp", "demo_*.pkl of PHALP and 4D-Humans"),
        "amass": ("amass", "*_poses.npz and *_stageii.npz"),
        "3dpw": ("threedpw", "sequenceFiles/*/*.pkl"),
        "rich": ("rich", "bodies/SET/SEQUENCE/FRAME/SUBJECT.pkl"),
        "bedlam": ("bedlam", "npz of a scene"),
        "dna-rendering": ("dna_rendering", "*_annots.smc"),
        "aist": ("aist", "motions/*.pkl of AIST++"),
        "human4dit": ("human4dit", "CSV of Human4DiT-Video with its demo_*.pkl"),
    }
)


def importer(name: str) -> Importer:
    """The importer of a format.

    Raises:
        InputError: there is none of that name.
    """
    if name not in FORMATS:
        raise InputError(f"unknown format {name!r}", fix=f"one of {', '.join(FORMATS)}")
    return cast("Importer", importlib.import_module(f"{__name__}.{FORMATS[name][0]}"))
