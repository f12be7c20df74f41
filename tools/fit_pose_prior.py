"""Fits the pose prior of the body fit to motions and writes it where the package reads it.

python tools/fit_pose_prior.py --data cmu_train.zip
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from unimo.data.extractors.pose_prior import PRIOR_FILE, PosePrior
from unimo.motion.library import MotionLibrary


def main() -> None:
    """Reads the arguments, fits and saves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="motions that are trained on")
    parser.add_argument("--fps", type=float, default=5, help="frames taken a second")
    parser.add_argument("--output", type=Path, default=PRIOR_FILE)
    arguments = parser.parse_args()
    library = MotionLibrary.from_files(arguments.data)
    poses = np.concatenate([named.motion.resample(arguments.fps).body_pose for named in library])
    PosePrior.fit(poses).save(arguments.output)
    print(f"{len(poses)} poses of {len(library)} motions: {arguments.output}")


if __name__ == "__main__":
    main()
