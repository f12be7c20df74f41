"""The token shards of prepared folders, as training reads them: clips by shard and row, checked before they are used.

In: what `unimo data prepare` wrote (`unimo.data.shards`). Out: ids and features of one clip, or of the first few.
"""

from __future__ import annotations

import threading
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import islice, zip_longest
from pathlib import Path

import numpy as np

from unimo.data.shards import Shard
from unimo.data.token_folder import Preparation, TokenFolder, fingerprint
from unimo.data.tokens import TokenPack
from unimo.errors import InputError, counted

_ARRAYS = {"visual_ids": 3, "motion_ids": 2, "features": 2}
_COPY = "copy it again, or prepare the data anew"


@dataclass(frozen=True)
class ClipTokens:
    """One clip: `name` is "<shard>/<key>", `visual_ids` (K,h,w), `motion_ids` (T,36), `features` (T,145)."""

    name: str
    visual_ids: np.ndarray
    motion_ids: np.ndarray
    features: np.ndarray


class TokenShards:
    """Read access by shard and row, to one folder or several; threads may share it. Holds the manifests' index, never
    the clips.

    Folders stand in an order that follows from their content, so neither their names nor the order in which they were
    given changes what is read. The sha256 of a shard is checked before the first clip is read from it, and the checksum
    of a clip whenever it is read.

    Attributes:
        folders: where the shards come from.
        shards: of all folders, in the order of the manifests.
        grid, frames: (K,h,w) and T of every clip.

    Raises:
        InputError: the folders do not go together, or hold the same clips.
    """

    def __init__(self, folders: Sequence[TokenFolder]) -> None:
        """`folders`: at least one."""
        self.folders = sorted(folders, key=lambda folder: folder.fingerprint)
        check_together({folder.path: folder.preparation for folder in folders})
        _check_apart(folders)
        self.shards: list[Shard] = [shard for folder in self.folders for shard in folder.shards]
        self._of = [folder for folder in self.folders for _ in folder.shards]
        self._checked = [False] * len(self.shards)
        self._locks = [threading.Lock() for _ in self.shards]
        first = self._decode(0, 0)
        self.grid = (first.visual_ids.shape[0], first.visual_ids.shape[1], first.visual_ids.shape[2])
        self.frames = len(first.motion_ids)

    @staticmethod
    def of(folder: str | Path, split: str = "train") -> TokenShards:
        """The shards of one folder.

        Raises:
            InputError: see `TokenFolder.open`.
        """
        return TokenShards([TokenFolder.open(folder, split)])

    def __len__(self) -> int:
        return sum(self.counts)

    @property
    def tokenizers(self) -> str:
        """The hash of those that made the ids."""
        return self.folders[0].preparation.tokenizers

    @property
    def where(self) -> str:
        """The folders, for messages."""
        return ", ".join(str(folder.path) for folder in self.folders)

    @property
    def counts(self) -> list[int]:
        """Clips of each shard."""
        return [len(shard) for shard in self.shards]

    @property
    def fingerprint(self) -> str:
        """A hash of what the shards hold and in which order, the same in other folders."""
        return fingerprint(self.shards)

    def verify(self, shard: int) -> None:
        """Compares a shard with its hash, once.

        Raises:
            InputError: they differ.
        """
        with self._locks[shard]:
            if not self._checked[shard]:
                self.shards[shard].verify()
                self._checked[shard] = True

    def read(self, shard: int, row: int) -> ClipTokens:
        """One clip.

        Raises:
            InputError: the shard is damaged, or the clip is of another shape than the first one.
        """
        clip = self._decode(shard, row)
        if clip.visual_ids.shape != self.grid or len(clip.motion_ids) != self.frames:
            what = f"clip {clip.name} has ids {clip.visual_ids.shape} and {len(clip.motion_ids)} frames, the first one "
            what += f"of these shards {self.grid} and {self.frames}"
            raise InputError(what, str(self.shards[shard].path), "prepare all clips with one bundle")
        return clip

    def first(self, count: int) -> TokenPack:
        """The first clips of each folder in turn, as many as there are up to `count`."""
        rows = [iter(self._places(folder)) for folder in self.folders]
        turns = (place for turn in zip_longest(*rows) for place in turn if place is not None)
        return stack([self.read(*place) for place in islice(turns, count)], self.tokenizers)

    def subjects(self) -> set[str]:
        """Whom the videos show that these clips are of, as far as the folders have a record of their videos."""
        return set().union(*(folder.subjects() for folder in self.folders))

    def _places(self, folder: TokenFolder) -> Iterator[tuple[int, int]]:
        """Shard and row of the clips of a folder."""
        return ((n, row) for n, shard in enumerate(self.shards) if self._of[n] is folder for row in range(len(shard)))

    def _decode(self, shard: int, row: int) -> ClipTokens:
        self.verify(shard)
        source = self.shards[shard]
        name = f"{source.path.name}/{source.samples[row].key}"
        if len(self.folders) > 1:
            name = f"{self._of[shard].path.resolve().name}/{name}"
        try:
            with np.load(BytesIO(source.read(row)["tokens.npz"]), allow_pickle=False) as data:
                arrays = {key: data[key] for key in _ARRAYS}
        except (zipfile.BadZipFile, ValueError, KeyError, EOFError) as error:
            raise InputError(f"clip {name} cannot be read: {error}", str(source.path), _COPY) from error
        if any(arrays[key].ndim != dimensions for key, dimensions in _ARRAYS.items()):
            raise InputError(f"clip {name} does not hold ids (K,h,w) and (T,36)", str(source.path), _COPY)
        return ClipTokens(name, **arrays)


def stack(clips: list[ClipTokens], tokenizers: str = "") -> TokenPack:
    """Clips as one pack, in this order."""
    return TokenPack(*(np.stack([getattr(clip, key) for clip in clips]) for key in _ARRAYS), tokenizers=tokenizers)


def check_together(folders: Mapping[Path, Preparation]) -> None:
    """Raises InputError when folders hold tokens that no training can mix."""
    (first, wanted), *others = folders.items()
    for path, preparation in others:
        if differences := preparation.differences(wanted):
            what = f"the second of these folders does not go with the first: {'; '.join(differences)}"
            raise InputError(what, f"{first}, {path}", "prepare both with one bundle and the same --frames")


def _check_apart(folders: Sequence[TokenFolder]) -> None:
    """Raises InputError when two folders hold clips of the same video."""
    for number, one in enumerate(folders):
        for earlier in folders[:number]:
            check_other_videos(earlier, one, "the clips would count twice")


def check_other_videos(one: TokenFolder, other: TokenFolder, why: str) -> None:
    """Raises InputError when two folders hold clips of the same video, whatever it is called, or the same shard."""
    there, here = one.videos(), other.videos()
    shared = sorted(here[content] for content in there.keys() & here.keys())
    same = {shard.sha256 for shard in one.shards} & {shard.sha256 for shard in other.shards}
    if shared or same:
        count = counted(len(shared), "video") if shared else counted(len(same), "shard")
        names = f" ({', '.join(shared[:4])}{', …' if len(shared) > 4 else ''})" if shared else ""
        what = f"{count}{names} {'is' if count.startswith('1 ') else 'are'} in both of these folders: {why}"
        raise InputError(what, f"{one.path}, {other.path}", "leave one out, or prepare only the new videos in it")
