"""Token shards of several folders: one stream, in whatever order they are named; what does not fit is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.data.token_folder import write_folder
from unimo.data.loader import ShardLoader
from unimo.data.token_folder import TokenFolder
from unimo.data.token_shards import TokenShards
from unimo.errors import CheckpointError, InputError

RNG = np.random.default_rng(0)


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Three folders of 19, 6 and 4 training clips, numbered from 0, 100 and 200 on."""
    write_folder(tmp_path / "old", {"train": [5, 3, 7, 4], "validation": [9]}, videos=("a", "b"))
    write_folder(tmp_path / "new", {"train": [6], "validation": [2]}, start=100, videos=("c", "d"))
    write_folder(tmp_path / "newer", {"train": [4]}, start=200, videos=("e",))
    return [tmp_path / name for name in ("old", "new", "newer")]


def shards(folders: list[Path], split: str = "train") -> TokenShards:
    return TokenShards([TokenFolder.open(folder, split) for folder in folders])


def loader(folders: list[Path], rank: int = 0, world_size: int = 1, workers: int = 2) -> ShardLoader:
    return ShardLoader(shards(folders), 3, rank, world_size, workers)


def drawn(source: ShardLoader, sizes: list[int]) -> list[str]:
    return [name for size in sizes for name in source.draw(RNG, size)[0]]


@pytest.mark.parametrize("world_size", [1, 2])
def test_every_clip_of_every_folder_is_seen_once_an_epoch(folders, world_size) -> None:
    streams = [drawn(loader(folders, rank, world_size), [7, 22, 29]) for rank in range(world_size)]
    stream = [name for together in zip(*streams, strict=True) for name in together]
    assert len(set(stream[:29])) == len(set(stream[29:58])) == 29
    places = [name.split("/")[0] for name in stream[:29]]
    assert [places.count(name) for name in ("old", "new", "newer")] == [19, 6, 4]


def test_neither_names_nor_the_order_of_the_options_matter(folders, tmp_path) -> None:
    known = [name.split("/", 1)[1] for name in drawn(loader(folders), [58])]
    moved = [shutil.copytree(folder, tmp_path / "x" / f"z{folder.name}") for folder in folders]
    for order in (folders[::-1], moved, [folders[1], folders[2], folders[0]]):
        assert [name.split("/", 1)[1] for name in drawn(loader(order), [58])] == known
    assert shards(moved).fingerprint == shards(folders).fingerprint != shards(folders[:2]).fingerprint


@pytest.mark.parametrize("stop", [1, 30])
def test_a_resumed_loader_gives_the_very_same_clips(folders, stop) -> None:
    known = drawn(loader(folders, 1, 2), [stop, 8, 40])
    stopped = loader(folders, 1, 2)
    assert drawn(stopped, [stop]) == known[:stop]
    resumed = loader(folders[::-1], 1, 2, workers=1)
    resumed.go_to(stopped.position())
    assert drawn(resumed, [8, 40]) == known[stop:]
    with pytest.raises(CheckpointError, match="not one in these shards"):
        loader(folders[:2]).go_to(stopped.position())


def test_one_folder_has_the_fingerprint_and_names_it_always_had(folders) -> None:
    old = shards(folders[:1])
    assert old.read(1, 0).name == "tokens-000001.tar/clip5"
    assert old.fingerprint == TokenShards.of(folders[0]).fingerprint
    both = shards(folders[:2])
    place = [shard.path for shard in both.shards].index(folders[0] / "tokens" / "tokens-000001.tar")
    assert both.read(place, 0).name == "old/tokens-000001.tar/clip5"


def test_the_first_clips_are_taken_from_each_folder_in_turn(folders) -> None:
    held = shards(folders[:2], "validation")
    numbers = [round(1000 * (float(row) - 3)) for row in held.first(6).features[:, 0, 144]]
    assert sorted(numbers) == [19, 20, 21, 22, 106, 107] and len(held.first(99)) == 11


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"tokenizers": "others", "bundle": "mine"}, "tokenizers of 'mine', not 'debug'"),
        ({"fps": 30}, "fps 30, not 15"),
        ({"frames": 17}, "frames 17, not 9"),
        ({"body": "smplx"}, "body smplx, not open"),
    ],
)
def test_folders_that_do_not_go_together_are_named(folders, tmp_path, more, words) -> None:
    write_folder(tmp_path / "other", {"train": [2]}, **({"start": 300} | more))
    with pytest.raises(InputError) as caught:
        shards([folders[0], tmp_path / "other"])
    assert words in caught.value.what and caught.value.where == f"{folders[0]}, {tmp_path / 'other'}"


def test_the_same_video_in_two_folders_is_refused(folders, tmp_path) -> None:
    write_folder(tmp_path / "again", {"train": [2]}, start=300, videos=("c",))
    with pytest.raises(InputError) as caught:
        shards([*folders, tmp_path / "again"])
    assert "1 video (c.mp4) is in both of these folders: the clips would count twice" in caught.value.what
    assert caught.value.where == f"{folders[1]}, {tmp_path / 'again'}"
    write_folder(tmp_path / "copy", {"train": [4]}, start=200)  # one without a record of its videos
    with pytest.raises(InputError, match="1 shard is in both"):
        shards([folders[2], tmp_path / "copy"])
