"""Isoconfigurational ensembles: labelled training data from molecular dynamics."""

from propensity.simulate.engine import Engine, Leg, LegResult, Microstate
from propensity.simulate.engines import make_engine, register_engine
from propensity.simulate.given import with_given
from propensity.simulate.model import LiquidModel, load_input, load_preset, presets
from propensity.simulate.settings import SimulationSettings, parse_times
from propensity.simulate.simulation import simulate_propensities

__all__ = [
    "Engine",
    "Leg",
    "LegResult",
    "LiquidModel",
    "Microstate",
    "SimulationSettings",
    "load_input",
    "load_preset",
    "make_engine",
    "parse_times",
    "presets",
    "register_engine",
    "simulate_propensities",
    "with_given",
]
