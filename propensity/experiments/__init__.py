"""The comparisons of the literature as commands: each trains, scores, writes a table and draws a figure.

Figures and tables in brackets are those of arXiv:2211.03226.
"""

#: Experiment → what it shows; here, so that the command line can say it without importing the rest.
NAMES = {
    "timescales": "ρ against time for each model (Fig. 5 top, Table I).",
    "temperature": "ρ at τ_α against temperature for each model (Fig. 5 bottom).",
    "lmax": "ρ against the order of the harmonics (Fig. 7).",
    "transfer": "Train at one state point, score at another: as it is, and with a new readout (Fig. 6).",
    "seeds": "Spread of ρ over seeds (Table II).",
    "bootstrap": "Spread of ρ over test structures (Fig. 9).",
    "learning-curve": "Loss and ρ against epoch (Fig. 8).",
    "data-efficiency": "ρ at τ_α against the number of training structures.",
    "additions": "What inherent input, energy, species readouts and all times at once add.",
}
