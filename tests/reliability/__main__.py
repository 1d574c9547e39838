"""``python -m tests.reliability``: run parts of the suite and print tables of counts, as in the docs."""

from __future__ import annotations

import argparse
import importlib
import sys
import time

#: Part → its module; each has ``main(count, ...)`` that gives a table and what went wrong, and ``COUNT``.
PARTS = ("fuzz", "faults", "kills", "stores", "lammps", "soak")


def main() -> None:
    """Run the parts that are named, all by default; exits with 1 when anything went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar=f"{{{','.join(PARTS)}}}")
    parser.add_argument("--count", type=int, help="inputs, kills or frames; default: those of the docs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", help="readers, jobs or cases of the part, by name")
    chosen = parser.parse_args()
    failed: list[str] = []
    for part in chosen.parts or PARTS:
        module = importlib.import_module(f"tests.reliability.{part}")
        began = time.monotonic()
        rows, wrong = module.main(chosen.count or module.COUNT, chosen.seed, chosen.only)
        print(f"\n`python -m tests.reliability {part}`, {time.monotonic() - began:.0f} s\n\n{table(rows)}")
        print(*(f"- {line}" for line in wrong), sep="\n", flush=True)
        failed += wrong
    sys.exit(bool(failed))


def table(rows: list[list[str]]) -> str:
    """Markdown table; the first row is its head."""
    head, *body = rows
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *body))


if __name__ == "__main__":
    main()
