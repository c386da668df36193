"""The machine that something was measured on, as a page says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Widest first: machines of one name differ by them.
_VECTORS = {"avx512f": "AVX-512", "avx2": "AVX2", "sve": "SVE", "asimd": "NEON"}


def cpu(host: Mapping[str, Any]) -> str:
    """The CPU's name, and its widest vectors."""
    name = str(host.get("cpu_name", "unknown"))
    features = host.get("features", ())
    vectors = next((word for feature, word in _VECTORS.items() if feature in features), None)
    return f"{name}, {vectors}" if vectors else name


def machine(host: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is known of a host (`Host.as_dict`), in the order in which it is read."""
    memory = host.get("memory_bytes")
    facts = {
        "CPU": cpu(host),
        "cores": host.get("cores"),
        "memory": None if memory is None else f"{memory / 2**30:.1f} GiB",
        "hypervisor": host.get("hypervisor"),
        "machine": str(host.get("fingerprint", ""))[:12],
    }
    return [(name, str(value)) for name, value in facts.items() if value]
