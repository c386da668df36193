"""One candidate: built, timed, and compared with what it should compute.

`measurer` is the contract, `local` and `remote` keep it, `select` chooses between them. What they
share: `build` (code), `timing`, `noise_guard` and `cpu_cache` (seconds), `correctness` and
`reference_runs` (outputs), `messages` (what their children say) and `verdict` (what becomes of a
candidate). `interruption` sees to it that Ctrl-C loses no result.
"""
