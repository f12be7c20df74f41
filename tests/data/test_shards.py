"""Shards: bytes follow from the samples alone, samples are found by offset, damage is seen."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

import pytest

from unimo.data.shards import MANIFEST, Shard, read_manifest, write_shard
from unimo.errors import InputError

SAMPLES = [(f"clip{n}", {"tokens.npz": bytes([n]) * (700 * n + 1), "json": b'{"n": %d}' % n}) for n in range(4)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shards = [write_shard(tmp_path, "tokens", "train", n, SAMPLES[2 * n : 2 * n + 2]) for n in range(2)]
    shards.append(write_shard(tmp_path, "tokens", "validation", 0, SAMPLES[:1]))
    shards.append(write_shard(tmp_path, "clips", "train", 0, SAMPLES))
    (tmp_path / MANIFEST).write_text("".join(json.dumps(shard.line()) + "\n" for shard in shards))
    return tmp_path


def test_every_sample_is_where_the_manifest_says(folder: Path) -> None:
    shards = read_manifest(folder, "tokens")
    assert [shard.path.name for shard in shards] == ["tokens-000000.tar", "tokens-000001.tar"]
    read = [(key, files) for shard in shards for key, files in shard]
    assert read == SAMPLES
    assert shards[1].read(1) == SAMPLES[3][1]
    for shard in shards:
        shard.verify()


def test_tar_is_plain_without_times_or_owners_and_the_same_every_time(folder: Path, tmp_path: Path) -> None:
    path = folder / "clips" / "clips-000000.tar"
    with tarfile.open(path, "r:") as tar:
        members = tar.getmembers()
        contents = {m.name: tar.extractfile(m).read() for m in members}  # type: ignore[union-attr]
    assert [m.name for m in members[:3]] == ["clip0.json", "clip0.tokens.npz", "clip1.json"]
    assert contents == {f"{key}.{suffix}": content for key, files in SAMPLES for suffix, content in files.items()}
    assert {(m.mtime, m.uid, m.gid, m.uname, m.mode) for m in members} == {(0, 0, 0, "", 0o644)}
    turned = [(key, dict(reversed(files.items()))) for key, files in SAMPLES]
    again = write_shard(tmp_path / "again", "clips", "train", 0, turned)
    assert again.path.read_bytes() == path.read_bytes()
    assert again.sha256 == hashlib.sha256(path.read_bytes()).hexdigest() and again.size == path.stat().st_size


def test_splits_have_their_own_shards(folder: Path) -> None:
    (validation,) = read_manifest(folder, "tokens", "validation")
    assert validation.path.name == "tokens-validation-000000.tar" and len(validation) == 1
    assert read_manifest(folder, "clips", "validation") == []


def test_damage_is_seen(folder: Path) -> None:
    first, second = read_manifest(folder, "tokens")
    content = bytearray(first.path.read_bytes())
    content[600] ^= 1
    first.path.write_bytes(content)
    with pytest.raises(InputError, match="its size or sha256 differs"):
        first.verify()
    second.path.write_bytes(second.path.read_bytes()[:2000])
    with pytest.raises(InputError, match="shorter than its manifest says"):
        second.read(1)
    second.path.unlink()
    with pytest.raises(InputError, match="not here"):
        second.verify()
    with pytest.raises(InputError, match="cannot be read"):
        second.read(0)


def test_a_folder_without_manifest_says_why(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no prepared data"):
        read_manifest(tmp_path, "tokens")
    (tmp_path / "prepare.json").write_text("{}")
    with pytest.raises(InputError, match="not prepared to its end"):
        read_manifest(tmp_path, "tokens")


@pytest.mark.parametrize(
    "change", [{"name": "../../x.tar"}, {"kind": "pictures"}, {"index": [{"key": "a"}]}, {"bytes": "x"}]
)
def test_a_bad_line_is_refused(folder: Path, change: dict) -> None:
    lines = (folder / MANIFEST).read_text().splitlines()
    lines[1] = json.dumps(json.loads(lines[1]) | change)
    (folder / MANIFEST).write_text("\n".join(lines))
    with pytest.raises(InputError, match="line 2 of the manifest"):
        read_manifest(folder, "tokens")


def test_keys_have_no_dots(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no dots"):
        write_shard(tmp_path, "tokens", "train", 0, [("a.b", {"json": b"{}"})])
    assert list((tmp_path / "tokens").iterdir()) == []


def test_a_shard_goes_through_its_line(folder: Path) -> None:
    shard = read_manifest(folder, "tokens")[0]
    (again, *_) = read_manifest(folder, "tokens")
    assert isinstance(shard, Shard) and shard == again and len(shard) == 2
