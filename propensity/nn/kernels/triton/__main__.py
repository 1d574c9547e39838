"""``python -m propensity.nn.kernels.triton L_MAX CHANNELS``: print the kernels generated for a layout."""

from __future__ import annotations

import sys

from propensity.nn.kernels.triton.launch import module_text
from propensity.nn.layout import ConvolutionLayout

USAGE = "usage: python -m propensity.nn.kernels.triton L_MAX CHANNELS   (later layers of two species)"


def main(arguments: list[str]) -> int:
    """Print the source; 2 for arguments that aren't two numbers."""
    try:
        l_max, channels = (int(argument) for argument in arguments)
        layout = ConvolutionLayout(channels, 2, channels, l_max)
    except ValueError:
        print(USAGE, file=sys.stderr)
        return 2
    print(module_text(layout, ptx=True), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
