"""Lines that make radial weights of hidden units by matrix units: see ``templates/fragments.py``."""

from __future__ import annotations

from propensity.nn.kernels.triton.writer import Writer


def add_fragments(w: Writer) -> None:
    """What a thread needs to make radial weights of hidden units: see templates/fragments.py."""
    w.add("always = tl.full(thread.shape, True, tl.int1)")
    w.add("i = thread % 32 // 4")
    w.add("column = (i // 2 * 4 + i % 2) * 16 + ci")
    w.add("weight_of = weight + column")


def add_affine(w: Writer) -> None:
    """Scale and shift of a thread's hidden units."""
    for k, name in ((2, "scale"), (3, "shift")):
        w.add(f"{name}0, {name}1, {name}2, {name}3 = _quad(affine + {16 * k} + ci, always)")


def add_hidden_units(w: Writer, name: str) -> None:
    """Four hidden units after batch norm and dropout, from name0 to name3, as parts of a product."""
    for k in range(4):
        w.add(f"d{k} = _unit({name}{k}, scale{k}, shift{k})")
    add_halves(w)


def add_halves(w: Writer) -> None:
    """Hidden units d0 to d3 as parts of a product."""
    w.add("a0, a1 = _halves(d0, d1)")
    w.add("a2, a3 = _halves(d2, d3)")


def add_made_quad(w: Writer, q: int, pairs: set[int]) -> None:
    """Radial weights of a quad of paths, or of two of its paths."""
    w.add(f"b0, b1, b2, b3 = _quad(bias + {q * 16} + ci, always)")
    for s in sorted(pairs):
        a, b = 2 * s, 2 * s + 1
        place = (q * 16 + a) * 16
        w.add(f"w{4 * q + a}, w{4 * q + b} = _pair((a0, a1, a2, a3), weight_of + {place}, b{a}, b{b})")
