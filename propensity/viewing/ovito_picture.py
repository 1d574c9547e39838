"""Particles by OVITO's ray tracer, which needs no screen."""

from __future__ import annotations

from typing import Any

import numpy as np

from propensity.plotting import fractions_of
from propensity.viewing.scene import SceneFrame

#: Pixels of the picture.
SIZE = (1150, 1050)


def trace(frame: SceneFrame, rgba: np.ndarray) -> np.ndarray:
    """Picture of all particles in their box, uint8 (height, width, 4).

    Raises
    ------
    ImportError
        Where OVITO is not installed.
    RuntimeError
        Where its graphics cannot start.
    """
    from ovito.data import DataCollection
    from ovito.pipeline import Pipeline, StaticSource
    from ovito.vis import TachyonRenderer, Viewport

    fractions, cell = fractions_of(frame.structure)
    data = DataCollection()
    particles = data.create_particles(count=len(fractions))
    particles.create_property("Position", data=fractions @ cell)
    particles.create_property("Radius", data=0.5 * frame.diameters)
    particles.create_property("Color", data=rgba[:, :3])
    periodic: Any = tuple(map(bool, frame.structure.pbc))
    box = data.create_cell(np.column_stack([cell.T, np.zeros(3)]), pbc=periodic)
    box.vis.line_width = 0.03 * float(np.median(frame.diameters))
    box.vis.rendering_color = (0.35, 0.35, 0.35)
    pipeline = Pipeline(source=StaticSource(data=data))
    pipeline.add_to_scene()
    try:
        view = Viewport(type=Viewport.Type.Perspective, camera_dir=(-0.62, 1.0, -0.42), fov=np.radians(28))
        view.zoom_all(size=SIZE)
        renderer = TachyonRenderer(shadows=False, ambient_occlusion_samples=8, antialiasing_samples=8)
        image = view.render_image(size=SIZE, renderer=renderer, background=(1, 1, 1))
    finally:
        pipeline.remove_from_scene()
    image = image.convertToFormat(image.Format.Format_RGBA8888)
    raw = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine() // 4, 4)
    return _trimmed(raw[:, : image.width()].copy())


def _trimmed(image: np.ndarray) -> np.ndarray:
    """Without the white around."""
    used = np.any(image[..., :3] < 250, axis=2)
    rows, columns = np.flatnonzero(used.any(axis=1)), np.flatnonzero(used.any(axis=0))
    if not len(rows):
        return image
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
