"""Options of a training; the descriptions here are the documentation of the flags and of the YAML file."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from propensity.estimators.card import MAX_CUTOFF
from propensity.estimators.inputs import InputPositions
from propensity.estimators.options import Options


class TrainingConfig(Options):
    """Options of :func:`propensity.training.fit_network`; the defaults are those of arXiv:2211.03226."""

    # What the network sees and predicts
    input_positions: InputPositions = Field(
        "thermal",
        description=(
            "Positions that the network sees; both: inherent ones, and the offsets from there to the"
            " thermal ones."
        ),
    )
    trained_species: tuple[str, ...] = Field(
        (),
        description=(
            "Species in the loss; the model predicts NaN for the others.  [default: A where most particles"
            " are A, else all]"
        ),
    )
    condition: Literal["temperature"] | None = Field(
        None,
        description=(
            "Learn structures at several temperatures, each with times of its own, in one model that answers"
            " for any temperature and time between."
        ),
    )
    # Network
    l_max: int = Field(3, ge=0, description="Largest order of the spherical harmonics and hidden features.")
    channels: int = Field(4, ge=1, description="Channels of each order l.")
    n_layers: int = Field(8, ge=1, description="Convolutions.")
    thermal_layers: int = Field(
        0,
        ge=0,
        description=(
            "With input_positions=both: layers of a second network, of the thermal positions; outputs add."
        ),
    )
    n_basis: int = Field(10, ge=1, description="Bessel functions of the radial basis.")
    cutoff: float = Field(
        2.0, gt=0, le=MAX_CUTOFF, description="Edges join particles closer than this, in σ_AA."
    )
    radial_hidden: int = Field(16, ge=1, description="Width of the radial MLP.")
    dropout: float = Field(0.5, ge=0, lt=1, description="Dropout probability in the radial MLP.")
    readout: Literal["shared", "species"] = Field(
        "shared", description="One linear readout for all species, or one for each."
    )
    envelope: bool = Field(
        False,
        description=(
            "Let the weights of neighbours go to zero smoothly at the cutoff, for models whose gradients are"
            " used; the paper's cutoff is sharp. Rectifiers leave steps in the gradients: for dynamics under"
            " a bias take --model gated --inputs thermal --no-pair-force, which has none."
        ),
    )
    kernel: str = Field("auto", description="Implementation of the convolution; see propensity.nn.kernels.")
    potential_energy: bool = Field(
        False,
        description=(
            "Give each particle its local potential energy beside its species (Kob–Andersen mixtures)."
        ),
    )
    diameters: bool | None = Field(
        None,
        description="Give each particle its diameter beside its species; default: where there are some.",
    )
    potential: str | None = Field(
        None,
        description=(
            "Interaction for --potential-energy: lj/cut, lj/cut force-shifted or lammps:INPUT; default: what"
            " the structures say."
        ),
    )
    init: str | None = Field(
        None,
        description=(
            "Model whose weights to start from; a readout of another shape, and thermal layers that it lacks,"
            " start at random."
        ),
    )
    learn: Literal["all", "adjust", "readout"] = Field(
        "all",
        description=(
            "Weights that are learned. adjust: all, from those of the --init model, with its statistics of"
            " batch norm and without dropout, so that a trained network is only adjusted. readout: all others"
            " stay those of the --init model, and the readout of --condition is solved by least squares,"
            " without epochs."
        ),
    )
    # Optimisation
    epochs: int = Field(
        200,
        ge=1,
        description=(
            "Passes over the training structures; with --condition over the smallest set of a temperature and"
            " as many of larger ones as the square root of their sizes says."
        ),
    )
    batch_size: int = Field(1, ge=1, description="Structures a step, on each device.")
    learning_rate: float = Field(1e-3, gt=0, description="Highest learning rate of Adam.")
    schedule: Literal["milestones", "cosine", "constant"] = Field(
        "milestones", description="Learning rate: halved at milestones, down a cosine to zero, or constant."
    )
    milestones: tuple[int, ...] = Field((50, 100, 150), description="Epochs at which the rate is halved.")
    warmup: int = Field(0, ge=0, description="Steps over which the rate rises from zero.")
    betas: tuple[float, float] = Field((0.95, 0.999), description="Decay rates of Adam's moments.")
    weight_decay: float = Field(1e-7, ge=0, description="L2 penalty of Adam.")
    ema: float = Field(
        0.0,
        ge=0,
        lt=1,
        description=(
            "Decay of a running average of the weights, a step; validation and the model then use the "
            "average, with batch-norm statistics computed anew over training structures. 0: none."
        ),
    )
    inherent_weight: float = Field(
        0.0,
        ge=0,
        description=(
            "Weight of an auxiliary loss, the way to the inherent structure (minus the thermal offset), read"
            " from the vectors of the middle layer. It helps thermal input; that readout is not part of the"
            " model."
        ),
    )
    validate_every: int = Field(
        1, ge=1, description="Epochs between validations; the last epoch has one too."
    )
    patience: int = Field(
        0, ge=0, description="Stop after so many validations without a better one; 0: never."
    )
    select: Literal["best", "last"] = Field(
        "best",
        description="Weights of the model: of the epoch with the best validation Pearson, or the last.",
    )
    seed: int = Field(
        0, ge=0, lt=2**32, description="Seed of the weights, the order of structures and dropout."
    )
    # Machine
    device: str | None = Field(None, description="cpu, cuda, cuda:1, mps; default: a GPU where there is one.")
    devices: int = Field(
        1, ge=1, description="GPUs (or CPU processes) that share the work; each takes a batch."
    )
    precision: Literal["float32", "mixed", "float64"] = Field(
        "float32",
        description="mixed: bfloat16 where torch's autocast allows it, weights and loss in float32.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> TrainingConfig:
        if any(not 0 <= beta < 1 for beta in self.betas):
            raise ValueError("betas must lie in [0, 1)")
        if list(self.milestones) != sorted(set(self.milestones)) or any(m < 1 for m in self.milestones):
            raise ValueError("milestones must be rising positive epochs")
        if self.inherent_weight and self.l_max < 1:
            raise ValueError("inherent_weight needs vectors: l_max must be at least 1")
        if self.inherent_weight and self.input_positions == "both":
            raise ValueError(
                "inherent_weight asks for the thermal offset that input_positions='both' shows: set it to 0"
            )
        if self.input_positions == "both" and self.l_max < 1:
            raise ValueError("input_positions='both' needs vectors: l_max must be at least 1")
        if self.thermal_layers and self.input_positions != "both":
            raise ValueError("thermal_layers needs input_positions='both'")
        if self.learn != "all" and not self.init:
            raise ValueError(
                f"learn={self.learn!r} begins with the weights of another model: name it by init"
            )
        if self.learn == "adjust" and self.ema:
            raise ValueError(
                "learn='adjust' keeps batch norm's statistics, and ema computes them anew: give one"
            )
        if self.learn == "readout" and not self.condition:
            raise ValueError("learn='readout' solves the readout of several temperatures: give condition too")
        if self.learn == "readout" and (self.ema or self.inherent_weight):
            raise ValueError("learn='readout' has no epochs: leave out ema and inherent_weight")
        if self.condition and self.diameters:
            raise ValueError("condition and diameters exclude each other")
        return self

    def network_options(self, n_species: int, n_outputs: int, offset_scale: float = 0.0) -> dict[str, Any]:
        """Keyword arguments of :class:`propensity.nn.SE3GNN`; ``offset_scale`` as there."""
        names = (
            "l_max",
            "channels",
            "n_layers",
            "n_basis",
            "cutoff",
            "radial_hidden",
            "dropout",
            "thermal_layers",
            "readout",
            "envelope",
            "kernel",
        )
        return {
            "n_species": n_species,
            "n_outputs": n_outputs,
            "n_extra": int(self.potential_energy),
            "offset_scale": offset_scale,
            **{name: getattr(self, name) for name in names},
        }
