"""Libraries that need nothing but the C library: a model's kernels, called in order from C.

TVM's virtual machine interprets a program of some seven operations, in which nothing depends on
data. So it is known when the model is compiled: which kernel is called when with which tensors
(`plan`, by `planner`), and where in memory each of them is (`memory`). That is written as tables in
C (`emit`), with the functions that the library offers (`interface`), and linked (`build`) with the
kernels, the weights and a small runtime (the folder `c`). `loaded` runs such a library from Python.
"""
