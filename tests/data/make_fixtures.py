"""Cut the small files of this folder from the large data sets: python tests/data/make_fixtures.py SHARED_FOLDER."""

import pickle
import shutil
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


def rounded(a: np.ndarray, digits: int) -> np.ndarray:
    """Multiples of 2^-digits, which compress."""
    return np.rint(a * 2.0**digits) / 2.0**digits


def main(shared: Path) -> None:
    shutil.copyfile(shared / "bapst/test_small.pickle", HERE / "bapst_small.pickle")

    with (shared / "bapst/test_large.pickle").open("rb") as stream:
        raw = pickle.load(stream)
    keep = np.r_[0:24, 3277:3283]
    cut = {
        **raw,
        **{key: raw[key][keep] for key in ("positions", "types")},
        "targets": [target[keep] for target in raw["targets"]],
        "trajectory_target_positions": [
            [run[keep] for run in runs] for runs in raw["trajectory_target_positions"]
        ],
    }
    with (HERE / "bapst_targets.pickle").open("wb") as stream:
        pickle.dump(cut, stream, protocol=3)

    with np.load(shared / "botan/isoconfig_N4096T0.44_1_tc07.npz") as data:
        np.savez_compressed(
            HERE / "isoconfig_N4096T0.44_1_tc07.npz",
            types=data["types"],
            initial_positions=rounded(data["initial_positions"], 9),
            positions=rounded(data["positions"][:2], 9),
        )

    with np.load(shared / "data/ka3d_fs_T0.44_valid.npz") as data:
        per_structure = {key for key in data.files if data[key].ndim and len(data[key]) == 10}
        np.savez_compressed(
            HERE / "ka3d_one_valid.npz",
            **{key: data[key][:1] if key in per_structure else data[key] for key in data.files},
        )
    with np.load(shared / "data/ka3d_fs_T0.44_train.npz") as data:
        few = np.r_[0:40, 3277:3287]
        picked = {}
        for key in data.files:
            array = data[key]
            array = array[10:16] if array.ndim and len(array) == 132 else array
            if array.ndim and 4096 in array.shape:
                array = np.take(array, few, axis=array.shape.index(4096))
            picked[key] = array
        np.savez_compressed(HERE / "ka3d_few_train.npz", **picked)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
