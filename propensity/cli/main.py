"""``propensity``: verbs are imported when called, and errors are printed as one line."""

from __future__ import annotations

import importlib
import signal
import sys
import warnings
from typing import cast

import click

from propensity.errors import PropensityError, PropensityWarning, suggest
from propensity.extras import explained
from propensity.files import disk_reason
from propensity.version import __version__

#: Verb → line in ``propensity --help``; the command is ``propensity.cli.<verb>:command``.
VERBS: dict[str, str] = {
    "demo": "Annotate a shipped configuration with the shipped model and draw it.",
    "annotate": "Add propensities to every frame of a trajectory.",
    "view": "Draw particles coloured by their propensity.",
    "report": "Make one page of a file or training: particles in 3D, figures, model card.",
    "analyse": "Measure correlation lengths and clusters of fast and slow particles.",
    "models": "List the models that are installed.",
    "info": "Say what a data file, trajectory or model holds.",
    "convert": "Gather data sets of any known format into one compact file.",
    "train": "Train a model.",
    "evaluate": "Score a model on held-out structures.",
    "describe": "Compute structural descriptors of every particle.",
    "experiment": "Run a comparison of the literature: table and figure.",
    "simulate": "Make labelled structures with molecular dynamics.",
    "lammps": "Build `fix propensity` for a running LAMMPS.",
    "doctor": "Say what works here, and how to get what does not.",
}


class LazyGroup(click.Group):
    """Group whose commands are imported only when used, so that ``--help`` is instant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Verbs in the order of a user's work."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb's module."""
        if cmd_name not in VERBS:
            return None
        command = cast("click.Command", importlib.import_module(f"propensity.cli.{cmd_name}").command)
        command.name = cmd_name  # as references and completion call it
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest verb when one is unknown."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            raise click.UsageError(
                f"no verb {args[0]!r}: choose from {', '.join(VERBS)}{suggest(args[0], VERBS)}."
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List verbs without importing them."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="propensity")
@click.option("--debug", is_flag=True, help="Show the full traceback of an error.")
@click.pass_context
def main(ctx: click.Context, debug: bool) -> None:
    """Predict where a glass-forming liquid will move from one snapshot of its structure."""
    ctx.ensure_object(dict)["debug"] = debug
    warnings.filterwarnings("always", category=PropensityWarning)
    warnings.showwarning = _show_warning


#: Raised by click 8.2 and later where earlier ones print the help and end.
_NO_ARGUMENTS: tuple[type[click.UsageError], ...] = tuple(
    getattr(click.exceptions, name) for name in ("NoArgsIsHelpError",) if hasattr(click.exceptions, name)
)


def run() -> None:
    """Entry point of the ``propensity`` script."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal of another alphabet shows ? for what it can't
            stream.reconfigure(errors="replace")
    terminated: list[int] = []

    def stop(number: int, frame: object) -> None:
        # As Ctrl-C, so that what is done is kept; once, so that keeping it isn't interrupted.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        terminated.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        with explained():
            main.main(standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        _fail("interrupted.", 143 if terminated else 130)
    except _NO_ARGUMENTS as error:
        error.show()
        sys.exit(0)
    except click.ClickException as error:
        _fail(" ".join(error.format_message().split()), error.exit_code)
    except PropensityError as error:
        if "--debug" in sys.argv:
            raise
        _fail(str(error), 1)
    except BrokenPipeError:
        sys.exit(141)
    except (OSError, RuntimeError, MemoryError) as error:
        reason = "out of memory" if isinstance(error, MemoryError) else disk_reason(error)
        name = getattr(error, "filename", None)
        if "--debug" in sys.argv or (reason is None and name is None):
            raise
        if reason is None and isinstance(error, OSError):
            _fail(f"{name} can't be used ({error.strerror}): give another path or other permissions.", 1)
        where = f"{name}: " if name else ""
        _fail(f"{where}{reason}: free some and run the same command again.", 1)


def _fail(message: str, code: int) -> None:
    click.echo(f"propensity: error: {_printable(message)}", err=True)
    sys.exit(code)


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:  # type: ignore[no-untyped-def]
    if issubclass(category, PropensityWarning):
        click.echo(f"propensity: warning: {_printable(str(message))}", err=True)


def _printable(text: str) -> str:
    """One line of what can't steer a terminal (as in ``screen``, without the time to import rich)."""
    return "".join(c if c.isprintable() else "�" for c in " ".join(text.split()))


if __name__ == "__main__":
    run()
