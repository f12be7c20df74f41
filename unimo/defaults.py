"""Defaults that the command line and the Python interface share. Nothing is imported: `unimo --help` stays quick."""

from __future__ import annotations

CAPTURE_SAMPLES = 8
"""Motions that `capture` draws of every window and averages: one draw alone scatters around what the video says."""
