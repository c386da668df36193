"""Attention in a model, found by what it computes, and put in place as one kernel.

Two matrix products with a softmax between them are attention, whatever is done to the scores:
scales, masks that are added or chosen by, other shapes on the way (windows, groups of queries).
What only moves queries, keys and values before, and heads afterwards, are the kernel's indices.
"""
