"""Trajectories of any format, one frame at a time: read, predict, write."""

from propensity.trajectory.annotate import (
    AnnotationInterrupted,
    BrokenFrameError,
    annotate,
)
from propensity.trajectory.frame import Frame
from propensity.trajectory.readers import open_trajectory
from propensity.trajectory.summary import PropensitySummary
from propensity.trajectory.writers import open_writer

__all__ = [
    "AnnotationInterrupted",
    "BrokenFrameError",
    "Frame",
    "PropensitySummary",
    "annotate",
    "open_trajectory",
    "open_writer",
]
