"""Candidates measured on this machine, each in a process of its own.

`measurer` is the tuner's side and `protocol` what it asks; `server` forks, `batch` says when, and
`candidate_process` is what the child does.
"""
