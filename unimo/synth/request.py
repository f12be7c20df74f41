"""What an output folder was asked for before, beside what it is asked for now: nothing is written before both agree.

In: the folder and the request of a run (`synth.json`). Out: nothing, or an `InputError` that names what differs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from unimo.errors import InputError

RECORD = "synth.json"
# fields of the configuration that the command line calls otherwise
_FLAGS = {"images": "backgrounds"}


def spelled(name: str) -> str:
    """A field of `SceneConfig` as the command line spells it: "motion_blur" → "motion-blur"."""
    return _FLAGS.get(name, name).replace("_", "-")


def check_folder(output: Path, request: dict[str, Any], count: int) -> None:
    """Refuses a folder that cannot take the clips of a request.

    Args:
        output: folder, there or not.
        request: seed, layers, scene, library.
        count: clips to have in the end.

    Raises:
        InputError: not a folder, not empty and none of ours, clips made otherwise, or more clips than asked for.
    """
    place = next(path for path in (output, *output.absolute().parents) if path.exists())
    if not place.is_dir():
        raise InputError("this is a file, and clips go into a folder", str(place), "another --output")
    path = output / RECORD
    if path.is_file():
        if fault := _difference(path.read_text(encoding="utf-8"), json.loads(json.dumps(request))):
            raise InputError(fault, str(path), "the settings of before, another --output, or remove the folder")
        if (there := clips_there(output)) > count:
            what = f"this folder holds clips up to {there - 1:06d}, a count of {count} would leave some out"
            raise InputError(what, str(output), f"--count {there} or more to go on, or another --output")
    elif output.is_dir() and any(output.iterdir()):
        raise InputError("the output folder is not empty and holds no synthetic clips", str(output), "a new folder")


def clips_there(output: Path) -> int:
    """How many clips a run must have to hold every finished one: a stopped run may have gaps."""
    numbers = [int(path.parent.name) for path in (output / "clips").glob("[0-9]*/clip.json")]
    return max(numbers, default=-1) + 1


def _difference(text: str, request: dict[str, Any]) -> str:
    """Says in what the record of a folder differs from a request; empty when in nothing."""
    try:
        made = dict(json.loads(text))
        scene = dict(made["scene"])
    except (ValueError, TypeError, KeyError):
        return "this folder's record of how its clips were made is damaged"
    if "library" not in made:
        return "this folder was made by an earlier version, which did not record the motions of its clips"
    if "layers" not in made:
        return "this folder was made by an earlier version, whose clips have other files"
    now = {"seed": request["seed"], "layers": request["layers"], **request["scene"]}
    before = {"seed": made.get("seed"), "layers": made["layers"], **scene}
    told = [
        f"{spelled(name)} was {_shown(before.get(name))}, now {_shown(now.get(name))}"
        for name in dict.fromkeys([*now, *before])
        if before.get(name) != now.get(name)
    ]
    if told:
        return f"this folder holds synthetic clips made with other settings: {'; '.join(told)}"
    if made["library"] != request["library"]:
        return "this folder holds synthetic clips made from other motions (mocap or subjects)"
    return ""


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_shown, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else "none" if value is None else str(value)
