"""A small CMU-like BVH: the 31 joints, and a few frames of a made-up walk."""

from __future__ import annotations

import numpy as np

# name, parent, offset in file units (subject 35 of the CMU database, rounded)
_JOINTS = [
    ("root", None, (0, 0, 0)),
    ("lhipjoint", "root", (0, 0, 0)), ("lfemur", "lhipjoint", (1.78, -1.89, 0.48)),
    ("ltibia", "lfemur", (2.53, -6.96, 0)), ("lfoot", "ltibia", (2.71, -7.45, 0)),
    ("ltoes", "lfoot", (0.18, -0.49, 2.23)),
    ("rhipjoint", "root", (0, 0, 0)), ("rfemur", "rhipjoint", (-1.58, -1.89, 0.48)),
    ("rtibia", "rfemur", (-2.60, -7.15, 0)), ("rfoot", "rtibia", (-2.73, -7.51, 0)),
    ("rtoes", "rfoot", (-0.26, -0.70, 2.22)),
    ("lowerback", "root", (0, 0, 0)), ("upperback", "lowerback", (0.03, 2.02, -0.23)),
    ("thorax", "upperback", (0.03, 2.04, 0.02)), ("lowerneck", "thorax", (0.02, 2.06, 0.1)),
    ("upperneck", "lowerneck", (0, 1.7, 0.21)), ("head", "upperneck", (0.02, 1.72, -0.23)),
    ("lclavicle", "thorax", (0.02, 2.06, 0.1)), ("lhumerus", "lclavicle", (3.36, 1.01, -0.37)),
    ("lradius", "lhumerus", (5.07, 0, 0)), ("lwrist", "lradius", (3.6, 0, 0)), ("lhand", "lwrist", (1.8, 0, 0)),
    ("rclavicle", "thorax", (0.02, 2.06, 0.1)), ("rhumerus", "rclavicle", (-3.51, 0.8, -0.7)),
    ("rradius", "rhumerus", (-5.37, 0, 0)), ("rwrist", "rradius", (-3.58, 0, 0)), ("rhand", "rwrist", (-1.79, 0, 0)),
]  # fmt: skip
STANDING_HEIGHT = 17.75


def cmu_bvh(angles: dict[str, np.ndarray], root: np.ndarray, fps: float = 30.0) -> str:
    """BVH text.

    Args:
        angles: joint name to (T,3) degrees in the order z, y, x; joints not named stay at rest.
        root: (T,3) root positions in file units.
        fps: frames per second.
    """
    lines, order = ["HIERARCHY"], []

    def visit(name: str, offset: tuple[float, ...], depth: int) -> None:
        order.append(name)
        lines.append(("ROOT " if depth == 0 else "JOINT ") + name + "\n{")
        lines.append("OFFSET " + " ".join(map(str, offset)))
        place = "Xposition Yposition Zposition " if depth == 0 else ""
        lines.append(f"CHANNELS {6 if place else 3} {place}Zrotation Yrotation Xrotation")
        children = [joint for joint in _JOINTS if joint[1] == name]
        for child, _, child_offset in children:
            visit(child, child_offset, depth + 1)
        if not children:
            lines.append("End Site\n{\nOFFSET 0 0 1\n}")
        lines.append("}")

    visit("root", (0, 0, 0), 0)
    values = np.concatenate([root, *(angles.get(name, np.zeros_like(root)) for name in order)], axis=1)
    lines += ["MOTION", f"Frames: {len(root)}", f"Frame Time: {1 / fps:.6f}"]
    return "\n".join(lines + [" ".join(f"{x:.4f}" for x in row) for row in values]) + "\n"


def standing(frames: int = 4, **turned: tuple[float, float, float]) -> str:
    """Someone who stands with legs together and arms spread, some joints turned by (z, y, x) degrees."""
    legs = {"lfemur": (-20.0, 0, 0), "lfoot": (20.0, 0, 0), "rfemur": (20.0, 0, 0), "rfoot": (-20.0, 0, 0)}
    angles = {name: np.tile(np.array(turn, float), (frames, 1)) for name, turn in {**legs, **turned}.items()}
    root = np.tile([3.0, STANDING_HEIGHT, -2.0], (frames, 1))
    return cmu_bvh(angles, root)
