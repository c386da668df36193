"""The runtimes of the benchmark that can also say where their time goes, one file for each."""

from __future__ import annotations

from tunekit.errors import UsageError
from tunekit.wording import did_you_mean

# As text: they are imported in their own processes only.
LIBRARY = "tunekit.attribution.profilers.library:ProfiledLibrary"
STAGES = "tunekit.attribution.profilers.pytorch:StagedPyTorch"
THREADS = "tunekit.attribution.profilers.threads:TracedLibrary"
PROFILED = {
    "onnxruntime": "tunekit.attribution.profilers.onnxruntime:ProfiledOnnxRuntime",
    "openvino": "tunekit.attribution.profilers.openvino:ProfiledOpenVINO",
}
"""The runtimes that say where their time goes, by the names that they have in a benchmark."""


def parse_profiled(text: str) -> tuple[str, ...]:
    """The runtimes in a comma-separated list, each once; "none" for none.

    Raises:
        UsageError: one is not of PROFILED.
    """
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if names == ("none",):
        return ()
    for name in names:
        if name not in PROFILED:
            raise UsageError(
                f"--runtimes: {name!r} does not say where its time goes"
                f"{did_you_mean(name, PROFILED)}",
                hint=f"choose from {', '.join(PROFILED)}, or none",
            )
    if not names:
        raise UsageError("--runtimes: none given", hint=f"choose from {', '.join(PROFILED)}")
    return names
