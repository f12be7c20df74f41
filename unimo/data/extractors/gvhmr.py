"""`GvhmrExtractor`: the user's own GVHMR labels a video (github.com/zju3dv/GVHMR), run as a process.

In: a video file. Out: one `PersonTrack` with every frame of the video, body "smplx", camera axes, with cam2world.
UniMo carries neither GVHMR nor its weights. Its result says nothing of how sure it is, nor of frames without the
person (whose boxes it interpolates) or of other people: confidence is 1 throughout.
"""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from unimo.data.extractors.protocol import ExtractorError, PersonTrack
from unimo.data.importers import gvhmr
from unimo.data.importers.base import ImportOptions, Source
from unimo.data.importers.bodies import pelvis
from unimo.errors import InputError, MissingAssetError
from unimo.geometry.cameras import project
from unimo.media.video import VideoInfo, probe
from unimo.motion.frames import joint_positions
from unimo.motion.motion import Motion
from unimo.programs import Program, environment_of

FOLDER_VARIABLE, COMMAND_VARIABLE = "UNIMO_GVHMR", "UNIMO_GVHMR_COMMAND"
GVHMR_COMMAND = "python tools/demo/demo.py --video={video} --output_root={output_dir}"
RESULT = "hmr4d_results.pt"
_HELP = "docs/extractors.md says how to install GVHMR"
GVHMR = Program("GVHMR", FOLDER_VARIABLE, COMMAND_VARIABLE, GVHMR_COMMAND, ("video", "output_dir"), _HELP)
_LINES = 8
# metres about the pelvis within which a person is, for a box without the licensed body
_REACH = 1.0


@dataclass(frozen=True)
class GvhmrExtractor:
    """Runs an installation of GVHMR, once for each video.

    Args:
        folder: the checkout; the command runs there, with the folder first in PYTHONPATH.
        command: its words, split as a shell would but run without one, with {video} and {output_dir} filled in.
        timeout_s: seconds after which the process is killed.
    """

    folder: Path
    command: str = GVHMR_COMMAND
    timeout_s: float = 24 * 3600
    name: str = "gvhmr"

    @classmethod
    def from_environment(cls) -> GvhmrExtractor:
        """The installation that `UNIMO_GVHMR` and, if set, `UNIMO_GVHMR_COMMAND` name.

        Raises:
            MissingAssetError: not configured, or something of it is not there.
            InputError: the command is malformed.
        """
        extractor = cls(*GVHMR.from_environment())
        extractor.check()
        return extractor

    def check(self) -> None:
        """Sees that the command can be started.

        Raises:
            MissingAssetError, InputError: as `from_environment`.
        """
        words = GVHMR.words(self.command, video=Path("video.mp4"), output_dir=Path("out"))
        script = next((word for word in words if word.endswith(".py")), None)
        needed = [self.folder, *([self.folder / script] if script else [])]
        for path in needed:
            if not path.exists():
                raise MissingAssetError("GVHMR is not there", str(path), f"set {FOLDER_VARIABLE}; {_HELP}")
        GVHMR.check_program(self.folder, words[0])

    def extract(self, video: Path) -> list[PersonTrack]:
        """See `MotionExtractor`."""
        info = probe(video)
        with tempfile.TemporaryDirectory(prefix="unimo-gvhmr-") as temporary:
            output = Path(temporary, "output")
            output.mkdir()
            words = GVHMR.words(self.command, video=video.expanduser().absolute(), output_dir=output)
            self._run(words, Path(temporary, "log.txt"))
            motion = _read(output, info)
        frames = np.arange(len(motion))
        return [PersonTrack(frames, motion, np.ones(len(motion), np.float32), _boxes(motion, info))]

    def _run(self, words: list[str], log: Path) -> None:
        with log.open("wb") as handle:
            try:
                code = subprocess.run(
                    words, cwd=self.folder, env=environment_of(self.folder), stdin=subprocess.DEVNULL, stdout=handle,
                    stderr=subprocess.STDOUT, timeout=self.timeout_s, check=False,
                ).returncode  # fmt: skip
            except OSError as error:
                raise ExtractorError(f"GVHMR cannot be started ({error})", str(self.folder), _HELP) from error
            except subprocess.TimeoutExpired as error:
                what = f"GVHMR was stopped, because it took longer than {self.timeout_s:g} s"
                raise ExtractorError(what, str(self.folder)) from error
        if code:
            lines = [line for line in log.read_text("utf-8", errors="replace").splitlines() if line.strip()]
            last = "\n".join(lines[-_LINES:]) or "(it printed nothing)"
            what = f"GVHMR failed with exit code {code}; its last words:\n{last}"
            fix = f"run it by hand in its own environment; if that is not the one on PATH, set {COMMAND_VARIABLE}"
            raise ExtractorError(what, f"{shlex.join(words)} in {self.folder}", fix)


def _read(output: Path, info: VideoInfo) -> Motion:
    found = sorted(output.rglob(RESULT))
    if len(found) != 1:
        what = f"GVHMR ended without an error, but wrote {len(found) or 'no'} files {RESULT} where one was expected"
        raise ExtractorError(what, str(output), f"the command must write into {{output_dir}}; {_HELP}")
    try:
        (imported,) = gvhmr.read(Source(found[0], found[0].parent.name), ImportOptions(fps=info.fps))
    except InputError as error:
        raise ExtractorError(f"the result of GVHMR cannot be read: {error.what}", RESULT, error.fix) from error
    motion = imported.motion
    if motion.intrinsics is None:
        raise ExtractorError("the result of GVHMR has no K_fullimg, so that it does not lie on the picture", RESULT)
    if len(motion) != info.frames:
        raise ExtractorError(f"GVHMR gave back {len(motion)} frames for the {info.frames} of the video", RESULT)
    return motion


def _boxes(motion: Motion, info: VideoInfo) -> np.ndarray:
    """(T, 4) pixels around the joints, or where a person may be when the licensed body is not here."""
    try:
        points = joint_positions(motion)
    except MissingAssetError:
        corners = _REACH * np.array([[-0.6, -1, 0], [0.6, 1, 0]], np.float32)
        points = pelvis(motion)[:, None] + corners
    pixels = project(torch.from_numpy(points).float(), torch.from_numpy(np.asarray(motion.intrinsics))).numpy()
    corners = np.concatenate([pixels.min(1), pixels.max(1)], 1)
    return np.clip(corners, 0, np.array([info.width, info.height] * 2)).astype(np.float32)
