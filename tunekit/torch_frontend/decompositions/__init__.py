"""Decompositions in plain torch of operators that torch itself keeps whole."""
