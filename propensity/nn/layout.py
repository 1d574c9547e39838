"""Which tensor products a convolution makes, and where each lands: shared by every kernel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from propensity.errors import InputError


@dataclass(frozen=True)
class Path:
    """One triplet (l_I, l_F, l_O) of one block of input channels.

    ``block`` 0 is the equivariant channels of the layer before, 1 the node scalars; ``weight`` is
    where the radial weights of its ``channels`` start and ``row`` where its rows start in the
    mixing matrix of l_O.
    """

    block: int
    l_in: int
    l_filter: int
    l_out: int
    channels: int
    weight: int
    row: int


@dataclass(frozen=True)
class ConvolutionLayout:
    """Shapes of one convolution.

    Features are stored as in e3nn: for each l, channel by channel, 2l+1 numbers each.

    Parameters
    ----------
    channels_in
        Equivariant channels of each l from the layer before (0 at the first layer).
    n_scalars
        Scalars of each particle that join every layer: one-hot species and ``n_extra`` more.
    channels
        Channels of each l in the output.
    l_max
        Largest l; parity is ignored, so that 1⊗1→1 is a path.
    """

    channels_in: int
    n_scalars: int
    channels: int
    l_max: int

    def __post_init__(self) -> None:
        for name, low in (("channels_in", 0), ("n_scalars", 1), ("channels", 1), ("l_max", 0)):
            if getattr(self, name) < low:
                raise InputError(f"{name} is {getattr(self, name)}: give an integer ≥ {low}.")

    @cached_property
    def paths(self) -> tuple[Path, ...]:
        """All paths, sorted by l_O, then block, l_I, l_F: 34 triplets and 4 scalars at l_max = 3."""
        found: list[Path] = []
        weight = 0
        for l_out in range(self.l_max + 1):
            row = 0
            for block, l_in, channels in self._blocks:
                for l_filter in range(abs(l_in - l_out), min(l_in + l_out, self.l_max) + 1):
                    found.append(Path(block, l_in, l_filter, l_out, channels, weight, row))
                    weight += channels
                    row += channels
        return tuple(found)

    @cached_property
    def _blocks(self) -> tuple[tuple[int, int, int], ...]:
        hidden = tuple((0, l, self.channels_in) for l in range(self.l_max + 1)) if self.channels_in else ()
        return (*hidden, (1, 0, self.n_scalars))

    @property
    def n_comb(self) -> int:
        """Radial weights an edge: 8 at the first layer and 144 later, at the paper's defaults."""
        return sum(path.channels for path in self.paths)

    def rows(self, l_out: int) -> int:
        """Input rows of the mixing matrix of ``l_out``."""
        return sum(path.channels for path in self.paths if path.l_out == l_out)

    @property
    def dim_in(self) -> int:
        """Equivariant numbers a node at the input: channels_in·(l_max+1)²."""
        return self.channels_in * (self.l_max + 1) ** 2

    @property
    def dim_out(self) -> int:
        """Numbers a node at the output: channels·(l_max+1)²."""
        return self.channels * (self.l_max + 1) ** 2
