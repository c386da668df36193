"""How long imports take: ten models, each in a process of its own, then once more from the cache.

    python benchmarks/import_seconds.py [MODEL ...] [--label after] [--checkout FOLDER] [-o FILE]

An import is everything between a recipe and a checked Relax module: build, trace, convert, compile
the library of the check, run it and the framework, write. Seconds are of the work alone, without
the start of Python and the import of torch and TVM. `--checkout` measures another version of
tunekit, so that one file holds before and after: rows are kept by model, seconds by label, in
benchmarks/results/import_seconds.json. The machine must be quiet.
docs/results/imports.md is made from the file by docs/generate.py.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tunekit.machine.host import detect_host

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "benchmarks" / "results" / "import_seconds.json"

IMAGE = [("x", (1, 3, 224, 224), "float32")]
TOKENS = [(name, (1, 128), "int64") for name in ("input_ids", "attention_mask", "token_type_ids")]
MODELS: dict[str, tuple[str, list[tuple[str, tuple[int, ...], str]]]] = {
    "bert_base": ("python:import_models:bert_base", TOKENS),
    "minilm_l6": ("python:import_models:minilm_l6", TOKENS),
    **{
        name: (f"torchvision:{name}", IMAGE)
        for name in (
            *("resnet50", "resnet18", "mobilenet_v2", "efficientnet_b0", "densenet121"),
            *("vit_b_16", "swin_t", "convnext_tiny"),
        )
    },
}

PROGRAM = """
import json, sys, time
from pathlib import Path
import torch, tvm
from tunekit.cache import ContentCache
from tunekit.models import import_model
from tunekit.recipe import InputSpec, ModelSpec
source, inputs, folder = json.loads(sys.argv[1])
spec = ModelSpec(source=source, inputs=tuple(
    InputSpec(name=name, shape=tuple(shape), dtype=dtype) for name, shape, dtype in inputs))
seconds = []
for _ in range(2):
    start = time.perf_counter()
    model = import_model(spec, max_relative_error=1e-3, cache=ContentCache(Path(folder)))
    seconds.append(time.perf_counter() - start)
assert model.was_cached
print(json.dumps({"import_s": round(seconds[0], 2), "cached_s": round(seconds[1], 2)}))
"""


def main() -> None:
    arguments = _parsed()
    results = json.loads(arguments.output.read_text()) if arguments.output.is_file() else {}
    for name in arguments.models:
        seconds = measure(name, arguments.checkout)
        results.setdefault(name, {})[arguments.label] = seconds
        print(f"{name}: {seconds}", flush=True)
        arguments.output.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


def measure(name: str, checkout: Path) -> dict[str, Any]:
    """Seconds of a model's import, and of reading it back; or why there are none."""
    source, inputs = MODELS[name]
    path = os.pathsep.join([str(checkout), str(Path(__file__).parent)])
    with tempfile.TemporaryDirectory(prefix="tunekit-imports-") as folder:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, json.dumps([source, inputs, folder])],
            env={**os.environ, "PYTHONPATH": path},
            cwd=folder,
            check=False,
            capture_output=True,
            text=True,
        )
    told = {"cpu": detect_host().cpu_name, "date": datetime.now(UTC).date().isoformat()}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return {"failed": last, **told}
    return {**json.loads(done.stdout.splitlines()[-1]), **told}


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=list(MODELS), metavar="MODEL")
    parser.add_argument("--label", default="after")
    parser.add_argument("--checkout", type=Path, default=ROOT)
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    unknown = set(arguments.models) - set(MODELS)
    if unknown:
        parser.error(f"unknown models {', '.join(sorted(unknown))}; there are {', '.join(MODELS)}")
    return arguments


if __name__ == "__main__":
    main()
