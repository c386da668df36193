"""Candidates measured on the devices of an RPC tracker.

`measurer` is the tuner's side and `protocol` what it asks; `server` works off a `batch` at a time:
`builds` makes files of candidates, `sessions` brings them to `devices`, `retries` decides what
becomes of a `job` whose device died or hung. `session` is what the child of a session does, `probe`
what it asks of the device first.
"""
