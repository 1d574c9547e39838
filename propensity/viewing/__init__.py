"""Particles to look at: a scene from any file or run, as a picture or as a page that needs no network."""

from propensity.viewing.loading import load_scene
from propensity.viewing.report import write_report
from propensity.viewing.scene import Scene, SceneFrame

__all__ = ["Scene", "SceneFrame", "load_scene", "write_report"]
