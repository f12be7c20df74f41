"""Pickles of strangers, read without running what they hold.

In: a pickle of any protocol (Python 2 too) or a joblib file, plain or compressed (zlib, gzip, bz2, lzma, xz; lz4 with
the package `lz4`). Out: numpy arrays and scalars of numbers, truth values and text; dict, list, tuple, set, str,
bytes, numbers, None. Text of Python 2 is read as latin-1.
Everything else is refused by name. Only known opcodes are obeyed, names stand for functions of this file and never for
what they import, and no length in the file is believed before the bytes are there.
"""

from __future__ import annotations

import bz2
import io
import lzma
import math
import pickle
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np

from unimo.errors import InputError, MissingAssetError

_LARGEST = 4 << 30
_ROOMY = 64 << 20
_MOST_PACKED = 100
_FIX = "on a machine where the file is trusted, load it and save plain numpy arrays"
_NUMPY_DTYPE = re.compile(r"([?biufcSU])(\d{0,6})")
# what a pickle that is cut off or made up makes the reader raise
_DAMAGED = (
    pickle.UnpicklingError, EOFError, LookupError, AttributeError, TypeError, ValueError, OverflowError, MemoryError,
    AssertionError, struct.error, RecursionError,
)  # fmt: skip


def read_pickle(path: str | Path) -> Any:
    """The content of a pickle or joblib file.

    Arrays come as `np.ndarray` (a private subclass: take `np.asarray`), dictionaries of every kind as `dict`.

    Raises:
        InputError: the file is missing, empty, cut off, larger than 4 GiB, or holds something that is not plain data.
        MissingAssetError: it is packed with lz4, and that package is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("there is no such file", str(path), "check the path")
    try:
        return _Reader(_unpacked(path)).load()
    except InputError as error:
        raise InputError(error.what, str(path), error.fix) from error
    except OSError as error:
        raise InputError(f"it cannot be read ({error})", str(path)) from error
    except _DAMAGED as error:
        what = f"this is no pickle that can be read ({type(error).__name__}: {error})"
        raise InputError(what, str(path), "copy or fetch it anew") from error


def _unpacked(path: Path) -> bytes:
    size = path.stat().st_size
    if size == 0:
        raise InputError("the file is empty (0 bytes)", fix="fetch it anew")
    if size > _LARGEST:
        raise InputError(f"the file is larger than {_LARGEST >> 30} GiB", fix="split it")
    content = path.read_bytes()
    machine = _decompressor(content)
    if machine is None:
        return content
    # a bomb unpacks to thousands of times its size
    limit = min(_LARGEST, _ROOMY + _MOST_PACKED * size)
    try:
        unpacked = machine.decompress(content, limit)
    except (zlib.error, lzma.LZMAError, RuntimeError) as error:
        raise InputError(f"its compressed content is damaged ({error})", fix="copy or fetch it anew") from error
    if not machine.eof:
        raise InputError("its compressed content is cut off, or far too large unpacked", fix="copy or fetch it anew")
    return unpacked


def _decompressor(content: bytes) -> Any:
    if content[:1] == b"\x78" or content[:2] == b"\x1f\x8b":
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    if content[:3] == b"BZh":
        return bz2.BZ2Decompressor()
    if content[:6] == b"\xfd7zXZ\x00" or content[:2] == b"\x5d\x00":
        return lzma.LZMADecompressor()
    if content[:4] == b"\x04\x22\x4d\x18":
        try:
            from lz4.frame import LZ4FrameDecompressor  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise MissingAssetError("the file is packed with lz4", fix='pip install "unimo[importers]"') from error
        return LZ4FrameDecompressor()
    return None


class _Name:
    """Something a pickle may name: a constructor of plain data, or (None) a mere mark such as the type `ndarray`."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[..., Any] | None = None) -> None:
        self.make = make


class _Dtype:
    """A numpy dtype under construction: numbers, truth values or text, never objects or records."""

    __slots__ = ("dtype",)

    def __init__(self, code: object, *_: object) -> None:
        if not isinstance(code, str) or not _NUMPY_DTYPE.fullmatch(code):
            raise InputError(f"the pickle holds an array of {code!r}, which is not of plain numbers or text", fix=_FIX)
        self.dtype = np.dtype(code)

    def fill(self, state: Any) -> None:
        _, order, inner, names, fields = state[:5]
        if inner is not None or names is not None or fields is not None:
            raise InputError("the pickle holds an array of records, which is not plain data", fix=_FIX)
        if order in ("<", ">", "="):
            self.dtype = self.dtype.newbyteorder(order)


