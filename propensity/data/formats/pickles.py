"""Reading pickles from strangers: numbers, plain containers and numeric numpy arrays; nothing is ever
executed.

A pickle is a program for a small stack machine, and Python's unpickler runs it with the power to
call anything importable.  Here the program is only *read*: the few instructions that build data are
followed, arrays are made from their bytes, and every other instruction or name ends in an error.
"""

from __future__ import annotations

import os
import pickletools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from propensity.data.formats.pickled_arrays import (
    KNOWN,
    MARK,
    Constructor,
    RefusedError,
    UnfinishedArray,
    UnfinishedType,
    check_size,
    finished,
)
from propensity.errors import DataError
from propensity.files import regular

#: One structure with 30 runs at 10 times has 0.03 GB; larger files are refused before they are read.
MAX_BYTES = 4 * 2**30
_VALUES = {
    "INT",
    "LONG",
    "LONG1",
    "LONG4",
    "BININT",
    "BININT1",
    "BININT2",
    "FLOAT",
    "BINFLOAT",
    "UNICODE",
    "BINUNICODE",
    "SHORT_BINUNICODE",
    "BINUNICODE8",
    "BINBYTES",
    "SHORT_BINBYTES",
    "BINBYTES8",
    "BYTEARRAY8",
    "STRING",
    "BINSTRING",
    "SHORT_BINSTRING",
}
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
}


def load_pickle(path: str | os.PathLike[str]) -> Any:
    """Load a pickle that holds numbers, strings, plain containers and numeric numpy arrays.

    Raises
    ------
    DataError
        When the file is damaged or holds anything else: a class, a function call, an object array.
    """
    path = Path(path)
    try:
        size = regular(path).stat().st_size
        if size > MAX_BYTES:
            raise DataError(f"{path} has {size / 2**30:.1f} GiB: a pickle of one structure has less than 4.")
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror}).") from None
    return parse_pickle(data, str(path))


def parse_pickle(
    data: bytes,
    source: str = "pickle",
    makers: Mapping[str, Callable[..., Any]] | None = None,
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """Follow the data-building instructions of a pickle.

    Parameters
    ----------
    data
        The pickle.
    source
        Its name in errors.
    makers
        Further names that it may call, as ``"module name"``, and what is called instead.
    persistent
        What stands for a persistent identifier; None refuses them.

    Raises
    ------
    DataError
        See :func:`load_pickle`.
    """
    try:
        return _Machine(makers or {}, persistent).run(data)
    except RefusedError as refused:
        raise DataError(
            f"{source} is not a pickle of plain numpy data: {refused}; nothing in it was executed."
        ) from None
    except (
        ValueError,
        StopIteration,
        IndexError,
        KeyError,
        TypeError,
        OverflowError,
        MemoryError,
        RecursionError,
    ) as error:
        detail = " ".join(str(error).split())[:120] or type(error).__name__
        raise DataError(f"{source} is damaged or not a pickle ({detail}): copy it again.") from None


class _Machine:
    """The pickle stack machine without its dangerous half."""

    def __init__(
        self, makers: Mapping[str, Callable[..., Any]], persistent: Callable[[Any], Any] | None
    ) -> None:
        self.known = {**KNOWN, **{name: Constructor(make, name) for name, make in makers.items()}}
        self.persistent = persistent
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        for opcode, argument, _ in pickletools.genops(data):
            name = opcode.name
            if name == "STOP":
                if len(self.stack) != 1:
                    raise ValueError("stack is not empty at its end")
                root = finished(self.stack[0])
                check_size(root, len(data))
                return root
            if name in _VALUES:
                if isinstance(argument, int) and argument.bit_length() > 512:
                    raise RefusedError("it has an integer of more than 512 bits")
                self.stack.append(bytes(argument) if isinstance(argument, bytearray) else argument)
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name]())
            elif name not in ("PROTO", "FRAME"):
                step = getattr(self, f"_{name.lower()}", None)
                if step is None:
                    raise RefusedError(f"it uses the instruction {name}")
                step(argument)
        raise ValueError("no end")

    def _mark(self, _: None) -> None:
        self.stack.append(MARK)

    def _since_mark(self) -> list[Any]:
        at = next(i for i in range(len(self.stack) - 1, -1, -1) if self.stack[i] is MARK)
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def _pop(self, n: int) -> tuple[Any, ...]:
        if len(self.stack) < n or any(item is MARK for item in self.stack[-n:]):
            raise ValueError("stack underflow")
        items = tuple(self.stack[-n:])
        del self.stack[-n:]
        return items

    def _tuple(self, _: None) -> None:
        self.stack.append(tuple(self._since_mark()))

    def _tuple1(self, _: None) -> None:
        self.stack.append(self._pop(1))

    def _tuple2(self, _: None) -> None:
        self.stack.append(self._pop(2))

    def _tuple3(self, _: None) -> None:
        self.stack.append(self._pop(3))

    def _list(self, _: None) -> None:
        self.stack.append(self._since_mark())

    def _append(self, _: None) -> None:
        self._extend(list(self._pop(1)))

    def _appends(self, _: None) -> None:
        self._extend(self._since_mark())

    def _extend(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise ValueError("append to something that is not a list")
        self.stack[-1].extend(items)

    def _dict(self, _: None) -> None:
        items = self._since_mark()
        self.stack.append({})
        self._update(items)

    def _setitem(self, _: None) -> None:
        self._update(list(self._pop(2)))

    def _setitems(self, _: None) -> None:
        self._update(self._since_mark())

    def _update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise ValueError("set item of something that is not a dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Hashing deeply nested tuples can exhaust the C stack.
            if not isinstance(key, (str, int, float)):
                raise RefusedError(f"it has a dict key of type {type(key).__name__}")
            target[key] = value

    def _binput(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    _put = _long_binput = _binput

    def _memoize(self, _: None) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _binget(self, index: int) -> None:
        self.stack.append(self.memo[index])

    _get = _long_binget = _binget

    def _global(self, name: str) -> None:
        self.stack.append(self._constructor(name))

    def _stack_global(self, _: None) -> None:
        module, name = self._pop(2)
        self.stack.append(self._constructor(f"{module} {name}"))

    def _constructor(self, name: str) -> Constructor:
        try:
            return self.known[name]
        except KeyError:
            raise RefusedError(f"it names {name.replace(' ', '.')[:80]!r}") from None

    def _binpersid(self, _: None) -> None:
        (identifier,) = self._pop(1)
        if self.persistent is None:
            raise RefusedError("it refers to something outside itself")
        self.stack.append(self.persistent(identifier))

    def _reduce(self, _: None) -> None:
        function, arguments = self._pop(2)
        if not isinstance(function, Constructor) or not isinstance(arguments, tuple):
            raise RefusedError("it calls something that is not a constructor of numpy data")
        self.stack.append(function.make(*arguments))

    def _build(self, _: None) -> None:
        (state,) = self._pop(1)
        if isinstance(self.stack[-1], dict):
            return  # attributes of an ordered dict, which ours has not
        if not isinstance(self.stack[-1], (UnfinishedArray, UnfinishedType)):
            raise RefusedError("it sets the state of something that is not an array")
        self.stack[-1].build(state)
