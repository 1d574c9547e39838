"""Large copies between main memory and a GPU, through page-locked buffers of several threads.

A plain copy goes through a buffer of the driver, which one thread fills at a few GB/s, and one thread alone
meets each new page of a result: of 40 million particles a second or two, which no second device shares.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import torch

#: Bytes of a buffer, and of a tensor below which a plain copy is as good.
BUFFER = 1 << 24
#: Buffers of a copy, each with a thread.
THREADS = 8


def sent(value: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of main memory on a device."""
    if device.type != "cuda" or value.nbytes < BUFFER:
        return value.to(device)
    there = torch.empty(value.shape, dtype=value.dtype, device=device)
    by_pieces(there, value.contiguous())
    return there


def fetched(value: torch.Tensor) -> torch.Tensor:
    """A tensor of a device in main memory."""
    if value.device.type != "cuda" or value.nbytes < BUFFER:
        return value.cpu()
    # NumPy asks the system for large pages.
    here = torch.from_numpy(np.empty(value.shape, dtype=str(value.dtype).removeprefix("torch.")))
    by_pieces(here, value.contiguous())
    return here


def by_pieces(to: torch.Tensor, of: torch.Tensor) -> None:
    """Copy all of a tensor, of which one or both are in main memory; returns when it is there.

    Parameters
    ----------
    to, of
        Contiguous, of one shape and type.
    """
    to, of = to.view(-1), of.view(-1)
    device = next((t.device for t in (to, of) if t.is_cuda), to.device)
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()  # what the threads' own streams know nothing of
    size = BUFFER // of.element_size()
    starts = range(0, len(of), size)
    threads = min(THREADS, os.cpu_count() or 1, max(len(starts), 1))

    def copy(number: int) -> None:
        stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        with torch.cuda.stream(stream) if stream is not None else nullcontext():
            buffer = torch.empty(size, dtype=of.dtype, pin_memory=stream is not None)
            for start in starts[number::threads]:
                piece, there = of[start : start + size], to[start : start + size]
                room = buffer[: len(piece)]
                _copied(room, piece)
                if stream is not None and piece.is_cuda:
                    stream.synchronize()
                _copied(there, room)
                if stream is not None:
                    stream.synchronize()

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(copy, range(threads)))


def _copied(to: torch.Tensor, of: torch.Tensor) -> None:
    if to.is_cuda or of.is_cuda:
        to.copy_(of, non_blocking=True)
    else:
        np.copyto(to.numpy(), of.numpy())  # one thread, which lets the others run
