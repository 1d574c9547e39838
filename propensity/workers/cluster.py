"""A Dask cluster: workers come and go, some lack what the work needs; the user is told what is waited for.

Calls go to the workers that can make them.  Who can't is named once and not used.
"""

from __future__ import annotations

import pickle
import queue
import time
from collections import defaultdict
from collections.abc import Callable, Collection
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from propensity.errors import MissingDependencyError, PropensityError
from propensity.version import __version__
from propensity.workers import remote
from propensity.workers.pool import WAIT, Pool

#: Seconds without a worker after which the user is told, and between looks at the cluster.
PATIENCE, LOOK = 10.0, 1.0
#: Seconds that others have to answer after the first who can work.
GRACE = 3.0
#: Calls in flight at the least: clusters that grow with their queue start empty.
LEAST = 64


@dataclass(eq=False)
class _Call:
    packed: Callable[[], bytes]
    result: Future[Any]
    remote: Any = None
    pinned: frozenset[str] = frozenset()


@dataclass
class _Members:
    """Workers of the cluster by address: threads of all, who has shown that it can work, and who can't."""

    threads: dict[str, int] = field(default_factory=dict)
    fit: set[str] = field(default_factory=set)
    unfit: dict[str, str] = field(default_factory=dict)

    @property
    def usable(self) -> list[str]:
        """Workers of which nothing bad is known."""
        return [address for address in self.threads if address not in self.unfit]


