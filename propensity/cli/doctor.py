"""``propensity doctor``: what works here, and the command for what doesn't."""

from __future__ import annotations

import click


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--no-self-test", is_flag=True, help="Leave out the prediction that is compared with e3nn.")
def command(no_self_test: bool) -> None:
    """Look at versions, devices, kernels, LAMMPS, OVITO and caches, and predict once.

    Each thing that is missing stands beside the command that brings it.  Exits with 1 where something
    needed is broken.
    """
    from rich.text import Text

    from propensity.cli.screen import Screen
    from propensity.doctor import examine
    from propensity.errors import PropensityError

    marks = {"ok": ("ok", "green"), "absent": ("–", "yellow"), "broken": ("!!", "bold red")}
    console, broken = Screen(highlight=False), []
    for finding in examine(self_test=not no_self_test):
        word, style = marks[finding.verdict]
        line = Text.assemble((f"{word:>2}  ", style), (f"{finding.name:18}", "bold"), finding.detail)
        console.print(line, soft_wrap=True)
        if finding.verdict != "ok" and finding.remedy:
            console.print(Text(f"{'':22}→ {finding.remedy}", "cyan"), soft_wrap=True)
        if finding.verdict == "broken":
            broken.append(finding.name)
    if broken:
        raise PropensityError(f"broken: {', '.join(broken)}.")
