"""The benchmark: contestants in processes of their own take turns, and their outputs are compared.

- `runtimes/` what can run a model, one small file each, and the registry
- `contestant` the child process that owns one runtime and times it
- `process` the parent's handle on such a child: commands, timeouts, how it died
- `harness` loads, warms up, lets the contestants take turns, asks for their outputs
- `statistics`, `comparison` what the samples say, and when they should not be believed
- `environment` the machine before and after
- `results` the report, as it is written to JSON
- `run` all of it, from a recipe to a report

This module imports nothing: a contestant imports it first, and its memory is what is measured.
"""
