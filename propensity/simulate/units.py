"""Units of a liquid's LAMMPS input: their constants, and defaults that fit them."""

from __future__ import annotations

from dataclasses import dataclass

from propensity.errors import InputError, suggest


@dataclass(frozen=True)
class Units:
    """One of LAMMPS's systems of units, with LAMMPS's own constants.

    Parameters
    ----------
    name
        As the command ``units`` calls it.
    boltzmann
        k_B, energy per temperature.
    kinetic
        Energy of mass × velocity² (LAMMPS's mvv2e).
    time
        About one LJ time √(mσ²/ε) of a liquid in these units: stages of a simulation last multiples of it.
    timestep, damping
        Step of velocity Verlet, and damping time of the thermostat.
    melt
        Temperature at which chains are melted where the model names none.
    force
        Largest force component of an inherent structure.
    length_name, time_name, temperature_name, energy_name, pressure_name
        Of the units, to print; empty in LJ units.
    """

    name: str
    boltzmann: float
    kinetic: float
    time: float
    timestep: float
    damping: float
    melt: float
    force: float
    length_name: str = ""
    time_name: str = ""
    temperature_name: str = ""
    energy_name: str = ""
    pressure_name: str = ""


#: Every system that ``simulate`` knows; steps and damping of metals are 2 fs and 0.2 ps.
UNITS = {
    "lj": Units("lj", 1.0, 1.0, 1.0, 0.005, 0.5, 2.0, 1e-5),
    "metal": Units(
        "metal", 8.617343e-5, 1.0364269e-4, 0.4, 0.002, 0.2, 2000.0, 1e-5, "Å", "ps", "K", "eV", "bar"
    ),
    "real": Units(
        "real",
        0.0019872067,
        48.88821291**2,
        400.0,
        2.0,
        200.0,
        2000.0,
        2e-4,
        "Å",
        "fs",
        "K",
        "kcal/mol",
        "atm",
    ),
}


def units_called(name: str, where: str) -> Units:
    """Units by name.

    Raises
    ------
    InputError
        For units that aren't known.
    """
    if name not in UNITS:
        raise InputError(
            f"{where}: units are {name!r}: choose from {', '.join(UNITS)}{suggest(name, UNITS)}."
        )
    return UNITS[name]
