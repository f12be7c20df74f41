"""The transformer's clips out of prepared folders: what trains, as a stream, and what validates, in memory.

In: folders of `unimo data prepare` and the tokenizers of this training. Out: a `ShardLoader` and a `TokenPack`, both of
these tokenizers and of the bundle's geometry, of different subjects and videos.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

from unimo.bundle import BundleSettings
from unimo.data.loader import ShardLoader
from unimo.data.shards import read_manifest
from unimo.data.token_folder import GEOMETRY, Preparation, TokenFolder
from unimo.data.token_shards import TokenShards, check_other_videos, check_together
from unimo.data.tokens import TokenPack
from unimo.errors import InputError, counted
from unimo.training import parallel


def check_folders(folders: Sequence[Path], validation: Sequence[Path], settings: BundleSettings) -> None:
    """Compares what the prepare.json of folders say with each other and with the preset; opens nothing else.

    Raises:
        InputError: a folder is named twice, or one does not go with another or with the preset.
    """
    for paths, option in ((folders, "--shards"), (validation, "--validation-shards")):
        if len({path.expanduser().resolve() for path in paths}) < len(paths):
            raise InputError(f"{option} names a folder twice", ", ".join(map(str, paths)), "name each once")
    for path in validation:
        if path.expanduser().resolve() in {folder.expanduser().resolve() for folder in folders}:
            what = "--validation-shards is the folder of --shards, whose own split for validation is the default"
            raise InputError(what, str(path), "leave it out, or give clips of other subjects")
    known = {path: Preparation.of(path) for path in [*folders, *validation]}
    check_together(known)
    for path, made in known.items():
        wanted = {name: getattr(settings, name) for name in GEOMETRY}
        if differs := [f"{name} {made.geometry[name]}, not {wanted[name]}" for name in GEOMETRY
                       if made.geometry[name] != wanted[name]]:  # fmt: skip
            what = f"these clips are not those of the preset: {'; '.join(differs)}"
            raise InputError(what, str(path), "--preset, or prepare them as the preset has it")


def open_shards(
    folders: Sequence[Path], validation: Sequence[Path], settings: BundleSettings, tokenizers: str
) -> tuple[TokenShards, TokenShards]:
    """The shards that train and those that validate.

    Args:
        folders: whose split "train" trains.
        validation: whose split "validation" or, where one has none, "train" validates; without any, the split
            "validation" of those of `folders` that have one.
        settings: the clips' geometry.
        tokenizers: hash of those of this training.

    Raises:
        InputError: shards are not there, damaged, of other tokenizers or another geometry, or a subject or a video is
            in two of them.
    """
    check_folders(folders, validation, settings)
    train = TokenShards([TokenFolder.open(path) for path in folders])
    _check_tokenizers(train, tokenizers)
    held = TokenShards(_validation(folders, validation))
    if shared := sorted(train.subjects() & held.subjects()):
        subjects = f"{counted(len(shared), 'subject')} {'is' if len(shared) == 1 else 'are'}"
        what = f"{subjects} in both training and validation shards: {', '.join(shared[:8])}"
        raise InputError(what, held.where, "give clips of other subjects")
    for one, other in product(train.folders, held.folders):
        if one.path != other.path:
            check_other_videos(one, other, "what is trained on must not be validated")
    return train, held


def shard_sources(
    train: TokenShards, validation: TokenShards, seed: int, workers: int, clips: int
) -> tuple[ShardLoader, TokenPack]:
    """This process's share of the training clips, in an order that `seed` shuffles, and the first validation clips."""
    return ShardLoader(train, seed, parallel.rank(), parallel.world_size(), workers), validation.first(clips)


def _validation(folders: Sequence[Path], others: Sequence[Path]) -> list[TokenFolder]:
    with_split = [path for path in others or folders if read_manifest(path, "tokens", "validation")]
    if not others and not with_split:
        what, fix = "these shards have no split for validation", "--validation-shards DIR, clips of other subjects"
        raise InputError(what, ", ".join(map(str, folders)), fix)
    return [
        TokenFolder.open(path, "validation" if path in with_split else "train") for path in others or with_split
    ]


def _check_tokenizers(shards: TokenShards, tokenizers: str) -> None:
    """Raises InputError when tokens are of other tokenizers; all folders have those of the first."""
    if shards.tokenizers != tokenizers:
        made_by = shards.folders[0].preparation.bundle
        what = "these tokens are of other tokenizers than those of the work folder or of --start-from"
        fix = f"prepare them again with that bundle, or train in a new --work with the bundle {made_by!r} of theirs"
        raise InputError(what, shards.where, fix)