class _Array(np.ndarray):
    """A numpy array under construction, which its `fill` completes."""

    def fill(self, state: Any) -> None:
        _, shape, dtype, fortran, raw = state[-5:]
        if not isinstance(dtype, _Dtype):
            raise InputError("the pickle holds an array without a plain dtype", fix=_FIX)
        _check_size(shape, dtype.dtype, raw := _bytes_of(raw))
        self.__setstate__((1, shape, dtype.dtype, bool(fortran), bytes(raw)))  # pyright: ignore[reportArgumentType]


class _JoblibArray:
    """joblib's stand-in for an array whose bytes follow in the file."""

    __slots__ = ("state",)

    def fill(self, state: Any) -> None:
        self.state = state

    def read(self, content: io.BytesIO) -> np.ndarray:
        state, dtype = self.state, self.state["dtype"]
        if not isinstance(dtype, _Dtype):
            raise InputError("the pickle holds an array without a plain dtype", fix=_FIX)
        if state.get("numpy_array_alignment_bytes") is not None:
            content.read(content.read(1)[0])
        count = _count(state["shape"]) * dtype.dtype.itemsize
        if count > len(content.getbuffer()) - content.tell():
            raise InputError("an array in the file is cut off", fix="copy or fetch it anew")
        return _from_bytes(content.read(count), dtype, state["shape"], state["order"])


def _count(shape: Any) -> int:
    sizes = shape if type(shape) is tuple and len(shape) <= 32 else (None,)
    if not all(type(size) is int and 0 <= size < 1 << 40 for size in sizes):
        raise InputError("an array in the pickle has no sane shape", fix="copy or fetch it anew")
    return math.prod(shape)


def _check_size(shape: Any, dtype: np.dtype, raw: bytes | bytearray) -> None:
    if _count(shape) * dtype.itemsize != len(raw) or dtype.itemsize == 0:
        raise InputError("an array in the pickle does not have the bytes of its shape", fix="copy or fetch it anew")


def _bytes_of(raw: object) -> bytes | bytearray:
    if isinstance(raw, str):  # Python 2
        return raw.encode("latin1")
    if not isinstance(raw, bytes | bytearray):
        raise InputError("the pickle holds an array of Python objects", fix=_FIX)
    return raw


def _from_bytes(raw: object, dtype: object, shape: Any, order: object = "C") -> np.ndarray:
    if not isinstance(dtype, _Dtype):
        raise InputError("the pickle holds an array without a plain dtype", fix=_FIX)
    _check_size(shape, dtype.dtype, raw := _bytes_of(raw))
    return np.frombuffer(raw, dtype.dtype).reshape(shape, order="F" if order == "F" else "C")


def _scalar(dtype: object, raw: object = b"") -> Any:
    if isinstance(dtype, _Dtype) and dtype.dtype.itemsize == 0:
        return "" if dtype.dtype.kind == "U" else b""
    return _from_bytes(raw, dtype, ())[()]


def _empty_array(*_: object) -> _Array:
    return np.ndarray.__new__(_Array, (0,), "b")


