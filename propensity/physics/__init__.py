"""The liquids themselves: potentials, minima and isoconfigurational averages."""
