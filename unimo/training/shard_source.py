"""The transformer's clips out of prepared folders: what trains, as a stream, and what validates, in memory.

In: folders of `unimo data prepare` and the tokenizers of this training. Out: a `ShardLoader` and a `TokenPack`, both of
these tokenizers and of the bundle's geometry, of different subjects.
"""

from __future__ import annotations

from pathlib import Path

from unimo.bundle import BundleSettings
from unimo.data.loader import ShardLoader
from unimo.data.shards import read_manifest
from unimo.data.token_shards import GEOMETRY, TokenShards
from unimo.data.tokens import TokenPack
from unimo.errors import InputError, counted
from unimo.training import parallel


def open_shards(
    folder: Path, validation: Path | None, settings: BundleSettings, tokenizers: str
) -> tuple[TokenShards, TokenShards]:
    """The shards that train and those that validate.

    Args:
        folder: whose split "train" trains.
        validation: whose split "validation" or, where it has none, "train" validates; None takes `folder`.
        settings: the clips' geometry.
        tokenizers: hash of those of this training.

    Raises:
        InputError: shards are not there, damaged, of other tokenizers or another geometry, or a subject is in both.
    """
    train = _fitting(TokenShards(folder), settings, tokenizers)
    held = _fitting(_validation(folder, validation), settings, tokenizers)
    if shared := sorted(train.subjects() & held.subjects()):
        subjects = f"{counted(len(shared), 'subject')} {'is' if len(shared) == 1 else 'are'}"
        what = f"{subjects} in both training and validation shards: {', '.join(shared[:8])}"
        raise InputError(what, str(held.folder), "give clips of other subjects")
    return train, held


def shard_sources(
    train: TokenShards, validation: TokenShards, seed: int, workers: int, clips: int
) -> tuple[ShardLoader, TokenPack]:
    """This process's share of the training clips, in an order that `seed` shuffles, and the first validation clips."""
    return ShardLoader(train, seed, parallel.rank(), parallel.world_size(), workers), validation.first(clips)


def _validation(folder: Path, other: Path | None) -> TokenShards:
    if other is None:
        if not read_manifest(folder, "tokens", "validation"):
            what, fix = "these shards have no split for validation", "--validation-shards DIR, clips of other subjects"
            raise InputError(what, str(folder), fix)
        return TokenShards(folder, "validation")
    if other.expanduser().resolve() == folder.expanduser().resolve():
        what = "--validation-shards is the folder of --shards, whose own split for validation is the default"
        raise InputError(what, str(other), "leave it out, or give clips of other subjects")
    return TokenShards(other, "validation" if read_manifest(other, "tokens", "validation") else "train")


def _fitting(shards: TokenShards, settings: BundleSettings, tokenizers: str) -> TokenShards:
    """The same shards, when they are of these tokenizers and this geometry."""
    made = shards.preparation
    if made.tokenizers != tokenizers:
        what = "these tokens are of other tokenizers than those of the work folder or of --start-from"
        fix = f"prepare them again with that bundle, or train in a new --work with the bundle {made.bundle!r} of theirs"
        raise InputError(what, str(shards.folder), fix)
    wanted = {name: getattr(settings, name) for name in GEOMETRY}
    if differs := [f"{name} {made.geometry[name]}, not {wanted[name]}" for name in GEOMETRY
                   if made.geometry[name] != wanted[name]]:  # fmt: skip
        what = f"these clips are not those of the preset: {'; '.join(differs)}"
        raise InputError(what, str(shards.folder), "--preset, or prepare them as the preset has it")
    return shards
