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
def radial_hidden(
    basis,
    kept,
    mask,
    weight_in,
    bias_in,
    partial,
    out,
    count,
    B: tl.constexpr,
    NB: tl.constexpr,
    HP: tl.constexpr,
):
    """As radial_units, with dropout's choices to be packed into bits, and as radial_sums.

    Reads   basis (E, NB), kept (E, HP/4): four bytes each, weight_in (HP, NB), bias_in (HP,), count (1,).
    Writes  out (E, HP); mask (E, HP/8) of bits; partial (blocks, 2, HP): mean and Σ (x − mean)² of B edges.
    One thread is four hidden units of an edge.
    """
    n_edges = tl.load(count)
    thread = tl.arange(0, B * 4)
    edge = tl.program_id(0) * B + thread // 4
    live = edge < n_edges
    at = edge.to(tl.int64)
    h = thread % 4 * 4
    x0, x1, x2, x3 = _first_layer(basis, weight_in, bias_in, at, h, live, NB)
    four = tl.load(kept + at * 4 + thread % 4, mask=live, other=0)
    bits = (four & 1) | (four >> 7 & 2) | (four >> 14 & 4) | (four >> 21 & 8)
    _store_signed(out + at * HP + h, live, x0, x1, x2, x3, bits)
    byte = tl.sum(tl.reshape(bits << (thread % 2 * 4), [B * 2, 2]), axis=1)
    place = tl.program_id(0).to(tl.int64) * (B * 2) + tl.arange(0, B * 2)
    tl.store(mask + place, byte.to(tl.uint8), mask=place < n_edges.to(tl.int64) * 2)
    x = tl.reshape(tl.join(tl.join(x0, x2), tl.join(x1, x3)), [B, HP])
    there = (tl.program_id(0) * B + tl.arange(0, B) < n_edges)[:, None]
    mean = tl.sum(x, axis=0) / tl.maximum(tl.minimum(n_edges - tl.program_id(0) * B, B), 1).to(tl.float32)
    away = tl.where(there, x - mean[None, :], 0.0)
    target = partial + tl.program_id(0) * (2 * HP) + tl.arange(0, HP)
    tl.store(target, mean)
    tl.store(target + HP, tl.sum(away * away, axis=0))


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
