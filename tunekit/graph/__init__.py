"""From a Relax module to kernels and tasks: preparation in one place and one order."""
