"""A live LAMMPS instance: read its atoms, predict them on the first rank, write the values back."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from lammps_bridge.core import Annotation, LammpsFrame, predict_frame
from lammps_bridge.ranks import Ranks
from propensity.bias import Bias, Form
from propensity.diameters import diameters_of
from propensity.errors import InputError
from propensity.predictor import Predictor


class LiveAnnotation:
    """Fill the per-atom property ``d_<name>`` (one time) or ``d2_<name>`` (several) of an instance.

    Collective: every rank constructs it and calls :meth:`evaluate`.

    Parameters
    ----------
    lmp
        Instance of ``lammps.lammps``.
    load
        Makes the predictor and the indices of the wanted times; called on the first rank only.
    name
        Name of the property.
    form
        Of a bias on the mean propensity at the first of the times, whose energy and forces are kept.
    """

    def __init__(
        self,
        lmp: Any,
        load: Callable[[], tuple[Predictor, list[int]]],
        name: str,
        form: Form | None = None,
    ) -> None:
        self.ranks = Ranks(lmp)
        self._predictor: Predictor | None = None
        self._bias: Bias | None = None
        self.energy, self.forces = 0.0, np.zeros((0, 3))

        def prepare() -> tuple[list[int], np.ndarray, tuple[str, ...]]:
            self._predictor, indices = load()
            if form is not None:
                self._bias = Bias(self._predictor, form, float(self._predictor.times[indices[0]]))
            return indices, self._predictor.times[indices], self._predictor.species

        self._indices, self.times, self.species = self.ranks.on_root(prepare)
        self.property = f"d2_{name}" if len(self.times) > 1 else f"d_{name}"
        self.means = np.full((len(self.times), 1 + len(self.species)), np.nan)
        self.doubts = np.full(2, np.nan)

    def evaluate(self, lmp: Any) -> None:
        """Predict the present configuration; on failure the values become NaN and every rank raises."""
        self._check_property(lmp)
        n = lmp.extract_setting("nlocal")
        self._write(lmp, np.full((n, len(self.times)), np.nan))
        frame = self._frame(lmp, n)
        done: list[Annotation] = []  # of all atoms, on the first rank

        def work() -> tuple[np.ndarray, np.ndarray, float, bool]:
            assert self._predictor is not None and frame is not None
            with _all_threads():
                annotation = predict_frame(self._predictor, frame, self._indices, self._bias)
            done.append(annotation)
            return annotation.means, annotation.doubts, annotation.energy, annotation.forces is not None

        self.means, self.doubts, self.energy, biased = self.ranks.on_root(work)
        self._write(lmp, self.ranks.scatter(done[0].values if done else None, n))
        if biased:
            self.forces = self.ranks.scatter(done[0].forces if done else None, n)

    def _frame(self, lmp: Any, n: int) -> LammpsFrame | None:
        low, high, xy, yz, xz, periodic, _ = lmp.extract_box()
        lx, ly, lz = np.subtract(high, low)
        pbc = np.array(periodic, dtype=bool)
        dimension = int(lmp.extract_setting("dimension"))
        local = [
            _column(lmp, "id", n).astype(np.int64),
            _column(lmp, "type", n).astype(np.int64),
            _column(lmp, "x", n, 3) - np.asarray(low),
        ]
        if lmp.extract_setting("radius_flag") > 0:
            local.append(2 * _column(lmp, "radius", n))
        tags, types, positions, *more = (self.ranks.gather(array) for array in local)
        if tags is None or types is None or positions is None:
            return None
        cell = np.array([[lx, 0, 0], [xy, ly, 0], [xz, yz, lz]])
        sizes = diameters_of({"diameter": more[0]}) if more and more[0] is not None else None
        everyone = np.ones(len(tags), dtype=bool)
        return LammpsFrame(tags, types, positions, cell, pbc, everyone, dimension, sizes)

    def _check_property(self, lmp: Any) -> None:
        """Raise on every rank, also on one without atoms, when the property is not defined."""
        if lmp.extract_atom_datatype(self.property) < 0:
            columns = f" {len(self.times)}" if len(self.times) > 1 else ""
            raise InputError(
                f"LAMMPS has no property {self.property}: "
                f"define it by `fix ID all property/atom {self.property}{columns}`."
            )

    def _write(self, lmp: Any, values: np.ndarray) -> None:
        if len(values):
            pointer = lmp.extract_atom(self.property)
            rows = pointer[0] if len(self.times) > 1 else pointer
            np.ctypeslib.as_array(rows, shape=(values.size,))[:] = values.ravel()


def _column(lmp: Any, name: str, n: int, width: int = 1) -> np.ndarray:
    """Copy of a per-atom array of the atoms that this rank owns."""
    pointer = lmp.extract_atom(name) if n else None
    if not pointer:
        return np.empty((0, width) if width > 1 else 0)
    if width > 1:
        return np.ctypeslib.as_array(pointer[0], shape=(n * width,)).reshape(n, width).copy()
    return np.ctypeslib.as_array(pointer, shape=(n,)).copy()


@contextmanager
def _all_threads() -> Iterator[None]:
    """Give torch the cores that this process may use: LAMMPS has set OpenMP to one thread."""
    before = torch.get_num_threads()
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    torch.set_num_threads(int(wanted) if wanted.isdigit() and int(wanted) > 0 else available)
    try:
        yield
    finally:
        torch.set_num_threads(before)
