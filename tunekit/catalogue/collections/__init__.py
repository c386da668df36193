"""The collections of the catalogue, one for a noun: sessions, trials, records, libraries,
benchmarks, maintenance. Each call is one transaction (see `Catalogue`)."""

from __future__ import annotations
