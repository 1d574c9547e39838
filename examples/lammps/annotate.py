"""Drive LAMMPS from Python and annotate while it runs: a short quench of a Kob–Andersen liquid.

``python annotate.py [model]``, or on several ranks ``mpirun -n 2 python annotate.py``.
"""

import sys

from propensity import Annotator, load_lammps


def main() -> None:
    model = sys.argv[1] if len(sys.argv) > 1 else "ka-default"
    lmp = load_lammps(["-log", "none", "-screen", "none"])
    lmp.commands_string("""
units lj
lattice fcc 1.2
region box block 0 8 0 8 0 8
create_box 2 box
create_atoms 1 box
set group all type/subset 2 410 12345
mass * 1.0
pair_style lj/cut 2.5
pair_coeff 1 1 1.0 1.00 2.5
pair_coeff 1 2 1.5 0.80 2.0
pair_coeff 2 2 0.5 0.88 2.2
velocity all create 4.0 4711
fix dynamics all nvt temp 2.0 0.5 0.5
run 5000
fix dynamics all nvt temp 0.5 0.5 0.5
""")
    with Annotator(lmp, model, every=100, species_map={1: "A", 2: "B"}) as annotator:
        # Any command may use d_propensity and f_propensity[i] here, as if LAMMPS had computed them.
        lmp.command("dump d all custom 100 annotated.lammpstrj id type x y z d_propensity")
        for _ in range(5):
            lmp.command("run 200")
            if lmp.extract_setting("world_rank") == 0:
                step, mean = lmp.extract_global("ntimestep"), annotator.species_mean["A"][0]
                print(f"step {step}: mean propensity of A at t = {annotator.times[0]:g} is {mean:.4f}")
        lmp.command("undump d")


if __name__ == "__main__":
    main()
