"""Runs before any test imports torch; says which tests work longer than unmarked ones may."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

# Triton decides when it is imported whether its kernels run on a GPU or in its interpreter.
if not os.path.exists("/dev/nvidia0"):
    os.environ.setdefault("TRITON_INTERPRET", "1")

#: Seconds of processor time that a test may take unless it is marked ``slow``.
MAX_WORK = 20.0


def _work() -> float:
    """Processor time of this process and of those it waited for: the same on a machine that others use."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def pytest_configure(config: pytest.Config) -> None:
    """Make a run the same wherever it is started from."""
    # A worker that dies ends the run: xdist would replace it, and then wait for its file for ever.
    if hasattr(config.option, "maxworkerrestart"):
        config.option.maxworkerrestart = 0
    # A shell's background jobs ignore interrupts, and so does all that they start: tests send some.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Start the count before fixtures are made."""
    item.stash[_BEFORE] = _work()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """What a test took goes with its last report, also from another process."""
    try:
        return (yield)
    finally:
        item.user_properties.append(("work", _work() - item.stash.get(_BEFORE, _work())))
        if item.get_closest_marker("slow") or item.get_closest_marker("gpu"):
            item.user_properties.append(("marked", True))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List unmarked tests that should be smaller, or marked."""
    long = []
    for report in terminalreporter.getreports(""):
        known = dict(report.user_properties)
        if report.when == "teardown" and known.get("work", 0) > MAX_WORK and not known.get("marked"):
            long.append((known["work"], report.nodeid))
    if long:
        terminalreporter.section(f"more than {MAX_WORK:g} s of work: make them smaller, or mark them slow")
        for seconds, name in sorted(long, reverse=True):
            terminalreporter.line(f"{seconds:6.1f} s  {name}")


_BEFORE = pytest.StashKey[float]()
