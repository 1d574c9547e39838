"""A predictor that travels: the bytes of its models and its options, from which a worker makes the same."""

from __future__ import annotations

import hashlib
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from propensity.estimators.storage import save_model
from propensity.predictor import Predictor

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
