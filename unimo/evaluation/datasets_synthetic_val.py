"""The definition of `synthetic-val`: rendered clips of validation subjects that anybody can make again, to the bit.

Motion and cameras are those of `unimo synth --seed 1000000000` at its defaults; frames, rate, side and body are the
bundle's. Changing anything here makes another data set.
"""

from __future__ import annotations

FIRST_SEED = 1_000_000_000
CLIPS = 64
SUBJECTS = ("02", "03", "06", "11", "35", "49")
"""Of the CMU Graphics Lab Motion Capture Database: none of them is in any training."""

_NUMBERS = {
    "02": "01 02 03 04 05 06 07 08 09 10",
    "03": "01 02 03 04",
    "06": "01 02 03 04 05 06 07 08 09 10 11 12 13 14 15",
    "11": "01",
    "35": "01 02 05 07 08 09 10 11 12 13 14 15 16 28 29 30 31 32 33 34",
    "49": "01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16 17 18 19 20 21 22",
}
TRIALS = tuple(f"cmu_{subject}_{number}" for subject, numbers in _NUMBERS.items() for number in numbers.split())
"""The motions by the names of their files, in the order that the seeds count on."""

# motion and cameras of all clips, see `datasets_synthetic.clips_digest`, by (frames, fps, side, body)
SHA256 = {
    (17, 15.0, 128, "open"): "a3478cb7813d56dd94159bd7681928724102a8a94a5191d27d8fa3c5128d740c",
}
