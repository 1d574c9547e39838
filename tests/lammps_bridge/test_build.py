"""Building the plugin, and what is said when that can't be."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import lammps_bridge
from lammps_bridge import autoload, build
from propensity.cli.lammps import command
from propensity.errors import InputError, MissingDependencyError, PropensityError
from tests.lammps_bridge.support import run


def own_sources(folder: Path, version: str) -> Path:
    """Something like src of a user's own LAMMPS: the headers of the wheel and a version."""
    for header in build.installed_target().headers.iterdir():
        (folder / header.name).symlink_to(header)
    (folder / "version.h").write_text(f'#define LAMMPS_VERSION "{version}"\n')
    return folder


def test_plugin_of_another_version_is_not_loaded(
    lammps_works: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "src").mkdir()
    monkeypatch.setenv("CXXFLAGS", " ".join(f"-I{folder}" for folder in build.installed_target().mpi))
    try:
        path = build.build_plugin(own_sources(tmp_path / "src", "1 Apr 2020"), tmp_path / "oldplugin.so")
    except MissingDependencyError as error:
        pytest.skip(str(error))
    script = tmp_path / "in.file"
    script.write_text(
        f"plugin load {path}\nregion b block 0 4 0 4 0 4\ncreate_box 1 b\nfix p all propensity 1 species A\n"
    )
    done = run(
        [Path(sys.executable).parent / "lmp", "-in", script, "-log", "none"],
        env={"XDG_CACHE_HOME": str(tmp_path)},
    )
    assert "fix propensity was built for LAMMPS 1 Apr 2020" in done.stdout
    assert re.search("ERROR: Unrecognized fix style 'propensity'", done.stdout)


@pytest.mark.parametrize(("code", "found"), [(0, "mpicxx"), (1, "c++")])
def test_a_wrapper_of_nothing_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, found: str
) -> None:
    """As with Debian's openmpi-bin, where libopenmpi-dev is not installed."""
    for name in ("mpicxx", "c++"):
        (tmp_path / name).write_text(f"#!/bin/sh\nexit {code}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert build.find_compiler(own_mpi=True) == [found]
    assert build.find_compiler() == ["c++"]


def test_no_compiler(monkeypatch: pytest.MonkeyPatch, lammps_works: None) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(MissingDependencyError, match=r"apt install g\+\+.*Annotator works without"):
        build.find_compiler()
    monkeypatch.setenv("CXX", "no-such-compiler")
    result = CliRunner().invoke(command, ["build-plugin"])
    assert isinstance(
        result.exception, MissingDependencyError
    ) and "'no-such-compiler' of the variable CXX" in str(result.exception)


def test_failing_compiler(monkeypatch: pytest.MonkeyPatch, lammps_works: None, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", "false")
    with pytest.raises(PropensityError, match="compiling fix propensity failed"):
        build.build_plugin(output=tmp_path / "plugin.so")
    assert list(tmp_path.iterdir()) == []


def test_bad_arguments(tmp_path: Path, lammps_works: None) -> None:
    with pytest.raises(InputError, match="need an output too"):
        build.build_plugin(tmp_path)
    with pytest.raises(InputError, match=r"has no fix\.h"):
        build.build_plugin(tmp_path, tmp_path / "plugin.so")
    with pytest.raises(InputError, match=r"doesn't end in plugin\.so"):
        build.build_plugin(output=tmp_path / "fix.so")
    (tmp_path / "fix.h").touch()
    with pytest.raises(InputError, match=r"has no version\.h"):
        build.build_plugin(tmp_path, tmp_path / "plugin.so")


@pytest.mark.parametrize(
    ("number", "text"), [(20250722, "22 Jul 2025"), (20220106, "6 Jan 2022"), (20231203, "3 Dec 2023")]
)
def test_version_text(number: int, text: str) -> None:
    assert build.version_text(number) == text


def test_info(lammps_works: None) -> None:
    result = CliRunner().invoke(command, ["info"])
    assert result.exit_code == 0
    assert "package PLUGIN  yes" in result.output and "fix propensity" in result.output


def test_autoload_never_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Path(autoload.folder()).is_dir()
    monkeypatch.setattr(autoload, "plugin_path", lambda: 1 / 0)
    assert Path(autoload.folder()).is_dir()


def test_every_start_of_lammps_stays_light() -> None:
    code = (
        "import sys, lammps_bridge.autoload as a; a.folder(); print([m for m in ('torch', 'numpy', 'ase') if"
        " m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True
    )
    assert done.stdout.strip() == "[]"


def test_public_name() -> None:
    assert lammps_bridge.Annotator.__name__ == "Annotator"
    with pytest.raises(AttributeError):
        lammps_bridge.Annotater  # noqa: B018
