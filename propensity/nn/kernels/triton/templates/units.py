"""Hidden units of the radial MLP where matrix units make radial weights of them, four a thread.

Symbols as in ``fragments.py``.
"""

# mypy: ignore-errors
# ruff: noqa: F821
# Read as text, never imported: Triton compiles it together with the kernels of a layout.

import triton
import triton.language as tl


@triton.jit
def radial_units(
    units, out, count, B: tl.constexpr, NB: tl.constexpr, NBP: tl.constexpr, H: tl.constexpr, HP: tl.constexpr
):
    """Hidden units after their ReLU, with a minus sign where dropout leaves them out.

    Reads   units, count (1,).
    Writes  out (E, HP).
    One thread is four hidden units of an edge.
    """
    basis, mask, weight_in, bias_in, _ = units
    n_edges = tl.load(count)
    thread = tl.arange(0, B * 4)
    edge = tl.program_id(0) * B + thread // 4
    live = edge < n_edges
    at = edge.to(tl.int64)
    h = thread % 4 * 4
    x0, x1, x2, x3 = _first_layer(basis, weight_in, bias_in, at, h, live, NB)
    bits = tl.load(mask + at * (HP // 8) + h // 8, mask=live, other=0).to(tl.int32) >> (h % 8)
    _store_signed(out + at * HP + h, live, x0, x1, x2, x3, bits)


@triton.jit
def _first_layer(basis, weight_in, bias_in, at, h, live, NB: tl.constexpr):
    """relu(W·basis + b) of hidden units h to h + 3 of an edge, 0 where it is not live."""
    x0, x1, x2, x3 = _quad(bias_in + h, live)
    for k in tl.static_range(NB):
        b = tl.load(basis + at * NB + k, mask=live, other=0.0)
        w = weight_in + h * NB + k
        x0 += b * tl.load(w)
        x1 += b * tl.load(w + NB)
        x2 += b * tl.load(w + 2 * NB)
        x3 += b * tl.load(w + 3 * NB)
    return tl.maximum(x0, 0.0), tl.maximum(x1, 0.0), tl.maximum(x2, 0.0), tl.maximum(x3, 0.0)


@triton.jit
def _store_signed(target, live, x0, x1, x2, x3, bits):
    _store_quad(
        target,
        live,
        _signed(x0, bits),
        _signed(x1, bits >> 1),
        _signed(x2, bits >> 2),
        _signed(x3, bits >> 3),
    )


@triton.jit
def _signed(x, kept):
    """X ≥ 0 with a minus sign, zero too, where the last bit of ``kept`` is 0."""
    return (x.to(tl.int32, bitcast=True) | ((kept & 1) ^ 1) << 31).to(tl.float32, bitcast=True)
