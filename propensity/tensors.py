"""Reading and writing safetensors: numbers by name, and nothing that could run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from propensity.errors import DataError
from propensity.files import regular, replacing

if TYPE_CHECKING:
    import torch

#: The largest of our models has a hundredth of a GiB.
MAX_BYTES = 4 * 2**30


def read_tensors(path: str | os.PathLike[str], what: str = "safetensors file") -> dict[str, torch.Tensor]:
    """Every tensor of a file, on the CPU, in memory of its own; ``what`` is the file's name in errors.

    Half and quarter precision become float32, which holds each of their numbers.

    Raises
    ------
    FileNotFoundError
        When there is none.
    DataError
        When it is damaged, too large, or holds tensors of a type that torch doesn't know.
    """
    import torch
    from safetensors.torch import load

    try:
        size = regular(path).stat().st_size
        if size > MAX_BYTES:
            raise ValueError(f"it has {size / 2**30:.1f} GiB, more than {MAX_BYTES / 2**30:g}")
        # By its bytes, not by mapping the file: one that is cut short meanwhile would end the process.
        tensors = load(Path(path).read_bytes())
        return {
            name: value.to(torch.float32)
            if value.is_floating_point() and value.dtype not in (torch.float32, torch.float64)
            else value.clone()
            for name, value in tensors.items()
        }
    except (FileNotFoundError, DataError):
        raise
    except Exception as error:  # of the parser, or by types that this torch lacks
        reason = " ".join(str(error).split())[:150].rstrip(".") or type(error).__name__
        raise DataError(f"{path} is not a readable {what} ({reason})") from None


def write_tensors(path: str | os.PathLike[str], tensors: dict[str, torch.Tensor]) -> None:
    """Write tensors by name; the file is replaced at once."""
    from safetensors.torch import save

    # Copies, since tensors that share memory are refused.
    content = save({name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()})
    with replacing(path) as temporary:
        temporary.write_bytes(content)  # save_file has a temporary file of its own, which a kill leaves
