"""Errors and warnings that a user can act on: each message is one sentence that names the fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

#: Characters of a message.
LONGEST = 1600


class PropensityError(Exception):
    """Any error caused by input or surroundings rather than by a defect; the CLI prints it as one line."""

    def __init__(self, *arguments: object) -> None:
        if arguments and isinstance(arguments[0], str):
            # Input that is quoted may be of any length.
            text = " ".join(arguments[0].splitlines())
            short = text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} … {text[-LONGEST // 4 :]}"
            arguments = (short, *arguments[1:])
        super().__init__(*arguments)


class InputError(PropensityError, ValueError):
    """A value that can't be used: bad positions, unknown species, an option out of range."""


class DataError(PropensityError, ValueError):
    """A file that can't be read as what it should be."""


class MissingDependencyError(PropensityError, ImportError):
    """An optional package is needed and absent; the message says what to install."""


class PropensityWarning(UserWarning):
    """Something works but may mislead: a liquid far from the training data, an untrained species."""


def suggest(name: object, allowed: Iterable[object]) -> str:
    """Return ``"; the nearest is 'x'"`` for a name that is close to an allowed one, or an empty string.

    Parameters
    ----------
    name
        What was given.
    allowed
        What could have been given.

    Returns
    -------
    str
        To be appended to a message.
    """
    close = difflib.get_close_matches(str(name), [str(a) for a in allowed], n=1)
    return f"; the nearest is {close[0]!r}" if close else ""
