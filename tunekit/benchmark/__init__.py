"""The benchmark: runtimes in processes of their own take turns, and their outputs are compared.

- `registry` the runtimes that there are, by name
- `own_libraries` those that tunekit compiles itself: tuned, default, unscheduled
- `cuda_libraries` those that TVM makes for a GPU
- `run` all of it, from a recipe to a report
- `comparison` from the samples to rows: who is right, who is faster, whether to believe it
- `environment` the machine, before and after
- `results` the report, as it is written to JSON
- `history` reports kept in the catalogue

How runtimes run and take turns is in `tunekit.runtimes` and `tunekit.timing`. This package imports
nothing: a runtime's process imports it first, and its memory is what is measured.
"""
