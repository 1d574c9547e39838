"""What a worker of a cluster does with a call: see that it can, do it, and stop when nobody waits any more.

The scheduler and workers that lack the package see only bytes and one function that travels by value.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from propensity.errors import PropensityError
from propensity.version import __version__
from propensity.workers.processes import stop_thread

#: Tells the versions of what the work needs, or raises a PropensityError where something is absent.
Check = Callable[[], str]

#: Seconds between looks whether the result is still wanted.
_LOOK = 0.5


def pack_call(check: Check, expected: str | None, function: Callable[..., Any], *arguments: Any) -> bytes:
    """A call as bytes, to be made where ``check`` gives what is ``expected`` (None: whatever it gives)."""
    return pickle.dumps((pickle.dumps(check), expected, function, arguments))


def by_value() -> Callable[[bytes, str], tuple[str, Any]]:
    """Function that a worker runs; nested, so that it is pickled by value and needs no package there."""

    def attempt(call: bytes, version: str) -> tuple[str, Any]:
        try:
            import propensity.version
        except ImportError as error:
            return "unfit", f"lacks the package ({error})"
        found = propensity.version.__version__
        if found != version:
            return "unfit", f"has propensity {found} and not {version}"
        try:
            from propensity.workers.remote import perform
        except ImportError as error:
            return "unfit", f"can't import the package ({error})"
        return perform(call)

    return attempt


def perform(call: bytes) -> tuple[str, Any]:
    """Make a packed call: ("done", pickled result), ("failed", error) or ("unfit", what is lacking here)."""
    try:
        check, expected, function, arguments = pickle.loads(call)
        found = _checked(check)
    except (ImportError, AttributeError) as error:
        return "unfit", f"can't import what the work needs ({error})"
    except PropensityError as error:
        return "unfit", str(error)
    if expected is not None and found != expected:
        return "unfit", f"has {found} and not {expected}"
    try:
        with _stopping_when_unwanted():
            return "done", pickle.dumps(function(*arguments))
    except PropensityError as error:
        return "failed", error
    except Exception as error:  # it may be of a class that the other side can't unpickle
        return "failed", PropensityError(f"a worker failed ({type(error).__name__}: {_one_line(error)}).")


@lru_cache(maxsize=8)
def _checked(check: bytes) -> str:
    """What a pickled check gives, asked once a process."""
    return str(pickle.loads(check)())


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


class _stopping_when_unwanted:
    """Within it, a task that Dask has let go of (its client is gone) is stopped."""

    def __enter__(self) -> None:
        self._over = threading.Event()
        try:
            from distributed import get_worker

            worker: Any = get_worker()
            key = worker.get_current_task()
        except (ImportError, ValueError, AttributeError):
            return  # not in a worker
        thread = threading.get_ident()
        threading.Thread(target=self._watch, args=(worker, key, thread), daemon=True).start()

    def _watch(self, worker: Any, key: str, thread: int) -> None:
        while not self._over.wait(_LOOK):
            task = worker.state.tasks.get(key)
            if task is None or task.state == "cancelled":
                stop_thread(thread)
                return

    def __exit__(self, *error: object) -> None:
        self._over.set()


def package_version() -> str:
    """Check of work that needs the package alone."""
    return f"propensity {__version__}"