class ClusterPool(Pool):
    """Calls on the workers of a Dask cluster.

    Parameters
    ----------
    scheduler
        Its address, or an open ``distributed.Client``, which stays open.
    check
        Tells on a worker the versions of what the work needs; workers must agree with each other.
    once_a_process
        Whether a worker makes one call at a time, however many threads it has.
    wait
        Seconds to wait for a worker that can work.
    say
        Told what is waited for and who can't be used.
    """

    def __init__(
        self,
        scheduler: Any,
        check: remote.Check = remote.package_version,
        *,
        once_a_process: bool = False,
        wait: float = WAIT,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._client, self._own = _connect(scheduler)
        self.address = str(self._client.scheduler.address)
        self._check, self._once, self._patience, self.say = check, once_a_process, wait, say
        self.versions: str | None = None
        self._members = _Members()
        self._calls: set[_Call] = set()
        self._over: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        self._attempt = remote.by_value()
        self._looked = self._worked = self._told = time.monotonic()
        try:
            self._wait_for_a_worker()
        except BaseException:
            self.close()
            raise

    @property
    def name(self) -> str:  # type: ignore[override]
        """The cluster and how many calls it makes at once."""
        return f"Dask at {self.address} ({self.at_once()} at once)"

    def at_once(self) -> int:
        """Calls made at once by the workers there are now."""
        self._look()
        usable = self._members.usable
        return max(1, len(usable) if self._once else sum(self._members.threads[a] for a in usable))

    def slots(self) -> int:
        """Calls to have in flight now."""
        return max(2 * self.at_once(), LEAST)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """See :class:`propensity.workers.pool.Pool`."""
        return self._send(
            _Call(lambda: remote.pack_call(self._check, self.versions, function, *arguments), Future())
        )

    def wait(self, futures: Collection[Future[Any]]) -> set[Future[Any]]:
        """See :class:`propensity.workers.pool.Pool`."""
        while futures and not any(future.done() for future in futures):
            try:
                self._take(self._over.get(timeout=LOOK))
            except queue.Empty:
                self._look()
        return {future for future in futures if future.done()}

    def close(self) -> None:
        """Let go of every call and of the client, unless it was given."""
        for call in self._calls:
            call.result.cancel()
        try:
            if self._calls and self._client.status == "running":
                self._client.cancel([call.remote for call in self._calls], force=True)
        except Exception:  # the scheduler may be gone, which cancels them as well
            pass
        self._calls.clear()
        if self._own:
            self._client.close(timeout=5)

    def _send(self, call: _Call) -> Future[Any]:
        # Named only where some can't work, so that others may take over and a cluster may grow.
        usable = self._members.usable if self._members.unfit else []
        call.pinned = frozenset(usable)
        call.remote = self._client.submit(
            self._attempt, call.packed(), __version__, workers=usable or None, pure=False
        )
        self._calls.add(call)
        call.remote.add_done_callback(lambda _: self._over.put(call))
        return call.result

    def _take(self, call: _Call) -> None:
        """Hand on what a call gave, or send it to another worker."""
        if call not in self._calls or not call.remote.done():
            return
        self._calls.discard(call)
        who = self._worker_of(call)
        try:
            outcome, value = call.remote.result(timeout=60)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # cancelled calls raise what is no Exception
            self._give(call, error=self._lost(error))
            return
        self._worked = time.monotonic()
        if outcome == "unfit":
            self._refuse(who, value)
            self._send(call)
            return
        self._members.fit.add(who)
        if outcome == "failed":
            self._give(call, error=value)
        else:
            self._give(call, pickle.loads(value))

    @staticmethod
    def _give(call: _Call, value: Any = None, error: BaseException | None = None) -> None:
        if not call.result.set_running_or_notify_cancel():
            return
        if error is None:
            call.result.set_result(value)
        else:
            call.result.set_exception(error)

    def _worker_of(self, call: _Call) -> str:
        if len(call.pinned) == 1:
            return next(iter(call.pinned))
        try:
            holders = self._client.who_has([call.remote])
            return str(next(iter(holders[call.remote.key])))
        except Exception:  # gone with its worker
            return ""

    def _refuse(self, address: str, reason: str) -> None:
        if address not in self._members.unfit:
            self._members.unfit[address] = reason
            self.say(f"worker {address} is not used: it {reason}")

    def _lost(self, error: BaseException) -> PropensityError:
        """One sentence for a call that never came back."""
        kind = type(error).__name__
        if kind == "KilledWorker":
            return PropensityError(
                "workers died one after another at the same piece (out of memory, or a crash): give them more"
                " memory; what finished is kept, and the same command goes on from it."
            )
        if kind in ("CancelledError", "FutureCancelledError", "CommClosedError", "TimeoutError"):
            return PropensityError(
                f"the Dask scheduler at {self.address} is gone: start it again; what finished is kept, and"
                " the same command goes on from it."
            )
        return PropensityError(f"a worker failed ({kind}: {' '.join(str(error).split())[:300]}).")

    def _look(self) -> None:
        """See who is there, at most once in ``LOOK`` seconds, and act on who has gone."""
        if time.monotonic() - self._looked < LOOK and self._members.threads:
            return
        self._looked = time.monotonic()
        if self._client.status not in ("running", "connecting"):
            raise self._lost(TimeoutError())
        try:
            self._members.threads = dict(self._client.nthreads())
        except (OSError, TimeoutError):
            self._members.threads = {}
        here = set(self._members.threads)
        self._members.fit &= here
        for address in set(self._members.unfit) - here:
            del self._members.unfit[address]
        usable = set(self._members.usable)
        for call in [c for c in self._calls if c.pinned and usable and not c.pinned & usable]:
            self._calls.discard(call)
            self._client.cancel([call.remote], force=True)
            self._send(call)
        if usable:
            self._worked = time.monotonic()
            return
        self._tell_what_is_waited_for(self._worked)

    def _tell_what_is_waited_for(self, since: float) -> None:
        now = time.monotonic()
        if now - since > self._patience:
            raise PropensityError(f"{self._missing()}; waited {self._patience:g} s: what finished is kept.")
        if now - since >= PATIENCE and now - self._told >= PATIENCE:
            self._told = now
            left = self._patience - (now - since)
            self.say(f"waiting: {self._missing()} (giving up in {left:.0f} s, --wait sets it)")

    def _missing(self) -> str:
        """Why nothing can be done, worker by worker."""
        threads, unfit = self._members.threads, self._members.unfit
        if not threads:
            return f"no worker is connected to the Dask scheduler at {self.address}"
        silent = [a for a in threads if a not in unfit and a not in self._members.fit]
        reasons = [f"{address} {reason}" for address, reason in unfit.items()]
        reasons += [f"{address} is busy with other work or does not answer" for address in silent]
        return f"no worker of the Dask scheduler at {self.address} can work: {'; '.join(reasons)}"

    def _wait_for_a_worker(self) -> None:
        """Ask every worker what it has, until one can work; the versions of most are those used."""
        begin, first = time.monotonic(), None
        answers: defaultdict[str, set[str]] = defaultdict(set)
        asked: set[str] = set()
        anybody = _Call(lambda: remote.pack_call(self._check, None, self._check), Future())
        while True:
            self._members.threads = dict(self._client.nthreads())
            for address in set(self._members.threads) - asked:
                asked.add(address)
                self._ask(address)
            if not self._members.threads and anybody.remote is None:
                # A cluster that grows with its queue needs something in it.
                self._send(anybody)
            try:
                call = self._over.get(timeout=0.2)
            except queue.Empty:
                call = None
            if call is not None:
                self._take(call)
                if call.result.done() and call.result.exception() is None:
                    answers[call.result.result()].update(call.pinned)
                    first = first or time.monotonic()
            everybody = not self._calls - {anybody}
            if first is not None and (everybody or time.monotonic() - first > GRACE):
                break
            if first is None:
                self._tell_what_is_waited_for(begin)
        self.versions = max(answers, key=lambda found: len(answers[found]))
        for found, addresses in answers.items():
            for address in addresses if found != self.versions else ():
                self._refuse(address, f"has {found} and not {self.versions}")
        self._worked = time.monotonic()

    def _ask(self, address: str) -> None:
        call = _Call(lambda: remote.pack_call(self._check, self.versions, self._check), Future())
        call.pinned = frozenset([address])
        call.remote = self._client.submit(
            self._attempt, call.packed(), __version__, workers=[address], pure=False, priority=1000
        )
        self._calls.add(call)
        call.remote.add_done_callback(lambda _: self._over.put(call))


def _connect(scheduler: Any) -> tuple[Any, bool]:
    """Client of a scheduler, and whether it is ours to close."""
    try:
        from distributed import Client
    except ImportError:
        raise MissingDependencyError(
            "--scheduler needs Dask: pip install 'propensity[dask]', here and on the workers."
        ) from None
    if isinstance(scheduler, Client):
        return scheduler, False
    try:
        return Client(scheduler, timeout="15s"), True  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PropensityError(
            f"no Dask scheduler answers at {scheduler} ({reason}): start one with `dask scheduler` and give"
            " its address, such as tcp://host:8786."
        ) from None
