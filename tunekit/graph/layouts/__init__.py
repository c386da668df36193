"""Layouts of activations and weights, and the pass that gives a graph another one."""
