"""Figure of what ``python -m benchmarks.peers`` printed: times forward and backward against width.

python -m benchmarks.peers_figure RESULTS.txt [...] -o docs/images/convolution.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

from propensity.plotting.style import new_figure, save_figure, styled

#: Libraries in the order of their colours; the faster of OpenEquivariance's two ways stands for both.
LIBRARIES = ("propensity", "cuEquivariance", "OpenEquivariance", "e3nn")


def read(paths):
    """Milliseconds forward and with gradients, by l_max, library and channels."""
    found = {}
    for path in paths:
        for line in Path(path).read_text("utf-8").splitlines():
            cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
            if len(cells) < 7 or not cells[0].isdigit():
                continue
            l_max, channels, name = int(cells[0]), int(cells[1]), cells[2].split(",")[0]
            times = float(cells[3]), float(cells[5].split()[0])
            rows = found.setdefault(l_max, {}).setdefault(name, {})
            rows[channels] = min(times, rows.get(channels, times), key=lambda t: t[1])
    return found


@styled
def drawn(found):
    """A column for each l_max; forward above, forward and backward below."""
    figure = new_figure(2.6 * len(found) + 1.2, 5.2)
    axes = figure.subplots(2, len(found), sharex=True, sharey="row", squeeze=False)
    for column, (l_max, libraries) in enumerate(sorted(found.items())):
        for row, what in enumerate(("forward", "forward + backward")):
            ax = axes[row, column]
            for name in LIBRARIES:
                rows = sorted(libraries.get(name, {}).items())
                ax.loglog([c for c, _ in rows], [times[row] for _, times in rows], "o-", label=name)
            ax.set_xticks([4, 8, 16, 32, 64], ["4", "8", "16", "32", "64"])
            ax.minorticks_off()
            if not row:
                ax.set_title(f"$l_\\mathrm{{max}}$ = {l_max}")
            else:
                ax.set_xlabel("channels")
            if not column:
                ax.set_ylabel(f"{what}, ms")
    axes[0, 0].legend()
    return figure


def main():
    """Draw it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="+")
    parser.add_argument("-o", "--output", required=True)
    options = parser.parse_args()
    save_figure(drawn(read(options.results)), options.output)


if __name__ == "__main__":
    main()
