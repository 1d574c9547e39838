"""Where everything lies in the Triton kernels of one layout."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from propensity.nn.layout import ConvolutionLayout

#: Accumulators one thread may hold; more are split between programs.
MAX_SUMS = 105


def quads(n: int) -> int:
    """Groups of four that hold n numbers."""
    return -(-n // 4)


@dataclass(frozen=True)
class KernelPath:
    """A path of at most CP channels: wide scalar blocks are cut into several."""

    l_in: int
    l_filter: int
    l_out: int
    scalar: int  # which block of CP scalars it reads; −1 for hidden features
    index: int  # position among all paths
    rank: int  # position among the paths of its l_out
    weights: tuple[int, ...]  # row of ``linear_out`` of each channel
    rows: tuple[int, ...]  # row of the mixing matrix of l_out of each channel


@dataclass(frozen=True)
class Plan:
    """Where everything lies for one layout."""

    layout: ConvolutionLayout

    @property
    def padded_channels(self) -> int:
        """CP."""
        return 1 << (self.layout.channels - 1).bit_length()

    @property
    def in_matrix_units(self) -> bool:
        """Whether training makes radial weights in the kernels that read them, by products of matrix units, whose
        operands lie as those kernels' threads do where there are four channels.
        """
        return self.padded_channels == 4

    @property
    def mixes_sums(self) -> bool:
        """Whether a thread has room for its share of all channels after mixing, so that sums need not be stored."""
        return self.padded_channels <= 4

    @property
    def scalar_blocks(self) -> int:
        """Blocks of CP scalars."""
        return -(-self.layout.n_scalars // self.padded_channels)

    @property
    def harmonics(self) -> int:
        """(l_max+1)²."""
        return (self.layout.l_max + 1) ** 2

    @cached_property
    def paths(self) -> tuple[KernelPath, ...]:
        """All paths, sorted by l_out."""
        found: list[KernelPath] = []
        cp = self.padded_channels
        for path in self.layout.paths:
            for start in range(0, path.channels, cp):
                channels = range(start, min(start + cp, path.channels))
                found.append(
                    KernelPath(
                        path.l_in,
                        path.l_filter,
                        path.l_out,
                        start // cp if path.block else -1,
                        len(found),
                        sum(other.l_out == path.l_out for other in found),
                        tuple(path.weight + c for c in channels),
                        tuple(path.row + c for c in channels),
                    )
                )
        return tuple(found)

    def quads_of(self, l_out: int) -> int:
        """Quads of paths of one l_out."""
        return quads(sum(path.l_out == l_out for path in self.paths))

    def first_sum(self, l_out: int) -> int:
        """Quads of sums before those of l_out; with l_max + 1, all of them."""
        return sum((2 * l + 1) * self.quads_of(l) for l in range(l_out))

    def first_mixing(self, l_out: int) -> int:
        """Quads of paths before those of l_out."""
        return sum(self.quads_of(l) for l in range(l_out))

    def sum_quad(self, path: KernelPath, m: int) -> int:
        """Quad of its block of sums that holds component m of a path, in slot ``path.rank % 4``."""
        return m * self.quads_of(path.l_out) + path.rank // 4

    @cached_property
    def groups(self) -> tuple[tuple[KernelPath, ...], ...]:
        """Paths that one program sums: those that read the same features, as many as it has room for."""
        by_input: dict[tuple[int, int], list[KernelPath]] = {}
        for path in self.paths:
            by_input.setdefault((-path.l_in, path.scalar), []).append(path)
        groups: list[list[KernelPath]] = []
        for _, paths in sorted(by_input.items()):
            if not groups or _sums(groups[-1]) + _sums(paths) > MAX_SUMS:
                groups.append([])
            for path in sorted(paths, key=lambda p: (p.l_filter, p.l_out)):
                if groups[-1] and _sums([*groups[-1], path]) > MAX_SUMS:
                    groups.append([])
                groups[-1].append(path)
        return tuple(tuple(group) for group in groups)

    def quad_of_sums(self, path: KernelPath) -> tuple[KernelPath | None, ...]:
        """The four paths whose sums lie together with those of a path, None where there is none."""
        held = {p.rank: p for p in self.paths if p.l_out == path.l_out}
        return tuple(held.get(path.rank // 4 * 4 + slot) for slot in range(4))


def _sums(paths: list[KernelPath]) -> int:
    return sum(2 * path.l_out + 1 for path in paths)
