"""LSTM, GRU and plain recurrent layers as one matrix product and one kernel that loops over time.

Unrolled, a layer of a few hundred steps is thousands of operators, which take minutes to compile
and whose weights are read anew by each kernel. Here the projections of all inputs are one matrix
product; what remains in each step, the product with the state and the gates, is one kernel, whose
weights lie as its innermost loop reads them.
"""

from tunekit.frontends.recurrence.activations import ACTIVATIONS, Activation
from tunekit.frontends.recurrence.cells import Cell
from tunekit.frontends.recurrence.layer import Layer, emit_layer

__all__ = ["ACTIVATIONS", "Activation", "Cell", "Layer", "emit_layer"]
