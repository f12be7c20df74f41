"""Clips from shards: each once an epoch over all processes, in an order that survives stops, damage that is named."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.data.token_folder import damage, tokens_of, write_folder
from unimo.data.loader import ShardLoader, ShardOrder
from unimo.data.token_shards import TokenShards
from unimo.errors import CheckpointError, InputError

RNG = np.random.default_rng(0)
COUNTS = [5, 3, 7, 4]  # 19 clips


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_folder(tmp_path, {"train": COUNTS, "validation": [2, 3]})
    return tmp_path


def loader(folder: Path, rank: int = 0, world_size: int = 1, workers: int = 2, seed: int = 0, **more) -> ShardLoader:
    return ShardLoader(TokenShards.of(folder), seed, rank, world_size, workers, **more)


def names(source: ShardLoader, sizes: list[int]) -> list[list[str]]:
    return [source.draw(RNG, size)[0] for size in sizes]


def test_clips_come_whole_and_under_their_names(folder) -> None:
    found, clips = loader(folder).draw(RNG, 19)
    assert clips.tokenizers == "made-by" and len(clips) == 19 and len(set(found)) == 19
    for row, name in enumerate(found):
        shard, key = name.split("/")
        assert shard.startswith("tokens-00000") and shard.endswith(".tar")
        wanted = tokens_of(int(key.removeprefix("clip")))
        assert np.array_equal(clips.visual_ids[row], wanted["visual_ids"])
        assert np.array_equal(clips.motion_ids[row], wanted["motion_ids"])
        assert np.array_equal(clips.features[row], wanted["features"])


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("buffer", [1, 8, 1000])
def test_every_clip_is_seen_once_an_epoch_over_all_processes(folder, world_size, buffer) -> None:
    sources = [loader(folder, rank, world_size, buffer=buffer) for rank in range(world_size)]
    drawn = [[name for batch in names(source, [4, 7, 8, 19]) for name in batch] for source in sources]
    assert len({len(each) for each in drawn}) == 1
    stream = [name for together in zip(*drawn, strict=True) for name in together]
    for epoch in range(len(stream) // 19):
        assert len(set(stream[19 * epoch : 19 * (epoch + 1)])) == 19
    assert stream[:19] != stream[19:38] and len(stream) >= 38


def test_the_order_follows_from_the_seed_alone(folder) -> None:
    known = names(loader(folder, workers=1), [6, 6, 6, 6, 6])
    assert names(loader(folder, workers=3), [6, 6, 6, 6, 6]) == known
    assert sum(names(loader(folder), [1] * 30), []) == sum(known, [])  # nor from the sizes of batches
    assert names(loader(folder, seed=1), [6, 6, 6, 6, 6]) != known


def test_runs_of_shards_are_shuffled_and_only_they() -> None:
    order = ShardOrder([10] * 40, seed=3, buffer=100)
    epochs = [[order.locate(400 * epoch + place) for place in range(400)] for epoch in range(2)]
    for places in epochs:
        assert set(places) == {(shard, row) for shard in range(40) for row in range(10)}
        runs = [places[start : start + 100] for start in range(0, 400, 100)]
        assert [len({shard for shard, _ in run}) for run in runs] == [10, 10, 10, 10]
        # neighbours of the file are neighbours of the stream about as rarely as chance has it, once in a hundred
        near = np.mean([a[0] == b[0] and abs(a[1] - b[1]) == 1 for a, b in pairwise(places)])
        assert near < 0.05
    first_runs = [{shard for shard, _ in places[:100]} for places in epochs]
    assert first_runs[0] != first_runs[1]
    shards, end = order.run_of(150)
    assert end == 200 and set(shards) == {shard for shard, _ in epochs[0][100:200]}
    assert order.run_of(400)[1] == 500 and set(order.run_of(400)[0]) == first_runs[1]


def test_every_run_of_every_epoch_has_a_shuffle_of_its_own() -> None:
    order = ShardOrder([50, 50], seed=3, buffer=50)
    rows = [tuple(order.locate(50 * run + place)[1] for place in range(50)) for run in range(6)]
    assert len(set(rows)) == 6 and all(sorted(run) == list(range(50)) for run in rows)


def test_all_positions_of_a_clip_are_equally_likely() -> None:
    seen = Counter(ShardOrder([3, 2], seed, 100).locate(0) for seed in range(2000))
    assert set(seen) == {(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)} and min(seen.values()) > 330


@pytest.mark.parametrize("stop", [0, 1, 3, 5])
@pytest.mark.parametrize("workers", [1, 3])
def test_a_resumed_loader_gives_the_very_same_batches(folder, stop, workers) -> None:
    sizes = [8, 12, 8, 3, 12, 8, 20]
    whole = loader(folder, 1, 2)
    known = [whole.draw(RNG, size) for size in sizes]
    stopped = loader(folder, 1, 2)
    for size in sizes[:stop]:
        stopped.draw(RNG, size)
        stopped.foreign(RNG, size)
    resumed = loader(folder, 1, 2, workers=workers)
    resumed.draw(RNG, 5)  # a loader that has read ahead already
    resumed.go_to(stopped.position())
    for (name, clips), size in zip(known[stop:], sizes[stop:], strict=True):
        found, again = resumed.draw(RNG, size)
        assert found == name and np.array_equal(again.motion_ids, clips.motion_ids)


def test_with_another_number_of_processes_no_clip_is_lost_or_doubled(folder) -> None:
    before = [loader(folder, rank, 2) for rank in range(2)]
    drawn = [name for source in before for batch in names(source, [4]) for name in batch]
    assert before[0].position() == before[1].position()
    after = [loader(folder, rank, 3) for rank in range(3)]
    for source in after:
        source.go_to(before[0].position())
    streams = [[name for batch in names(source, [4]) for name in batch] for source in after]
    drawn += [name for together in zip(*streams, strict=True) for name in together][:11]
    assert len(drawn) == 19 and len(set(drawn)) == 19


def test_foreign_clips_are_the_next_ones_and_stay(folder) -> None:
    source = loader(folder)
    source.draw(RNG, 4)
    position, foreign = source.position(), source.foreign(RNG, 6)
    assert source.position() == position
    assert np.array_equal(source.draw(RNG, 6)[1].motion_ids, foreign)


def test_a_position_in_other_clips_or_another_order_is_refused(folder, tmp_path) -> None:
    position = loader(folder).position()
    write_folder(tmp_path / "other", {"train": [19]})
    others = [loader(folder, seed=1), loader(folder, buffer=8), loader(tmp_path / "other")]
    for other in others:
        with pytest.raises(CheckpointError, match="not one in these shards"):
            other.go_to(position)
    with pytest.raises(CheckpointError, match="not one in these shards"):
        loader(folder).go_to({})  # of a training from a pack


def test_a_shard_cut_short_or_missing_is_named_at_once(folder) -> None:
    path = folder / "tokens" / "tokens-000002.tar"
    path.write_bytes(path.read_bytes()[:-512])
    with pytest.raises(InputError, match=r"the shard has \d+ bytes, its manifest says \d+\n.*tokens-000002.tar"):
        TokenShards.of(folder)
    path.unlink()
    with pytest.raises(InputError, match="not here\n.*tokens-000002.tar"):
        TokenShards.of(folder)


def test_a_damaged_shard_is_named_before_a_clip_of_it_is_used(folder) -> None:
    damage(folder / "tokens" / "tokens-000002.tar")
    source, seen = loader(folder), []
    with pytest.raises(InputError, match=r"sha256 differs\n.*tokens-000002.tar"):
        for _ in range(19):
            seen += source.draw(RNG, 1)[0]
    assert not [name for name in seen if "000002" in name]


def test_a_clip_damaged_after_the_check_of_its_shard_is_named(folder) -> None:
    shards = TokenShards.of(folder)
    shards.read(0, 1)
    path = shards.shards[0].path
    offset, size = shards.shards[0].samples[1].files["tokens.npz"]
    content = bytearray(path.read_bytes())
    content[offset + size // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"clip tokens-000000.tar/clip1 cannot be read.*\n.*tokens-000000.tar"):
        shards.read(0, 1)
    path.write_bytes(content[:600])
    with pytest.raises(InputError, match="shorter than its manifest says"):
        shards.read(0, 1)


def test_a_clip_of_another_shape_is_named(tmp_path) -> None:
    short = write_folder(tmp_path / "short", {"train": [1]}, frames=17, grid=(3, 2, 2))
    write_folder(tmp_path, {"train": [2, 1]})
    lines = (tmp_path / "manifest.jsonl").read_text().splitlines()
    short[0].path.rename(tmp_path / "tokens" / "tokens-000001.tar")
    lines[1] = (tmp_path / "short" / "manifest.jsonl").read_text().strip().replace("000000", "000001")
    (tmp_path / "manifest.jsonl").write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"clip tokens-000001.tar/clip0 has ids \(3, 2, 2\) and 17 frames"):
        loader(tmp_path).draw(RNG, 3)


def test_validation_is_the_first_clips_of_its_split(folder) -> None:
    pack = TokenShards.of(folder, "validation").first(4)
    assert [float(row) for row in pack.features[:, 0, 144]] == pytest.approx([3.019, 3.020, 3.021, 3.022])
    assert len(TokenShards.of(folder, "validation").first(99)) == 5


def test_a_folder_without_tokens_or_their_maker_says_so(folder, tmp_path) -> None:
    with pytest.raises(InputError, match="holds no prepared data"):
        TokenShards.of(tmp_path / "nowhere")
    only = tmp_path / "only"
    write_folder(only, {"train": [2]})
    with pytest.raises(InputError, match="no token shards of the split validation here, only of train"):
        TokenShards.of(only, "validation")
    (only / "prepare.json").write_text("{}")
    with pytest.raises(InputError, match="prepare.json does not say which tokenizers"):
        TokenShards.of(only)


def test_reading_goes_on_while_a_step_computes_and_stays_within_bounds(folder, monkeypatch) -> None:
    source, reads, lock, gate = loader(folder), [0], threading.Lock(), threading.Event()
    read = TokenShards.read

    def counted(self: TokenShards, shard: int, row: int):
        gate.wait()
        with lock:
            reads[0] += 1
        return read(self, shard, row)

    monkeypatch.setattr(TokenShards, "read", counted)
    gate.set()
    source.draw(RNG, 4)
    deadline = time.monotonic() + 20
    while reads[0] < 128 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert reads[0] in (128, 144)  # eight chunks of sixteen, one more once the first is handed out
    gate.clear()  # from here on nothing more is read
    with ThreadPoolExecutor(1) as pool:
        try:
            assert len(pool.submit(source.draw, RNG, 64).result(timeout=20)[0]) == 64
        finally:
            gate.set()
    source.close()


def test_closing_ends_the_threads(folder) -> None:
    others = set(threading.enumerate())  # those of loaders that no test closed end when they like
    source = loader(folder)
    source.draw(RNG, 1)
    assert [thread for thread in set(threading.enumerate()) - others if thread.name.startswith("shard")]
    source.close()
    assert not [thread for thread in set(threading.enumerate()) - others if thread.name.startswith("shard")]
