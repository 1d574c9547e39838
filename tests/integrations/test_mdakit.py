"""What the registry of MDAnalysis toolkits is told agrees with the package."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11")
ROOT = Path(__file__).parents[2]
REQUIRED = {
    "project_name",
    "authors",
    "maintainers",
    "description",
    "keywords",
    "license",
    "project_home",
    "documentation_home",
    "documentation_type",
}
OPTIONAL = {
    "install",
    "src_install",
    "import_name",
    "python_requires",
    "mdanalysis_requires",
    "run_tests",
    "test_dependencies",
    "project_org",
    "development_status",
    "changelog",
    "publications",
    "community_home",
}


def test_metadata_agree_with_the_project():
    told = yaml.safe_load((ROOT / ".github" / "mdakit" / "metadata.yaml").read_text("utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert set(told) >= REQUIRED and set(told) <= REQUIRED | OPTIONAL
    assert told["project_name"] == told["import_name"] == project["name"]
    assert told["license"] == project["license"]
    assert told["python_requires"] == project["requires-python"]
    assert told["description"] == project["description"]
    assert set(told["keywords"]) <= set(project["keywords"])
    assert f"mdanalysis{told['mdanalysis_requires']}" in project["dependencies"]
    (command,) = told["run_tests"]
    assert (ROOT / command.split()[-1]).is_dir()
    assert (ROOT / told["changelog"]).exists()
