"""What a pickle may hold: numpy's constructors without their powers, and the checks of the finished data."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

#: Data with every repetition counted may be this many times the file.
MAX_GROWTH = 8

#: Where the stack machine has set a mark.
MARK = object()
_NUMERIC = re.compile(r"[<>|=]?([?]|[biufc][0-9]{1,2})")


class RefusedError(Exception):
    """Why a pickle is not taken."""


class UnfinishedType:
    """``numpy.dtype`` of a number; its byte order arrives later by BUILD."""

    def __init__(self, code: Any, *flags: Any) -> None:
        if not isinstance(code, str) or not _NUMERIC.fullmatch(code):
            raise RefusedError(f"an array of type {code!r} is not numeric")
        self.dtype = np.dtype(code)

    def build(self, state: Any) -> None:
        """Take the byte order."""
        if not (isinstance(state, tuple) and len(state) >= 5 and state[1] in ("<", ">", "|", "=")):
            raise RefusedError("it has a malformed array type")
        if state[2:5] != (None, None, None):
            raise RefusedError("structured arrays are not data of this kind")
        self.dtype = self.dtype.newbyteorder(state[1])


class UnfinishedArray:
    """``numpy.ndarray``, empty until its state arrives by BUILD."""

    value: np.ndarray | None = None

    def build(self, state: Any) -> None:
        """Make the array from its bytes."""
        if not (isinstance(state, tuple) and len(state) == 5):
            raise RefusedError("it has a malformed array")
        _, shape, dtype, fortran, data = state
        self.value = _array(data, dtype, shape, "F" if fortran else "C")


class Constructor:
    """A name that a pickle may mention, with what we do instead of calling it."""

    def __init__(self, make: Callable[..., Any], name: str = "") -> None:
        self.make, self.name = make, name


def _array(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    if isinstance(data, str):  # pickles of Python 2
        data = data.encode("latin1")
    if not isinstance(dtype, UnfinishedType) or not isinstance(data, bytes) or not isinstance(shape, tuple):
        raise RefusedError("it has a malformed array")
    if not all(isinstance(n, int) and n >= 0 for n in shape) or order not in ("C", "F"):
        raise RefusedError("it has a malformed array")
    return np.frombuffer(data, dtype=dtype.dtype).reshape(shape, order=order)


def _scalar(dtype: Any, data: Any) -> Any:
    return _array(data, dtype, (1,), "C")[0]


def _no_bytes() -> bytes:
    """Empty bytes, as protocols up to 2 write them."""
    return b""


def _encode(text: Any, codec: Any = "latin1") -> bytes:
    if not isinstance(text, str) or codec != "latin1":
        raise RefusedError("it has malformed bytes")
    return text.encode("latin1")


def _reconstruct(kind: Any, shape: Any = (0,), code: Any = b"b") -> UnfinishedArray:
    if kind is not _NDARRAY:
        raise RefusedError("it rebuilds something that is not a plain array")
    return UnfinishedArray()


def _no_call(*arguments: Any) -> Any:
    raise RefusedError("it calls numpy.ndarray directly")


_NDARRAY = Constructor(_no_call)
KNOWN: dict[str, Constructor] = {
    "numpy ndarray": _NDARRAY,
    "numpy dtype": Constructor(UnfinishedType),
    "_codecs encode": Constructor(_encode),
    "__builtin__ bytes": Constructor(_no_bytes),
    **{
        f"numpy.{core}.{name}": Constructor(make)
        for core in ("core", "_core")
        for name, make in (
            ("multiarray _reconstruct", _reconstruct),
            ("multiarray scalar", _scalar),
            ("numeric _frombuffer", _array),
        )
    },
}


def finished(root: Any) -> Any:
    """Replace arrays under construction by arrays, in place, without recursion."""

    def value(item: Any) -> Any:
        if isinstance(item, UnfinishedArray):
            if item.value is None:
                raise RefusedError("it has an array without contents")
            return item.value
        if item is MARK or isinstance(item, (UnfinishedType, Constructor)):
            raise RefusedError("it holds something that is not data")
        return item

    root = value(root)
    seen: set[int] = set()
    todo = [root]
    while todo:
        item = todo.pop()
        if id(item) in seen or not isinstance(item, (list, dict, tuple)):
            continue
        seen.add(id(item))
        if isinstance(item, list):
            item[:] = [value(child) for child in item]
            todo.extend(item)
        elif isinstance(item, dict):
            for key in item:
                item[key] = value(item[key])
            todo.extend(item.values())
        elif any(isinstance(child, (UnfinishedArray, UnfinishedType, Constructor)) for child in item):
            raise RefusedError("it has an array inside a tuple")
        else:
            todo.extend(item)
    return root


def check_size(root: Any, size: int) -> None:
    """Refuse what grows when it is walked through: lists that hold one list in many places."""
    limit = MAX_GROWTH * (size + 4096)
    weights: dict[int, int] = {}
    open_: set[int] = set()
    todo = [(root, False)]
    while todo:
        item, entered = todo.pop()
        children = item.values() if isinstance(item, dict) else item
        if entered:
            open_.discard(id(item))
            weights[id(item)] = 1 + sum(_weight(child, weights) for child in children)
            if weights[id(item)] > limit:
                raise RefusedError("it holds one list in very many places")
        elif isinstance(item, (list, dict, tuple)) and id(item) not in weights:
            if id(item) in open_:
                continue  # it holds itself: whoever walks there sees one step only
            open_.add(id(item))
            todo.append((item, True))
            todo.extend((child, False) for child in children if isinstance(child, (list, dict, tuple)))


def _weight(item: Any, weights: dict[int, int]) -> int:
    if isinstance(item, (list, dict, tuple)):
        return weights.get(id(item), 1)
    return int(item.nbytes) if isinstance(item, np.ndarray) else 1
