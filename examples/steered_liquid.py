"""Steer a Kob–Andersen liquid at T = 0.56 towards low mobility, let go, and see whether it stays slow.

Of each pair one copy runs under the bias λ·q on the mean propensity q at τ_α, one without. Then both run
free: how far A particles get in τ_α, and the energy of the minimum, tell whether the bias found slow ones.
A minute or two on one core; ``python -m benchmarks.steering`` runs enough of it (docs/steering.md).

    python examples/steered_liquid.py
"""

import argparse
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from propensity import Annotator, Predictor, load_lammps
from propensity.bias import Linear
from propensity.simulate import load_preset

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", default=Path(__file__).parent / "ka_T0.56_smooth", help="smooth at its cutoff")
parser.add_argument("--particles", type=int, default=256, help="in each liquid")
parser.add_argument("--pairs", type=int, default=2, help="of a biased and an unbiased copy")
parser.add_argument("--first", type=int, default=0, help="number of the first pair, which gives its seeds")
parser.add_argument("--every", type=int, default=4, help="steps between impulses of the bias")
parser.add_argument("--strength", type=float, default=2.0, help="λ in ε/σ by the number of A particles")
parser.add_argument("--tau", type=int, default=4755, help="steps of τ_α, 0.005 each as is LAMMPS's custom")
parser.add_argument("--biased", type=float, default=0.5, help="length of the biased run in τ_α")
parser.add_argument("--runs", type=int, default=4, help="free runs from each configuration")
args = parser.parse_args()
if min(args.pairs, args.runs, args.tau, args.every) < 1:
    parser.error("--pairs, --runs, --tau and --every are at least 1")
BATH = "fix bath all nvt temp 0.56 0.56 1.0"
predictor = Predictor(args.model, device="cpu", species_map={1: "A", 2: "B"}, times=23.775)
n_a, edge = args.particles * 4 // 5, 15.0578 * (args.particles / 4096) ** (1 / 3)


def liquid(seed):
    lmp = load_lammps(("-screen", "none", "-log", "none"))
    lmp.commands_string(f"""units lj
atom_modify map array
region box block 0 {edge} 0 {edge} 0 {edge}
create_box 2 box
create_atoms 1 random {n_a} {seed + 1} box
create_atoms 2 random {args.particles - n_a} {seed + 2} box
mass * 1.0
pair_style soft 1.0
pair_coeff * * 50.0
minimize 0 1e-2 100 1000
{load_preset("kob-andersen").commands}
minimize 0 1e-2 100 1000
group A type 1
velocity all create 1.0 {seed + 3}
{BATH.replace("0.56", "1.0", 1)}
run {args.tau}
{BATH}
run {2 * args.tau}""")
    return lmp


def mobility(lmp, seed):
    """Mean displacement of A particles over τ_α, mean predicted propensity, inherent energy a particle."""
    with Annotator(lmp, predictor, every=10**9, times="all") as annotator:
        predicted = annotator.mean[0]
    start, found = lmp.gather_atoms("x", 1, 3), []
    for run in range(args.runs):
        lmp.scatter_atoms("x", 1, 3, start)
        lmp.commands_string(f"""velocity all create 0.56 {seed + run}
compute step A displace/atom
compute mean A reduce ave c_step[4]
run {args.tau}""")
        found.append(lmp.extract_compute("mean", 0, 0))
        lmp.commands_string("uncompute mean\nuncompute step")
    lmp.scatter_atoms("x", 1, 3, start)
    lmp.command("minimize 0 1e-4 2000 20000")
    return np.mean(found), predicted, lmp.get_thermo("pe")


def pair(seed):
    lmp, results = liquid(seed), []
    start = lmp.gather_atoms("x", 1, 3)
    for force in (args.strength * n_a, 0.0):
        lmp.scatter_atoms("x", 1, 3, start)
        lmp.command(f"velocity all create 0.56 {seed + 4}")
        bias = Annotator(lmp, predictor, args.every, times="all", bias=Linear(force)) if force else None
        with bias or nullcontext():
            lmp.command(f"run {int(args.biased * args.tau)}")
        results.append(mobility(lmp, seed + 10))
        shown = "".join(f"{x:12.4f}" for x in results[-1])
        print(f"{seed:4d} {'biased' if force else 'free':8}{shown}", flush=True)
    return results


if __name__ == "__main__":
    print("pair          displacement   predicted   inherent energy")
    results = np.array([pair(100 * (args.first + k + 1)) for k in range(args.pairs)])
    for k, what in enumerate(("displacement of A over τ_α", "predicted propensity", "inherent energy")):
        change, free = results[:, 0, k] - results[:, 1, k], results[:, 1, k].mean()
        error = f" ± {change.std(ddof=1) / len(change) ** 0.5:.4f}" if len(change) > 1 else " in one pair"
        print(f"{what}: unbiased {free:.4f}, change by the bias {change.mean():+.4f}{error}")
