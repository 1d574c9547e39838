"""The GPU kernels, compiled as C++ where there is no GPU: forces, dynamics, minima and cage states."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from propensity.errors import InputError, MissingDependencyError, PropensityError
from propensity.physics.gpu import batch as batch_module
from propensity.physics.gpu import device as device_module
from propensity.physics.gpu.batch import Batch
from propensity.physics.gpu.cage import cage_states, position_moments
from propensity.physics.gpu.device import HostDevice, gpu_available
from propensity.physics.gpu.layout import BANK_STEPS, BANKS, Skins, cell_grid
from propensity.physics.gpu.quench import inherent_structures
from propensity.physics.gpu.systems import Systems, Wall
from propensity.physics.interaction import (
    Interaction,
    energy_and_forces,
    interpolated,
    inverse_power,
    named_interaction,
)
from propensity.physics.quench import inherent_structure
from propensity.structure import Structure

LIQUIDS = {
    "lj/cut": 1.2,
    "lj/cut force-shifted": 1.2,
    "lj/cut 2d": 1.2,
    "lj/cut Wahnstroem": 1.296,
    "soft spheres r^-12": 0.8,
}


@pytest.fixture(params=["cpu", pytest.param("gpu", marks=pytest.mark.gpu)], scope="module")
def device(request):
    """Both places where the source runs."""
    if request.param == "gpu":
        if not gpu_available():
            pytest.skip("no CUDA device")
        return device_module.cuda_device()
    try:
        return HostDevice()
    except MissingDependencyError as error:
        pytest.skip(str(error))


def liquid(name: str, n: int = 200, seed: int = 0, stretch=(1.0, 1.0, 1.0), noise: float = 0.06):
    """Interaction, positions, types and box of a jittered lattice in random order."""
    pairs = named_interaction(name)
    d = pairs.dimension
    rng = np.random.default_rng(seed)
    edge = (n / LIQUIDS[name]) ** (1 / d)
    box = np.array([edge, edge, edge if d == 3 else 1.0])
    box[:d] *= np.array(stretch[:d])
    side = int(np.ceil(n ** (1 / d)))
    sites = np.stack(np.meshgrid(*[np.arange(side)] * d, indexing="ij"), -1).reshape(-1, d)
    chosen = rng.permutation(len(sites))[:n]
    x = np.zeros((n, 3))
    x[:, :d] = (sites[chosen] + 0.5) / side * box[:d] + noise * rng.standard_normal((n, d))
    return pairs, x, (rng.random(n) < 0.25).astype(int), box


def relaxed(device, name: str, temperature: float, n: int = 200):
    """A liquid at a temperature: positions and velocities after a short run."""
    pairs, x, types, box = liquid(name, n)
    start = Batch(device, pairs, x[None], types, box)
    start.minimise(1e-2, 300)
    rng = np.random.default_rng(1)
    v = rng.standard_normal((n, 3)) * np.sqrt(temperature / pairs.masses[types])[:, None]
    v[:, pairs.dimension :] = 0
    v -= (pairs.masses[types][:, None] * v).sum(0) / pairs.masses[types].sum()
    run = Batch(device, pairs, x[None] + start.displacements(), types, box, v[None])
    run.dynamics(300, 0.005, temperature=(temperature, temperature), seeds=np.array([1]))
    return pairs, (run.start + run.displacements())[0], types, box, run.velocities()[0]


@pytest.mark.parametrize(
    ("name", "grid", "double", "stretch"),
    [
        ("lj/cut", False, False, (1, 1, 1)),
        ("lj/cut", True, False, (1, 1, 1)),
        ("lj/cut", False, True, (1.1, 0.95, 1.0)),
        ("lj/cut force-shifted", False, False, (1.1, 0.95, 1.0)),
        ("lj/cut force-shifted", True, True, (1, 1, 1)),
        ("lj/cut 2d", False, False, (1, 1, 1)),
        ("lj/cut Wahnstroem", False, False, (1, 1, 1)),
        ("soft spheres r^-12", False, False, (1, 1, 1)),
        ("soft spheres r^-12", True, True, (1.1, 1.0, 1.0)),
    ],
)
def test_forces_are_those_of_a_direct_sum(device, name, grid, double, stretch):
    pairs, x, types, box = liquid(name, stretch=stretch)
    x[0] += box * np.array([1, -2, 1 if pairs.dimension == 3 else 0])  # outside the box
    systems = Batch(device, pairs, np.stack([x, x]), types, box, grid=grid, double=double)
    energy, forces, virial = systems.evaluate()
    expected = energy_and_forces(pairs, x, types, box)
    tolerance = 1e-7 if double and pairs.functions is None else 2e-6  # tables are float32
    assert energy == pytest.approx([expected[0]] * 2, rel=tolerance)
    assert np.linalg.norm(forces[1] - expected[1]) < tolerance * np.linalg.norm(expected[1])
    assert virial == pytest.approx([expected[2]] * 2, rel=tolerance)


@pytest.mark.parametrize("name", ["lj/cut force-shifted", "lj/cut 2d", "lj/cut Wahnstroem"])
def test_dynamics_keeps_energy_momentum_and_temperature(device, name):
    pairs, x, types, box, v = relaxed(device, name, 1.0)
    n, d = len(x), pairs.dimension
    run = Batch(device, pairs, x[None], types, box, v[None], skins=Skins(outer=0.5))
    records = run.dynamics(500, 0.004, sample_every=20, frames=(20, 500))
    total = (records.potential + records.kinetic)[0] / n
    assert abs(total - total[0]).max() < 2e-3
    assert records.rebuilds > 0
    end = x + run.displacements()[0]
    assert records.frames[0, 1] == pytest.approx(run.displacements()[0], abs=2e-6)
    assert records.potential[0, -1] == pytest.approx(energy_and_forces(pairs, end, types, box)[0], rel=2e-6)
    mass = pairs.masses[types][:, None]
    assert abs((mass * run.velocities()[0]).sum(0) - (mass * v).sum(0)).max() < 1e-3
    hot = Batch(device, pairs, x[None], types, box, v[None])
    kinetic = hot.dynamics(
        800, 0.004, sample_every=5, temperature=(1.0, 0.5), damping=0.1, seeds=np.array([3])
    ).kinetic[0]
    assert 2 * kinetic[-40:].mean() / (d * (n - 1)) == pytest.approx(0.56, abs=0.07)


@pytest.mark.parametrize(
    ("n", "blocks"), [(300, 2), (600, 4), pytest.param(2100, 16, marks=pytest.mark.gpu)], ids=str
)
def test_blocks_that_share_a_system_change_no_bit(n, blocks):
    """A cluster of blocks, threads of the host where there is no GPU."""
    pairs, x, types, box = liquid("lj/cut", n)
    velocities = np.random.default_rng(2).standard_normal((2, n, 3))
    found = []
    for clusters in (1, blocks):
        if blocks == 16:
            device = device_module.CudaDevice()
            device.clusters = clusters
        else:
            device = host_device(clusters)
        first = Batch(device, pairs, np.stack([x, x + 0.1]), types, box, grid=False)
        assert first.variant.cluster == clusters
        ends = first.minimise(1e-2, 25)
        start, skins = first.start + first.displacements(), Skins(outer=0.4)
        run = Batch(device, pairs, start, types, box, velocities, grid=False, skins=skins)
        seeds = np.arange(2)
        warm = run.dynamics(90, 0.004, temperature=(1.0, 0.8), seeds=seeds, sample_every=10, frames=(7, 90))
        free = run.dynamics(61, 0.004, sample_every=20)
        found.append(
            [*ends, warm.potential, warm.kinetic, warm.virial, warm.frames, free.potential, run.velocities()]
        )
        assert warm.rebuilds > 0
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))


def host_device(clusters: int) -> HostDevice:
    """With blocks that are threads."""
    try:
        device = HostDevice(clusters)
    except MissingDependencyError as error:
        pytest.skip(str(error))
    device.multiprocessors = 2 * clusters
    return device


def test_results_do_not_depend_on_companions_or_chunks(device, monkeypatch):
    pairs, x, types, box, v = relaxed(device, "lj/cut", 0.8)
    options = {"frames": (30, 200), "seeds": np.array([7])}
    alone = Batch(device, pairs, x[None], types, box, v[None]).dynamics(200, 0.005, **options)
    three = Batch(device, pairs, np.stack([x, x + 0.3, x]), types, box, np.stack([v, v, v]), grid=False)
    among = three.dynamics(200, 0.005, frames=(30, 200), seeds=np.arange(3))
    assert np.array_equal(among.frames[2], among.frames[0])
    assert np.array_equal(among.frames[0], alone.frames[0])
    monkeypatch.setattr(batch_module, "CHUNK", 50)
    chunked = Batch(device, pairs, x[None], types, box, v[None]).dynamics(200, 0.005, **options)
    assert chunked.frames[0, 0] == pytest.approx(alone.frames[0, 0], abs=1e-5)
    spread = Batch(device, pairs, x[None], types, box, v[None], grid=True).dynamics(200, 0.005, **options)
    assert spread.frames[0, 0] == pytest.approx(alone.frames[0, 0], abs=1e-5)


@pytest.mark.parametrize(
    ("name", "n"), [pytest.param("lj/cut", 1400, marks=pytest.mark.slow), ("lj/cut 2d", 200)], ids=str
)
def test_lists_leave_nobody_out(device, name, n):
    """In boxes where rows of cells are cut to chords; lists of another reach give the same motion."""
    pairs, x, types, box = liquid(name, n, noise=0.03)
    v = np.random.default_rng(3).standard_normal((n, 3)) * [1, 1, pairs.dimension == 3]
    ends, rebuilds = [], []
    for skins in (Skins(outer=0.6), Skins(0.1, 0.35, 0.1)):
        run = Batch(device, pairs, x[None], types, box, v[None], skins=skins, grid=False)
        cells, _ = cell_grid(box, pairs.cutoff.max() + run.skins.outer, pairs.dimension)
        assert (cells[: pairs.dimension] >= 5).all()
        expected = energy_and_forces(pairs, x, types, box)
        assert np.linalg.norm(run.evaluate()[1][0] - expected[1]) < 2e-6 * np.linalg.norm(expected[1])
        rebuilds.append(run.dynamics(60, 0.004, sample_every=60).rebuilds)
        ends.append(run.displacements()[0])
    assert rebuilds[1] > rebuilds[0] > 0
    assert ends[1] == pytest.approx(ends[0], abs=2e-5)


def test_outer_lists_last_until_a_pair_would_be_missed(device):
    """Longer than the fastest particle needs for half the skin."""
    pairs, x, types, box, v = relaxed(device, "lj/cut", 1.0)
    run = Batch(device, pairs, x[None], types, box, v[None], skins=Skins(0.15, 0.5), grid=False)
    lasted, rebuilds = 0.0, 0.0
    for _ in range(10):
        before = run.displacements()
        records = run.dynamics(40, 0.004, sample_every=40)
        now = run.displacements()
        expected = energy_and_forces(pairs, x + now[0], types, box)[0]
        assert records.potential[0, -1] == pytest.approx(expected, rel=2e-6)
        rebuilds += records.rebuilds
        if not records.rebuilds:
            lasted = max(lasted, np.linalg.norm(now - before, axis=2).max())
    assert rebuilds > 0
    assert lasted > 0.5 * 0.5


def test_slots_are_dealt_to_the_banks_of_their_rows(device):
    pairs, x, types, box = liquid("lj/cut", 4000)
    starts = np.stack([x, x + 0.4])
    systems = Batch(device, pairs, starts, types, box, grid=False)
    systems.dynamics(2, 1e-7)
    slots, kind, ids = (
        np.asarray(a if isinstance(a, np.ndarray) else a.get())
        for a in (systems.x, systems.kind, systems.ids)
    )
    assert (np.sort(ids, axis=1) == np.arange(systems.variant.slots)).all()
    assert (np.diff(kind, axis=1) >= 0).all()
    for s in range(2):
        assert (types[ids[s, :4000]] == kind[s, :4000]).all()
        off = (slots[s, :, :4000].T * (box / 2**32) - starts[s, ids[s, :4000]]) / box
        assert abs(off - np.rint(off)).max() < 1e-5
    cells, _ = cell_grid(box, 2.5 + systems.skins.outer, 3)
    y, z = ((slots[:, d].astype(np.int64) * cells[d]) >> 32 for d in (1, 2))
    dealt = (BANK_STEPS[0] * y + BANK_STEPS[1] * z) % BANKS == np.arange(systems.variant.slots) % BANKS
    assert dealt[:, :4000].mean() > 0.9


def test_warps_hold_particles_with_like_numbers_of_neighbours(device):
    """Of the last species, among the slots of a bank, once there have been lists to count."""
    pairs, x, types, box = liquid("lj/cut", 4000, noise=0.03)
    v = np.random.default_rng(3).standard_normal((1, 4000, 3))
    run = Batch(device, pairs, x[None], types, box, v, skins=Skins(0.1, 0.3, 0.1), grid=False)
    assert run.dynamics(60, 0.004, sample_every=60).rebuilds > 2
    now = (x + run.displacements()[0]) % box
    ids = np.asarray(run.ids if isinstance(run.ids, np.ndarray) else run.ids.get())[0, : (types == 0).sum()]
    tree = cKDTree(now[types == 1], boxsize=box)
    count = tree.query_ball_point(now[ids], pairs.cutoff[0, 1] + 0.1, return_length=True)
    steps = [np.abs(np.diff(count[bank::BANKS])).mean() for bank in range(BANKS)]
    by_chance = np.abs(np.diff(np.random.default_rng(0).permutation(count))).mean()
    assert np.mean(steps) < 0.6 * by_chance


@pytest.mark.parametrize(("kilobytes", "blocks"), [((227, 228), 2), ((163, 164), 2), ((99, 100), 1)])
def test_shared_memory_decides_what_a_block_holds(kilobytes, blocks):
    """Of an H100, an A100 and a card for desktops, with 4096 particles."""
    device = host_device(1)
    device.warp, device.multiprocessors = 32, 132
    device.shared_block, device.shared_all = (1024 * k for k in kilobytes)
    pairs, x, types, box = liquid("lj/cut", 4096)
    many = Systems(device, pairs, np.stack([x] * 260), types, box)
    assert (many.variant.blocks, many.variant.grid, many.skins.inner) == (blocks, False, 0.2)
    assert many.variant.shared_bytes() <= device.shared_block
    assert blocks * (many.variant.shared_bytes() + 1024) <= device.shared_all
    large = Systems(device, pairs, np.stack([x] * 2), types, box)  # its blocks can't share a system
    assert (large.variant.grid, large.skins.inner) == (True, 0.25)


@pytest.mark.parametrize(("error", "said"), [(4, "too small for 4096"), (8, "begins elsewhere")])
def test_what_kernels_refuse_is_said(monkeypatch, error, said):
    device = host_device(1)
    pairs, x, types, box = liquid("lj/cut")
    systems = Batch(device, pairs, x[None], types, box)

    class Refuses:
        def launch(self, kernel, args, teams):
            systems.work["error"][0] = error

    monkeypatch.setattr(device, "program", lambda variant: Refuses())
    with pytest.raises(PropensityError, match=said):
        systems.evaluate()


def test_overflowing_lists_are_made_longer(device):
    pairs, x, types, box = liquid("lj/cut")
    systems = Batch(device, pairs, x[None], types, box)
    systems.caps = (3, 4)
    systems.scratch()
    energy, _, _ = systems.evaluate()
    assert energy == pytest.approx([energy_and_forces(pairs, x, types, box)[0]], rel=2e-6)


def test_quench_finds_the_minimum_of_another_minimiser(device):
    pairs, x, types, box, _ = relaxed(device, "lj/cut force-shifted", 0.5)
    structure = Structure(x, types, box)
    (found,) = inherent_structures([structure], pairs, force=1e-5, device=device)
    expected = inherent_structure(structure, "lj/cut force-shifted", force=1e-6)
    assert abs(found.positions - expected.positions).max() < 1e-4
    with pytest.raises(PropensityError, match="no energy minimum within 3 steps"):
        inherent_structures([structure], pairs, iterations=3, device=device)


def test_cage_states_hold_particles_and_have_the_right_moments(device):
    pairs, x, types, box, _ = relaxed(device, "lj/cut force-shifted", 0.5)
    structure = Structure(x, types, box)
    (inherent,) = inherent_structures([structure], pairs, device=device)
    states, other, walls = (
        cage_states(
            [structure, structure],
            pairs,
            0.5,
            inherent=[inherent.positions] * 2,
            radius=radius,
            replicas=3,
            steps=400,
            skip=50,
            friction=10.0,
            seed=seed,
            device=device,
        )
        for radius, seed in ((0.3, 0), (0.3, 1), ((0.1, 0.3), 0))
    )
    assert np.array_equal(states.mean[0], walls.mean[1])  # whatever the wall of others
    narrow = np.linalg.norm(walls.mean[0] - inherent.positions, axis=1)
    assert narrow.max() < 0.2
    away = np.linalg.norm(states.mean[0] - inherent.positions, axis=1)
    assert away.max() < 0.4
    assert (np.linalg.eigvalsh(states.covariance[0]) > 0).all()
    assert 0.003 < np.trace(states.covariance[0], axis1=1, axis2=2).mean() < 0.06
    assert states.temperature == pytest.approx([0.5, 0.5], rel=0.08)
    assert np.array_equal(states.mean[0], states.mean[1])  # whatever is beside
    scatter = np.linalg.norm(states.mean[0] - other.mean[0], axis=1)
    assert 0.5 < np.sqrt((scatter**2).mean() / (2 * (states.error[0] ** 2).mean())) < 2


@pytest.mark.parametrize("grid", [False, True])
def test_the_centre_of_mass_is_held_in_a_cage(device, grid):
    pairs, x, types, box, v = relaxed(device, "lj/cut force-shifted", 0.5)
    sums = {}
    for centred in (True, False):
        wall = Wall(x[None], 0.45, 500.0, 50, 5, centred)
        run = Batch(device, pairs, x[None], types, box, v[None], grid=grid, wall=wall)
        run.dynamics(300, 0.01, temperature=(0.5, 0.5), friction=1.0, seeds=np.array([3]))
        sums[centred] = run.dynamics(
            300, 0.01, temperature=(0.5, 0.5), friction=1.0, seeds=np.array([4])
        ).sums
        speed = np.abs(run.velocities()[0].mean(axis=0)).max()
        assert speed < 0.02 if centred else speed > 0.005
    mean = {centred: (found[0, :3] / found[0, 9]).mean(axis=1) for centred, found in sums.items()}
    assert np.abs(mean[True]).max() < 1e-6 < 1e-3 < np.abs(mean[False]).max()
    # Seen from its centre of mass a replica moves as before.
    square = [
        found[0, 3:6].sum() - found[0, 9].sum() * np.square(m).sum()
        for found, m in ((sums[c], mean[c]) for c in (True, False))
    ]
    assert square[0] == pytest.approx(square[1], rel=0.15)


def test_moments_are_those_of_the_samples():
    samples = np.random.default_rng(0).standard_normal((3, 50, 4, 3))  # replicas, steps, particles
    x, y, z = np.moveaxis(samples, 3, 0)
    sums = np.stack([a.sum(1) for a in (x, y, z, x * x, y * y, z * z, x * y, x * z, y * z, x * 0 + 1)], 1)
    mean, covariance, error = position_moments(sums)
    flat = samples.reshape(150, 4, 3)
    assert mean == pytest.approx(flat.mean(0))
    for i in range(4):
        assert covariance[i] == pytest.approx(np.cov(flat[:, i].T, bias=True))
    assert error == pytest.approx(np.sqrt(samples.mean(1).var(0, ddof=1).sum(1) / 3))


def test_runs_too_short_for_their_thermostat_are_refused(device):
    pairs, x, types, box = liquid("lj/cut")
    run = Batch(device, pairs, x[None], types, box)
    with pytest.raises(InputError, match="8 steps at a temperature: velocities are rescaled every 10 steps"):
        run.dynamics(8, 0.005, temperature=(1.0, 1.0), seeds=np.array([1]))


def test_walls_keep_particles_in(device):
    pairs, x, types, box, v = relaxed(device, "lj/cut", 1.0)
    wall = Wall(x[None], 0.2, skip=0)
    run = Batch(device, pairs, x[None], types, box, v[None], wall=wall)
    run.dynamics(1000, 0.005, temperature=(1.0, 1.0), friction=1.0, seeds=np.array([1]))
    assert np.linalg.norm(run.displacements()[0], axis=1).max() < 0.45


def test_tables_and_inverse_powers_are_followed(device):
    _, x, types, box = liquid("lj/cut", noise=0.03)
    r = np.linspace(0.5, 2.5, 400)
    u, f = inverse_power(1.0, 1.0, 12, 2.5)(r)
    cutoff = np.full((2, 2), 2.5)
    exact = [[inverse_power(1.0, 1.0, 12, 2.5)] * 2] * 2
    splined = [[interpolated(r, u, f)] * 2] * 2
    energies = [
        Batch(device, Interaction(np.ones(2), cutoff, functions=g), x[None], types, box).evaluate()[0][0]
        for g in (exact, splined)
    ]
    assert energies[0] == pytest.approx(energies[1], rel=1e-5)


def test_bad_input_is_one_sentence(device):
    pairs, x, types, box = liquid("lj/cut")
    with pytest.raises(InputError, match="shorter than twice the cutoff"):
        Batch(device, pairs, x[None], types, 0.6 * box)
    with pytest.raises(InputError, match="type 2 is unknown"):
        Batch(device, pairs, x[None], types + 1, box)
    with pytest.raises(InputError, match="not finite"):
        Batch(device, pairs, x[None] * np.nan, types, box)
    with pytest.raises(InputError, match="no interaction 'lj/cutt'"):
        named_interaction("lj/cutt")
    structure = Structure(x, types, box)
    with pytest.raises(InputError, match="temperature is -1"):
        cage_states([structure], pairs, -1.0, device=device)
    with pytest.raises(InputError, match="radius has 2 values for 1 structures"):
        cage_states([structure], pairs, 0.5, radius=(0.2, 0.3), device=device)
    with pytest.raises(InputError, match="orthorhombic"):
        tilted = Structure(x, types, np.diag(box) + np.array([[0, 1, 0], [0, 0, 0], [0, 0, 0]]))
        inherent_structures([tilted], pairs, device=device)


def test_without_a_gpu_the_way_out_is_named(monkeypatch):
    monkeypatch.setattr(device_module, "device_count", lambda: 0)
    with pytest.raises((MissingDependencyError, PropensityError), match=r"propensity\[gpu\]|nvidia-smi"):
        device_module.CudaDevice(0)


@pytest.mark.slow
def test_no_kernel_reads_or_writes_beyond_its_arrays():
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("needs g++ and its address sanitiser")
    library = subprocess.run([compiler, "-print-file-name=libasan.so"], capture_output=True, text=True)
    if not Path(library.stdout.strip()).is_file():
        pytest.skip("needs the address sanitiser of g++")
    environment = {
        "LD_PRELOAD": library.stdout.strip(),
        "ASAN_OPTIONS": "detect_leaks=0",
        "CXX": compiler,
        "CXXFLAGS": "-fsanitize=address -O1",
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        "not slow and not gpu",
        "-p",
        "no:cacheprovider",
        __file__,
    ]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
