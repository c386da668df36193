"""The machine on which the runtimes ran."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import UTC, datetime

from tunekit.benchmark.results import Environment
from tunekit.timing.host_load import Noise
from tunekit.version import __version__


def describe(noise: Noise, extra_packages: Sequence[str] = ()) -> Environment:
    """The environment for the report. Imports no framework."""
    from tunekit.machine.host import detect_host
    from tunekit.machine.toolchain import installed_version, versions

    installed = {"tunekit": __version__, **versions()}
    for package in extra_packages:
        if package not in installed and (version := installed_version(package)) is not None:
            installed[package] = version
    return Environment(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        host=detect_host().as_dict(),
        system=platform.platform(),
        versions=installed,
        noise=noise,
    )
