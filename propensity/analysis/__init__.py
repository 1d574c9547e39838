"""Dynamic heterogeneity from one value a particle: how far it correlates, how it clusters, how it decays.

Every function takes plain arrays: positions (N, d) with d = 2 or 3, cell vectors as rows (d, d) and the
periodic directions (d,), so that predictions, labels and measured displacements are treated alike.
"""

from propensity.analysis.clusters import (
    Clusters,
    Events,
    extreme_particles,
    find_clusters,
    persistence,
    space_time_clusters,
)
from propensity.analysis.correlation import (
    CorrelationLength,
    SpatialCorrelation,
    average_correlation,
    correlation_length,
    spatial_correlation,
    spatial_correlations,
)
from propensity.analysis.dynamics import (
    Relaxation,
    four_point_susceptibility,
    overlap,
    relaxation,
    self_intermediate_scattering,
    unwrap,
)
from propensity.analysis.fields import fluctuation
from propensity.analysis.pairs import find_pairs, radial_distribution
from propensity.analysis.wavevectors import FieldStructureFactor, field_structure_factor, ornstein_zernike

__all__ = [
    "Clusters",
    "CorrelationLength",
    "Events",
    "FieldStructureFactor",
    "Relaxation",
    "SpatialCorrelation",
    "average_correlation",
    "correlation_length",
    "extreme_particles",
    "field_structure_factor",
    "find_clusters",
    "find_pairs",
    "fluctuation",
    "four_point_susceptibility",
    "ornstein_zernike",
    "overlap",
    "persistence",
    "radial_distribution",
    "relaxation",
    "self_intermediate_scattering",
    "space_time_clusters",
    "spatial_correlation",
    "spatial_correlations",
    "unwrap",
]
