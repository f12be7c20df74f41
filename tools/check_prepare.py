"""Kills `unimo data prepare` at random moments (kill -9) and compares what comes out with an undisturbed run.

Every other kill takes the whole process group, the others the main process alone. Exits with 1 unless all files are the
same to the byte.

python tools/check_prepare.py VIDEOS OUT --kills 10 --workers 2 --bundle mini
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path


def hashes(folder: Path) -> dict[str, str]:
    """Of all files, hidden ones too."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def start(videos: Path, output: Path, options: list[str]) -> subprocess.Popen[bytes]:
    """The command, in a process group of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "unimo", "data", "prepare", str(videos), str(output), "-q"]
    return subprocess.Popen([*command, *options], start_new_session=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("output", type=Path, help="folder for both runs; must not exist")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    known, options = parser.parse_known_args()
    known.output.mkdir(parents=True)
    calm, killed = known.output / "calm", known.output / "killed"
    begun = time.perf_counter()
    if start(known.videos, calm, options).wait():
        sys.exit("the undisturbed run failed")
    took = time.perf_counter() - begun
    print(f"undisturbed: {took:.1f} s, {len(hashes(calm))} files")
    rng, kills = random.Random(known.seed), 0
    while kills < known.kills:
        process = start(known.videos, killed, options)
        try:
            process.wait(rng.uniform(0.2, 1) * took)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL) if kills % 2 else process.kill()
            process.wait()
            kills += 1
            work = killed / ".work"
            done = len(list(work.glob("[!.]*.json"))) if work.is_dir() else 0
            print(f"kill {kills}: {done} videos done, {len(list(killed.glob('[!.]*/*.tar')))} shards", flush=True)
            continue
        print("it came to its end between two kills: begun anew")
        if hashes(killed) != hashes(calm):
            break
        shutil.rmtree(killed)
    if start(known.videos, killed, options).wait():
        sys.exit("the run after the kills failed")
    same = hashes(killed) == hashes(calm)
    print(f"after {kills} kills: {'the same files to the byte' if same else 'OTHER FILES'}")
    sys.exit(not same)


if __name__ == "__main__":
    main()