def _encoded(text: object, encoding: object = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1", "iso-8859-1"):
        _refuse("_codecs.encode with another encoding")
    return text.encode("latin1")


def _empty_or_bytes(*arguments: object) -> bytes:
    if not arguments:
        return b""
    return arguments[0] if isinstance(arguments[0], bytes) else _encoded(*arguments[:2])


def _key(key: Any) -> Any:
    """A key of a dictionary or set; nested tuples are refused, for their hash can overflow the stack."""
    parts = key if type(key) is tuple else (key,)
    if not all(part is None or isinstance(part, str | bytes | int | float | np.generic) for part in parts):
        raise InputError(f"the pickle has a key of type {type(key).__name__}, which is not plain", fix=_FIX)
    return key


def _ordered(pairs: Any = ()) -> dict:
    return {_key(key): value for key, value in pairs}


def _set(items: Any = ()) -> set:
    return {_key(item) for item in items}


def _refuse(name: str) -> NoReturn:
    what = f"the pickle asks for {name}, which is never loaded: pickles can run code"
    raise InputError(what + "; only numpy arrays and plain containers are read", fix=_FIX)


_NDARRAY, _JOBLIB = _Name(), _Name()
_ALLOWED = MappingProxyType(
    {
        "numpy.ndarray": _NDARRAY,
        "numpy.dtype": _Name(_Dtype),
        "numpy.core.multiarray._reconstruct": _Name(_empty_array),
        "numpy.core.multiarray.scalar": _Name(_scalar),
        "numpy.core.numeric._frombuffer": _Name(_from_bytes),
        "joblib.numpy_pickle.NumpyArrayWrapper": _JOBLIB,
        "_codecs.encode": _Name(_encoded),
        "collections.OrderedDict": _Name(_ordered),
        "collections.defaultdict": _Name(lambda *factory: {}),
        "builtins.dict": _Name(_ordered),
        "builtins.list": _Name(lambda items=(): items if type(items) is list else list(items)),
        "builtins.set": _Name(_set),
        "builtins.frozenset": _Name(_set),
        "builtins.bytes": _Name(_empty_or_bytes),
        "builtins.bytearray": _Name(_empty_or_bytes),
        # factories of a defaultdict, which is read as a dictionary
        "builtins.int": _Name(),
        "builtins.float": _Name(),
    }
)
_OPCODES = (
    "PROTO FRAME STOP MARK POP POP_MARK DUP NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT "
    "BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES "
    "BINBYTES8 EMPTY_LIST LIST EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT EMPTY_SET "
    "GET BINGET LONG_BINGET PUT BINPUT LONG_BINPUT MEMOIZE GLOBAL STACK_GLOBAL"
).split()


class _Reader(pickle._Unpickler):
    """The pickle machine of the standard library (the one in Python, which can be cut down) with plain data only."""

    # what the base class makes, and its type stubs do not know
    stack: list[Any]
    read: Callable[[int], bytes]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)
        super().__init__(self._content, encoding="latin1")

    def find_class(self, module: str, name: str) -> _Name:
        # numpy 2 moved its core, Python 3 the built-ins
        known = f"{module}.{name}".replace("numpy._core.", "numpy.core.", 1)
        known = re.sub(r"^__builtin__\.", "builtins.", known)
        if known not in _ALLOWED:
            _refuse(f"{module}.{name}")
        return _ALLOWED[known]

    def _reduce(self) -> None:
        arguments, name = self.stack.pop(), self.stack[-1]
        if not isinstance(name, _Name) or name.make is None or type(arguments) is not tuple:
            _refuse("a call of something that is no constructor of plain data")
        self.stack[-1] = name.make(*arguments)

    def _new_object(self) -> None:
        arguments, name = self.stack.pop(), self.stack[-1]
        if name is not _JOBLIB or arguments != ():
            _refuse("an object that is not plain data")
        self.stack[-1] = _JoblibArray()

    def _build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if not isinstance(target, _Array | _Dtype | _JoblibArray):
            _refuse("a change of something that is plain data already")
        target.fill(state)
        if isinstance(target, _JoblibArray):
            self.stack[-1] = target.read(self._content)

    def _byte_array(self) -> None:
        (length,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(min(length, len(self._content.getbuffer())))))

    def _append(self) -> None:
        item = self.stack.pop()
        self._the(list).append(item)

    def _appends(self) -> None:
        items = self.pop_mark()
        self._the(list).extend(items)

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._the(dict)[_key(key)] = value

    def _set_items(self) -> None:
        items = self.pop_mark()
        self._the(dict).update({_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)})

    def _dict(self) -> None:
        items = self.pop_mark()
        self.append({_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)})

    def _add_items(self) -> None:
        items = self.pop_mark()
        self._the(set).update(map(_key, items))

    def _frozen_set(self) -> None:
        self.append(_set(self.pop_mark()))

    def _the(self, kind: type) -> Any:
        top = self.stack[-1]
        if type(top) is not kind:
            _refuse(f"a change of a {type(top).__name__} as if it were a {kind.__name__}")
        return top

    dispatch = {  # pyright: ignore[reportAssignmentType]
        **{getattr(pickle, name)[0]: pickle._Unpickler.dispatch[getattr(pickle, name)[0]] for name in _OPCODES},
        pickle.REDUCE[0]: _reduce,
        pickle.NEWOBJ[0]: _new_object,
        pickle.BUILD[0]: _build,
        pickle.BYTEARRAY8[0]: _byte_array,
        pickle.APPEND[0]: _append,
        pickle.APPENDS[0]: _appends,
        pickle.SETITEM[0]: _set_item,
        pickle.SETITEMS[0]: _set_items,
        pickle.DICT[0]: _dict,
        pickle.ADDITEMS[0]: _add_items,
        pickle.FROZENSET[0]: _frozen_set,
    }
