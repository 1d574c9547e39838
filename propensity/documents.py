"""Reading JSON and YAML from strangers: plain values of bounded size and depth, or one sentence."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from propensity.errors import DataError, PropensityError
from propensity.files import regular

#: Cards and configurations have kilobytes; split files of large data sets some megabytes.
MAX_BYTES = 64 * 2**20
MAX_DEPTH = 64
#: Aliases let a small YAML file stand for a huge tree.
MAX_ALIASES = 1000
#: Each merge key may double what it merges.
MAX_MERGED = 8
#: Longest word of YAML without quotes; numbers of more digits take quadratic time.
MAX_PLAIN = 4096
#: YAML's own parser is slow: what configurations never reach, it need not read.
MAX_YAML_BYTES = 2**20
#: Strings, which may hold brackets, and brackets outside them.
_BRACKETS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)


def read_json(path: str | os.PathLike[str], what: str, error: type[PropensityError] = DataError) -> Any:
    """Value of a JSON file.

    Parameters
    ----------
    path
        The file.
    what
        What it should be, as the error calls it: ``"model card"``.
    error
        Class of the error.

    Raises
    ------
    FileNotFoundError
        When there is none.
    DataError
        Or ``error``: when it is damaged, too large, too deep, or not UTF-8.
    """
    try:
        return parse_json(_text(path, MAX_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(str(path)) from None
    except (OSError, ValueError, RecursionError, MemoryError) as trouble:
        raise error(f"{path} is not a readable {what} ({_reason(trouble)}).") from None


def parse_json(text: str | bytes) -> Any:
    """Value of a JSON text; a ValueError for anything wrong with it, nesting deeper than 64 included."""
    if isinstance(text, bytes):
        text = text.decode("utf-8-sig")
    _check_depth(text)
    return json.loads(text)


def read_yaml(path: str | os.PathLike[str], error: type[PropensityError] = DataError) -> Any:
    """Value of a YAML file of plain values.

    Raises
    ------
    DataError
        Or ``error``: when it can't be read, is damaged, too large, too deep or all aliases.
    """
    import yaml

    try:
        text = _text(path, MAX_YAML_BYTES)
        depth = aliases = merges = 0
        # Events are counted before anything is built of them.
        for event in yaml.parse(text, Loader=_loader()):
            if isinstance(event, yaml.ScalarEvent) and event.style in (None, ""):  # without quotes
                merges += event.value == "<<"
                if len(event.value) > MAX_PLAIN:
                    raise ValueError(f"it has a value of {len(event.value)} characters without quotes")
            if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                depth += 1
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                depth -= 1
            elif isinstance(event, yaml.AliasEvent):
                aliases += 1
            if depth > MAX_DEPTH or aliases > (MAX_MERGED if merges else MAX_ALIASES):
                raise ValueError(f"it is nested deeper than {MAX_DEPTH} or repeats itself endlessly")
        value = yaml.load(text, Loader=_loader())
        _check_tree(value)
        return value
    except OSError as trouble:
        raise error(f"{path} can't be read ({trouble.strerror or trouble}).") from None
    except PropensityError as trouble:
        raise error(str(trouble)) from None
    except Exception as trouble:  # numbers, dates and tags each raise their own
        raise error(f"{path} is not YAML: {_reason(trouble)}.") from None


def _loader() -> Any:
    """The compiled loader where there is one; both know plain values only."""
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _check_tree(value: Any) -> None:
    """Refuse trees that aliases have made huge or circular."""
    todo, seen = [(value, 0)], 0
    while todo:
        item, depth = todo.pop()
        seen += 1
        if seen > MAX_YAML_BYTES or depth > MAX_DEPTH:
            raise ValueError("its aliases stand for an endless tree")
        if isinstance(item, dict):
            todo += [(child, depth + 1) for pair in item.items() for child in pair]
        elif isinstance(item, (list, tuple, set)):
            todo += [(child, depth + 1) for child in item]


def _check_depth(text: str) -> None:
    """Count brackets outside strings: Python's parser recurses into them."""
    depth = 0
    for found in _BRACKETS.finditer(text):
        if found[0] in ("[", "{"):
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError(f"it is nested deeper than {MAX_DEPTH}")
        elif found[0] in ("]", "}"):
            depth -= 1


def _text(path: str | os.PathLike[str], limit: int) -> str:
    size = regular(path).stat().st_size
    if size > limit:
        raise ValueError(f"it has {size / 2**20:.1f} MiB, more than {limit / 2**20:g}")
    return Path(path).read_text("utf-8-sig")


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8 text"
    return " ".join(str(error).split())[:160].rstrip(".") or type(error).__name__
