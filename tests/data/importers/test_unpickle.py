"""The restricted unpickler: plain data of every protocol comes through, and nothing else does."""

from __future__ import annotations

import collections
import gzip
import os
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.importers.published import python_two
from unimo.data.unpickle import read_pickle
from unimo.errors import InputError


def content() -> dict:
    shared = np.arange(4.0)
    named: dict = collections.defaultdict(dict)
    named[3]["x"] = np.ones(3, dtype=np.float32)
    return {
        "floats": np.arange(6, dtype=np.float32).reshape(2, 3),
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "swapped": np.arange(3, dtype=">i4"),
        "flags": np.array([True, False]),
        "words": np.array(["ab", "c"]),
        "none": np.zeros((0, 3)),
        "scalar": np.float32(2),
        "list": [1, "x", b"yy", (1, 2), None, True, 2.5, {3}, 10**30],
        "named": named,
        "ordered": collections.OrderedDict(a=1),
        "twice": [shared, shared],
        ("a", 1): "tuple key",
    }


def check(read: dict) -> None:
    wanted = content()
    for key in ("floats", "columns", "swapped", "flags", "words", "none"):
        np.testing.assert_array_equal(read[key], wanted[key])
        assert read[key].dtype.newbyteorder("=") == wanted[key].dtype.newbyteorder("="), key
        assert isinstance(read[key], np.ndarray)
    assert read["list"] == wanted["list"] and read["ordered"] == {"a": 1} and read[("a", 1)] == "tuple key"
    assert type(read["scalar"]) is np.float32 and read["scalar"] == 2
    np.testing.assert_array_equal(read["named"][3]["x"], 1)
    np.testing.assert_array_equal(read["twice"][1], np.arange(4.0))


@pytest.mark.parametrize("protocol", range(6))
def test_plain_data_of_every_protocol(tmp_path: Path, protocol: int):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(content(), protocol))
    check(read_pickle(path))


@pytest.mark.parametrize("pack", [0, 3, ("gzip", 3), ("bz2", 3), ("lzma", 3), ("xz", 3), ("lz4", 3)])
def test_joblib_files(tmp_path: Path, pack: object):
    joblib = pytest.importorskip("joblib")
    if isinstance(pack, tuple) and pack[0] == "lz4":
        pytest.importorskip("lz4")
    joblib.dump(content(), tmp_path / "a.pkl", compress=pack)
    check(read_pickle(tmp_path / "a.pkl"))


def test_text_of_python_two_is_read_as_text(tmp_path: Path):
    (tmp_path / "a.pkl").write_bytes(python_two({"poses": [np.arange(3.0)], "genders": ["m", "f"]}))
    read = read_pickle(tmp_path / "a.pkl")
    np.testing.assert_array_equal(read["poses"][0], [0, 1, 2])
    assert read["genders"] == ["m", "f"]


