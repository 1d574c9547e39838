"""``python -m propensity``: the command line."""

from propensity.cli.main import run

run()
