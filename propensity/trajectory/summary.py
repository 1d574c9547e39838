"""Statistics of the propensity over the frames of a trajectory."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from propensity.compiling import njit


class PropensitySummary:
    """Statistics of the propensity per species and time over all frames.

    Parameters
    ----------
    species
        Names, in the order of the types.
    times
        Of the predictions, shape (n_times,), in LJ units.

    Attributes
    ----------
    n_frames, n_particles : int
        Frames written and particles in them altogether.
    count : int64, (n_species,)
    n_doubtful : int
        Frames that are unlike the training set of the model, see :meth:`propensity.Predictor.likeness`.
    negative : int64, (n_species, n_times)
        Negative predictions.
    mean, low, high : float64, (n_species, n_times)
        NaN for species that the trajectory doesn't have or the model wasn't trained on.
    """

    def __init__(self, species: tuple[str, ...], times: np.ndarray) -> None:
        shape = (len(species), len(times))
        self.species, self.times = species, times
        self.n_frames = self.n_particles = 0
        self.count = np.zeros(len(species), dtype=np.int64)
        self.n_doubtful = 0
        self.negative = np.zeros(shape, dtype=np.int64)
        self._sum = np.zeros(shape)
        self._low, self._high = np.full(shape, np.inf), np.full(shape, -np.inf)

    def add(self, types: np.ndarray, propensities: np.ndarray, doubtful: bool = False) -> None:
        """Count a frame: types (N,), propensities (N, n_times), and whether it is unlike the training set.

        Parameters
        ----------
        types
            Shape (N,).
        propensities
            Shape (N, n_times).
        doubtful
            Whether the frame is unlike the training set.
        """
        self.n_frames += 1
        self.n_doubtful += doubtful
        self.n_particles += len(types)
        _add(types, propensities, self.count, self.negative, self._sum, self._low, self._high)

    def merge(self, other: PropensitySummary) -> None:
        """Count the frames of another summary, of the same species and times.

        Parameters
        ----------
        other
            Stays as it is.
        """
        self.n_frames += other.n_frames
        self.n_doubtful += other.n_doubtful
        self.n_particles += other.n_particles
        self.count += other.count
        self.negative += other.negative
        self._sum += other._sum
        np.minimum(self._low, other._low, out=self._low)
        np.maximum(self._high, other._high, out=self._high)

    @property
    def mean(self) -> np.ndarray:
        """Mean propensity, shape (n_species, n_times)."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self._sum / self.count[:, None]

    @property
    def low(self) -> np.ndarray:
        """Smallest propensity, shape (n_species, n_times)."""
        return np.where(np.isfinite(self._low), self._low, np.nan)

    @property
    def high(self) -> np.ndarray:
        """Largest propensity, shape (n_species, n_times)."""
        return np.where(np.isfinite(self._high), self._high, np.nan)


@njit(nogil=True)
def _add(types, values, count, negative, total, low, high):
    """Count particles, and their values at each time.

    Reads   types (N,), values (N, n_times).
    Writes  count (n_species,); negative, total, low and high (n_species, n_times).
    One call is all particles.
    """
    for i in range(len(types)):
        s = types[i]
        count[s] += 1
        for t in range(values.shape[1]):
            value = values[i, t]
            total[s, t] += value
            negative[s, t] += value < 0
            # Not a number once, so for ever.
            if value < low[s, t] or value != value:
                low[s, t] = value
            if value > high[s, t] or value != value:
                high[s, t] = value
