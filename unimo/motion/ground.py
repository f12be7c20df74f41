"""Puts a motion on the floor: y = 0 under the feet that stand, nothing below it.

In: local rotations (T,22,3,3), translation (T,3) and frame rate of a motion in a y-up world whose y = 0 is near the
floor. Out: a vertical shift (T,) in metres: one height for the clip, a slow correction that brings standing soles to
the floor (a mocap skeleton's feet are not the body's), and a lift where the body would sink in.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv1d, max_pool1d, pad

from unimo.body import BodyModel
from unimo.body.regions import REGION

# Share of frames whose lowest foot point may lie below the floor that a clip is given at first.
_STANDING = 0.15
# A foot stands when its sole is this near to the floor (metres) and moves this slowly (metres per second).
_NEAR, _SLOW = 0.06, 0.4
# Half width in seconds of the windows over which corrections are spread.
_SPREAD = 0.1


def _heights(rotations: Tensor, transl: Tensor, fps: float, body: BodyModel) -> tuple[Tensor, Tensor, Tensor]:
    """Lowest point of each foot (T,2) and of the body (T,) in metres, and mean speed of each foot (T,2) in m/s.

    A coarse set of vertices and zero betas are good enough here.
    """
    coarse = torch.as_tensor(body.low_poly(1000)[0])
    rest = body.vertices(torch.eye(3).repeat(1, 22, 1, 1), torch.zeros(1, 10), torch.zeros(1, 3), index=coarse)[0]
    is_foot = torch.as_tensor(body.vertex_regions())[coarse] == REGION["foot"]
    sides = [is_foot & (rest[:, 0] > 0), is_foot & (rest[:, 0] < 0)]
    feet, whole, centres = [], [], []
    for start in range(0, len(transl), 256):
        part = slice(start, start + 256)
        vertices = body.vertices(rotations[part], torch.zeros(1, 10), transl[part], index=coarse)
        whole.append(vertices[..., 1].amin(1))
        feet.append(torch.stack([vertices[:, side, 1].amin(1) for side in sides], 1))
        centres.append(torch.stack([vertices[:, side].mean(1) for side in sides], 1))
    centre = torch.cat(centres)
    speed = torch.zeros(centre.shape[:2])
    if len(centre) > 1:
        steps = (centre[1:] - centre[:-1]).norm(dim=-1) * fps
        speed = torch.maximum(torch.cat([steps[:1], steps]), torch.cat([steps, steps[-1:]]))
    return torch.cat(feet), torch.cat(whole), speed


def _floor_height(feet: Tensor, whole: Tensor) -> float:
    """Height of the floor under a clip.

    Where the feet are most of the time; where they are mostly off the floor (lying, crawling) what the whole body rests
    on. A clip that never comes near the file's floor (someone hangs or climbs) keeps that floor.
    """
    height = float(torch.quantile(feet.amin(1), _STANDING))
    if height - float(torch.quantile(whole, _STANDING)) > 0.08:
        height = float(torch.quantile(whole, _STANDING))
    return height if height < 0.2 else 0.0


def _smooth(values: Tensor, radius: int) -> Tensor:
    """(T,) under a Hann window of half width `radius` frames, ends repeated."""
    kernel = torch.hann_window(2 * radius + 3, periodic=False)[1:-1]
    padded = pad(values[None, None], (radius, radius), mode="replicate")
    return conv1d(padded, (kernel / kernel.sum())[None, None])[0, 0]


def _standing_correction(feet: Tensor, speed: Tensor, radius: int) -> Tensor:
    """Shift (T,) that brings standing soles to height 0; between the frames where a foot stands it is interpolated."""
    stands = (feet.abs() < _NEAR) & (speed < _SLOW)
    frames = stands.any(1).nonzero()[:, 0]
    if len(frames) == 0:
        return torch.zeros(len(feet))
    lowest = torch.where(stands, feet, torch.inf).amin(1)[frames]
    time = torch.arange(len(feet))
    after = torch.searchsorted(frames, time).clamp(max=len(frames) - 1)
    before = (after - 1).clamp_min(0)
    span = (frames[after] - frames[before]).clamp_min(1)
    share = ((time - frames[before]) / span).clamp(0, 1)
    return _smooth(-(lowest[before] * (1 - share) + lowest[after] * share), radius)


def ground_shift(rotations: Tensor, transl: Tensor, fps: float, body: BodyModel) -> Tensor:
    """Vertical shift (T,) in metres that puts the motion on the floor y = 0.

    Args:
        rotations: (T,22,3,3) local rotations, the first one global.
        transl: (T,3) metres.
        fps: frames per second.
        body: the body that moves, at zero betas.
    """
    feet, whole, speed = _heights(rotations, transl, fps, body)
    radius = max(1, round(_SPREAD * fps))
    shift = torch.full((len(transl),), -_floor_height(feet, whole))
    shift = shift + _standing_correction(feet + shift[:, None], speed, radius)
    sunk = (-(whole + shift)).clamp_min(0)
    widest = max_pool1d(sunk[None, None], 2 * radius + 1, stride=1, padding=radius)[0, 0]
    return shift + _smooth(widest, radius)


def standing_soles(rotations: Tensor, transl: Tensor, fps: float, body: BodyModel) -> Tensor:
    """Heights (N,) in metres of the soles of standing feet: feet slower than 0.4 m/s and below 0.1 m.

    Args:
        rotations: (T,22,3,3) local rotations, the first one global.
        transl: (T,3) metres, y up.
        fps: frames per second.
        body: the body that moves, at zero betas.
    """
    feet, _, speed = _heights(rotations, transl, fps, body)
    return feet[(speed < _SLOW) & (feet < 0.1)]
