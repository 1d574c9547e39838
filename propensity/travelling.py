"""A predictor that travels: the bytes of its models and its options, from which a worker makes the same."""

from __future__ import annotations

import copy
import hashlib
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from propensity.estimators.storage import save_model
from propensity.predictor import Predictor

if TYPE_CHECKING:
    from typing_extensions import Self

_FILES = ("model.json", "model.safetensors")
_made: dict[str, Predictor] = {}
_making = threading.Lock()


@dataclass(frozen=True)
class TravellingPredictor:
    """Models as bytes, so that workers need no file of the machine that they come from."""

    models: tuple[dict[str, bytes], ...]
    options: dict[str, Any] = field(hash=False)
    digest: str

    @classmethod
    def of(cls, predictor: Predictor) -> TravellingPredictor:
        """Pack a predictor."""
        models = []
        with tempfile.TemporaryDirectory() as folder:
            for k, estimator in enumerate(predictor.estimators):
                save_model(Path(folder) / str(k), estimator)
                models.append({name: (Path(folder) / str(k) / name).read_bytes() for name in _FILES})
        text = b"".join(model[name] for model in models for name in _FILES) + repr(predictor.options).encode()
        return cls(tuple(models), predictor.options, hashlib.sha256(text).hexdigest())

    def predictor(self) -> Predictor:
        """The predictor, made once a process; its device is the worker's where none was named."""
        with _making:
            if self.digest not in _made:
                _made.clear()  # a worker serves one run after another
                _made[self.digest] = self._make()
            return _made[self.digest]

    def _make(self) -> Predictor:
        with tempfile.TemporaryDirectory() as folder:
            paths = []
            for k, model in enumerate(self.models):
                paths.append(Path(folder) / str(k))
                paths[-1].mkdir()
                for name, content in model.items():
                    (paths[-1] / name).write_bytes(content)
            return Predictor(paths, **self.options)


class Travelling:
    """What holds a ``predictor`` and can be pickled: its models travel as bytes, loaded where they arrive.

    A deep copy shares the predictor, which is never changed.
    """

    predictor: Predictor

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "predictor": TravellingPredictor.of(self.predictor)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.predictor = state["predictor"].predictor()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        found = type(self).__new__(type(self))
        memo[id(self)] = found
        found.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return found
