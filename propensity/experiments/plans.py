"""What each experiment trains and what it draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from propensity.errors import InputError, suggest
from propensity.estimators.kinds import ESTIMATORS
from propensity.experiments import figures
from propensity.experiments.bootstrap import draw_bootstrap
from propensity.experiments.jobs import Job, System, trained
from propensity.runs.flags import options_class

Systems = dict[str, System]


@dataclass(frozen=True)
class ExperimentSettings:
    """What a user chose; each experiment uses what it varies.

    Parameters
    ----------
    kinds
        Kinds of models to compare.
    options
        ``fit`` options by name, given to every chosen kind that has them; ``kind.name`` for one kind only.
    values
        Values of what the experiment varies, e.g. numbers of structures; None: its own choice.
    per_time
        Train one model for each time too, beside one for all times.
    """

    kinds: tuple[str, ...]
    options: dict[str, str] = field(default_factory=dict)
    values: tuple[int, ...] | None = None
    per_time: bool = False

    def of_kind(self, kind: str) -> dict[str, Any]:
        """Options for one kind."""
        known = options_class(kind).model_fields
        own = {name: value for name, value in self.options.items() if "." not in name and name in known}
        own |= {
            name.partition(".")[2]: value
            for name, value in self.options.items()
            if name.startswith(f"{kind}.")
        }
        return {name: _value(value) for name, value in own.items()}

    def check(self) -> None:
        """Refuse kinds that don't exist and options that no chosen kind has.

        Raises
        ------
        InputError
            With the nearest known name.
        """
        fields = {kind: list(options_class(_known(kind)).model_fields) for kind in self.kinds}
        for name in self.options:
            kind, dot, own = name.partition(".")
            if dot and kind not in fields:
                raise InputError(
                    f"option {name!r} names {kind!r}, but the models are"
                    f" {list(fields)}{suggest(kind, fields)}."
                )
            known = fields[kind] if dot else sorted({one for names in fields.values() for one in names})
            if (own if dot else name) not in known:
                raise InputError(
                    f"option {name!r} is unknown to {kind if dot else ' and '.join(fields)}"
                    f"{suggest(own or name, known)}."
                )


def _known(kind: str) -> str:
    if kind not in ESTIMATORS:
        raise InputError(
            f"model {kind!r} is unknown: choose from {sorted(ESTIMATORS)}{suggest(kind, ESTIMATORS)}."
        )
    return kind


def _value(text: str) -> Any:
    return text.split(",") if "," in text else text


Plan = Callable[[Systems, ExperimentSettings], list[Job]]
Draw = Callable[[list[dict[str, Any]], list[Job], Systems, Path], None]


@dataclass(frozen=True)
class Experiment:
    """An experiment: what it trains and what it draws.

    ``kinds`` are the models it compares unless told otherwise, ``min_systems`` how many state points it
    needs and ``varies`` what ``ExperimentSettings.values`` means, if anything.
    """

    plan: Plan
    draw: Draw
    kinds: tuple[str, ...] = ("se3gnn",)
    min_systems: int = 1
    varies: str = ""


def timescales(systems: Systems, settings: ExperimentSettings) -> list[Job]:
    """Each model on each system; with ``per_time`` also one model for each time."""
    jobs = []
    for name, system in systems.items():
        for kind in settings.kinds:
            job = Job(kind, kind, name, (name,), settings.of_kind(kind))
            jobs.append(job)
            if settings.per_time:
                jobs += [
                    replace(job, label=f"{kind}, a model for each time", times=(k,))
                    for k in range(len(system.times))
                ]
    return jobs


def temperature(systems: Systems, settings: ExperimentSettings) -> list[Job]:
    """Each model trained and scored at each temperature."""
    return [
        Job(kind, kind, name, (name,), settings.of_kind(kind), x=system.temperature)
        for name, system in systems.items()
        for kind in settings.kinds
    ]


def lmax(systems: Systems, settings: ExperimentSettings) -> list[Job]:
    """The network at each l_max."""
    return [
        Job(f"l_max = {l}", "se3gnn", name, (name,), {**settings.of_kind("se3gnn"), "l_max": l}, x=l)
        for name in systems
        for l in settings.values or (0, 1, 2, 3)
    ]


def transfer(systems: Systems, settings: ExperimentSettings) -> list[Job]:
    """Each network on every system, as it is and with a readout refitted to some or all structures of the
    other.  All networks take equally many steps: the epochs are those of the largest training set.
    """
    sizes = settings.values or (None,)
    if len(sizes) > 1:
        raise InputError(
            f"--values is {list(settings.values or ())}: give transfer one number of structures."
        )
    jobs, most = [], max(len(system.train) for system in systems.values())
    for source, system in systems.items():
        options = _equal_steps("se3gnn", settings, most / len(system.train))
        job = Job("zero-shot", "se3gnn", source, tuple(systems), options)
        jobs.append(job)
        jobs += [
            replace(job, label="readout refitted", refit=target, n_refit=sizes[0], tests=(target,))
            for target in systems
            if target != source
        ]
    return jobs


def seeds(systems: Systems, settings: ExperimentSettings) -> list[Job]:
    """The same training from several seeds."""
    return [
        Job(kind, kind, name, (name,), {**settings.of_kind(kind), "seed": seed}, x=seed)
        for name in systems
        for kind in settings.kinds
        for seed in settings.values or (0, 1, 2)
    ]


def data_efficiency(systems: Systems, settings: ExperimentSettings) -> list[Job]:
    """Each model on growing numbers of structures, trained for equally many steps."""
    jobs = []
    for name, system in systems.items():
        available = len(system.train)
        sizes = settings.values or tuple(2**k for k in range(available.bit_length()) if 2**k < available) + (
            available,
        )
        if max(sizes) > available or min(sizes) < 1:
            raise InputError(
                f"sizes are {list(sizes)} and {name} has {available} training structures: choose from 1 to"
                " that."
            )
        jobs += [
            Job(kind, kind, name, (name,), _equal_steps(kind, settings, available / n), n_train=n, x=n)
            for kind in settings.kinds
            for n in sizes
        ]
    return jobs


def _equal_steps(kind: str, settings: ExperimentSettings, factor: float) -> dict[str, Any]:
    """Options with more epochs for fewer structures, so that every training takes as many steps."""
    options = settings.of_kind(kind)
    fields = options_class(kind).model_fields
    if "epochs" in fields:
        options["epochs"] = round(int(options.get("epochs", fields["epochs"].default)) * factor)
    return options


def learning_curve(systems: Systems, settings: ExperimentSettings) -> list[Job]:
    """One training that is scored after every epoch; its last weights are kept."""
    options = {**settings.of_kind("se3gnn"), "select": "last"}
    return [Job("se3gnn", "se3gnn", name, (name,), options, follow=True) for name in systems]


def one_training_each(systems: Systems, settings: ExperimentSettings) -> list[Job]:
    """One training of each model."""
    return [
        Job(kind, kind, name, (name,), settings.of_kind(kind)) for name in systems for kind in settings.kinds
    ]


def additions(systems: Systems, settings: ExperimentSettings) -> list[Job]:
    """What the second version of the method adds, one thing at a time: SciPost Phys. 16, 136."""
    base = settings.of_kind("se3gnn")
    inherent = {**base, "input_positions": "inherent"}
    variants: list[tuple[str, dict[str, Any]]] = [
        ("thermal positions", {**base, "input_positions": "thermal"}),
        ("inherent positions", inherent),
        ("inherent, energy", {**inherent, "potential_energy": True}),
        ("inherent, A and B share a readout", {**inherent, "trained_species": ["A", "B"]}),
        ("inherent, a readout for each", {**inherent, "trained_species": ["A", "B"], "readout": "species"}),
    ]
    jobs = []
    for name, system in systems.items():
        jobs += [Job(label, "se3gnn", name, (name,), options) for label, options in variants]
        jobs.append(Job("inherent, τ_α alone", "se3gnn", name, (name,), inherent, times=(system.tau_index,)))
    return jobs


def _draw_learning_curve(rows: list[dict[str, Any]], jobs: list[Job], systems: Systems, folder: Path) -> None:
    from propensity.runs.curves import plot_learning_curve

    for job in jobs:
        trained(job, systems, folder)
        name = "figure.png" if len(jobs) == 1 else f"figure-{job.system}.png"
        plot_learning_curve(folder / "models" / job.key(systems) / "log.csv", folder / name)


def _against_time(rows: list[dict[str, Any]], jobs: Sequence[Job], systems: Systems, folder: Path) -> None:
    figures.against_time(rows, folder / "figure.png")


def _against(label: str, *, log: bool = False) -> Draw:
    def draw(rows: list[dict[str, Any]], jobs: list[Job], systems: Systems, folder: Path) -> None:
        figures.against_value(rows, folder / "figure.png", label, log=log)

    return draw


def _draw_lmax(rows: list[dict[str, Any]], jobs: list[Job], systems: Systems, folder: Path) -> None:
    figures.against_time(rows, folder / "figure.png")
    one = [{**row, "label": "se3gnn"} for row in rows]
    figures.against_value(one, folder / "figure-lmax.png", "$l_{max}$")


def _draw_transfer(rows: list[dict[str, Any]], jobs: list[Job], systems: Systems, folder: Path) -> None:
    figures.transfer_matrix(rows, list(systems), folder / "figure.png")


def _draw_seeds(rows: list[dict[str, Any]], jobs: list[Job], systems: Systems, folder: Path) -> None:
    figures.seed_spread(rows, folder / "figure.png")


EVERY_KIND = ("se3gnn", "bapst", "ridge", "softness", "energy", "density")

EXPERIMENTS: dict[str, Experiment] = {
    "timescales": Experiment(timescales, _against_time, EVERY_KIND),
    "temperature": Experiment(temperature, _against("temperature $T$"), EVERY_KIND, min_systems=2),
    "lmax": Experiment(lmax, _draw_lmax, varies="l_max"),
    "transfer": Experiment(transfer, _draw_transfer, min_systems=2, varies="structures for the new readout"),
    "seeds": Experiment(seeds, _draw_seeds, varies="seeds"),
    "bootstrap": Experiment(one_training_each, draw_bootstrap),
    "learning-curve": Experiment(learning_curve, _draw_learning_curve),
    "data-efficiency": Experiment(
        data_efficiency,
        _against("training structures", log=True),
        ("se3gnn", "ridge"),
        varies="numbers of structures",
    ),
    "additions": Experiment(additions, _against_time),
}