class Runs:
    """A pickle of it calls a function when it is loaded."""

    def __init__(self, function, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def attacks(sentinel: str) -> dict[str, bytes]:
    command = f"touch {sentinel}"
    code = f"open({sentinel!r}, 'w')"
    module = b"cbuiltins\ngetattr\n(cbuiltins\n__import__\n(S'os'\ntRS'system'\ntR(S'" + command.encode() + b"'\ntR."
    return {
        "system": pickle.dumps(Runs(os.system, command)),
        "system, protocol 0": pickle.dumps(Runs(os.system, command), 0),
        "eval": pickle.dumps([np.zeros(3), {"a": Runs(eval, code)}]),
        "exec": pickle.dumps(Runs(exec, code), 2),
        "getattr of an import": module,
        "old instance": b"(cos\nsystem\nS'" + command.encode() + b"'\no.",
        "old class": b"(S'" + command.encode() + b"'\nios\nsystem\n.",
        "stack global": b"\x80\x04\x8c\x02os\x8c\x06system\x93T"
        + struct.pack("<i", len(command))
        + command.encode()
        + b"\x85R.",
        "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x11ndarray.__class__\x93.",
        "extension": b"\x80\x02\x82\x01.",
        "persistent": b"Pwhatever\n.",
        "function's attributes": b"\x80\x02cnumpy\ndtype\n}X\x04\x00\x00\x00makeK\x01sb.",
        "new object": b"\x80\x02cnumpy\nndarray\nK\x03\x85\x81.",
        "call of data": b"\x80\x02K\x01K\x02\x85R.",
        "bare function": b"cos\nsystem\n.",
    }


@pytest.mark.parametrize("name", attacks("x"))
def test_nothing_runs(tmp_path: Path, name: str):
    sentinel = tmp_path / "ran"
    path = tmp_path / "a.pkl"
    path.write_bytes(attacks(str(sentinel))[name])
    with pytest.raises(InputError) as caught:
        read_pickle(path)
    assert not sentinel.exists()
    assert caught.value.where == str(path)


@pytest.mark.parametrize("name", ["system", "eval", "exec", "getattr of an import", "old class", "stack global"])
def test_the_attacks_are_real(tmp_path: Path, name: str):
    """The standard unpickler falls for them."""
    sentinel = tmp_path / "ran"
    pickle.loads(attacks(str(sentinel))[name])
    assert sentinel.exists()


def test_what_is_refused_is_named(tmp_path: Path):
    path = tmp_path / "a.pkl"
    for value, words in [
        (Runs(os.system, "true"), "system"),
        (Runs(eval, "1"), "builtins.eval"),
        (torch.zeros(2), "torch"),
        (np.array([{}, None], dtype=object), "'O8'"),
        (np.zeros(2, dtype=[("a", "f4")]), "plain numbers"),
        ({"p": Path("a")}, "pathlib"),
    ]:
        path.write_bytes(pickle.dumps(value))
        with pytest.raises(InputError, match=words) as caught:
            read_pickle(path)
        assert caught.value.fix


def test_object_arrays_of_joblib_are_refused(tmp_path: Path):
    joblib = pytest.importorskip("joblib")
    joblib.dump(np.array([{}, None], dtype=object), tmp_path / "a.pkl")
    with pytest.raises(InputError, match="plain numbers"):
        read_pickle(tmp_path / "a.pkl")


def test_deep_nesting_does_not_crash(tmp_path: Path):
    path = tmp_path / "a.pkl"
    path.write_bytes(b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".")
    deep = read_pickle(path)
    assert isinstance(deep[0][0], list)
    # a tuple of tuples as a key would be hashed in C without end
    path.write_bytes(b"\x80\x02})" + b"\x85" * 200_000 + b"K\x01s.")
    with pytest.raises(InputError, match="key"):
        read_pickle(path)


@pytest.mark.parametrize("keep", [0, 1, 10, 40, 200, -1])
def test_truncated_files(tmp_path: Path, keep: int):
    whole = pickle.dumps(content(), 4)
    for name, raw in (("plain", whole), ("packed", zlib.compress(whole)), ("gzip", gzip.compress(whole))):
        (tmp_path / name).write_bytes(raw[:keep])
        with pytest.raises(InputError):
            read_pickle(tmp_path / name)


def test_every_cut_and_many_flips_raise_only_input_errors(tmp_path: Path):
    whole = bytearray(pickle.dumps({"a": np.arange(3.0), "b": [1, "x"]}, 4))
    rng, path = np.random.default_rng(0), tmp_path / "a.pkl"
    for _ in range(400):
        broken = whole.copy()
        broken[rng.integers(len(broken))] = rng.integers(256)
        path.write_bytes(broken[: rng.integers(len(broken) // 2, len(broken) + 1)])
        try:
            read_pickle(path)
        except InputError:
            pass


@pytest.mark.parametrize(
    "claim",
    [
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 60) + b"abc.",  # byte array
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b"abc.",  # bytes
        b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"abc.",  # frame
        b"\x80\x02\x8b" + struct.pack("<i", 1 << 30) + b"abc.",  # integer
        b"\x80\x02T" + struct.pack("<i", -5) + b"abc.",  # text of negative length
    ],
)
def test_lengths_are_not_believed(tmp_path: Path, claim: bytes):
    (tmp_path / "a.pkl").write_bytes(claim)
    with pytest.raises(InputError):
        read_pickle(tmp_path / "a.pkl")


def test_shapes_are_not_believed(tmp_path: Path):
    joblib = pytest.importorskip("joblib")
    path = tmp_path / "a.pkl"
    joblib.dump(np.zeros((2, 3), np.float32), path)
    raw = path.read_bytes()
    assert raw.count(b"K\x02K\x03\x86") == 1
    path.write_bytes(raw.replace(b"K\x02K\x03\x86", b"K\x02J\xff\xff\xff\x7f\x86"))
    with pytest.raises(InputError):
        read_pickle(path)


def test_a_bomb_is_not_unpacked(tmp_path: Path):
    path = tmp_path / "a.pkl"
    path.write_bytes(zlib.compress(b"\x80\x02" + b"0" * (80 << 20), 9))
    assert path.stat().st_size < 100_000
    with pytest.raises(InputError, match="too large"):
        read_pickle(path)


def test_missing_file(tmp_path: Path):
    with pytest.raises(InputError, match="no such file"):
        read_pickle(tmp_path / "a.pkl")
