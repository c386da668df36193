"""Every operator of torch's own test suite, imported, compiled and compared with torch.

    python benchmarks/torch_conformance.py [--operators 'nn.*' ...] [--dtypes float32 int64]
        [--samples 4] [--output torch_conformance.json] [--resume]

The samples are those with which torch tests itself (`torch.testing._internal`, which needs the
package `expecttest`). All samples of an operator make one module, so that they cost one export and
one compilation; where that module is not right, each is tried by itself. Every trial has a process
of its own, which may crash or hang. Verdicts of a sample:

    right    compiled, and as torch within a tolerance of its dtype
    refused  an error of tunekit's own: the message names what cannot be imported
    wrong    compiled, and other numbers; the import check refuses such a model
    crash    anything else: a traceback, a signal, a compiler's error, a timeout
    skipped  torch itself does not run it, or it draws random numbers
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import multiprocessing
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from tunekit.errors import TunekitError
from tunekit.models.baseline import build_baseline
from tunekit.torch_frontend import export_program, program_to_relax
from tunekit.wording import first_line

TIMEOUT_S = 240
TOLERANCES = {"float16": 4e-3, "bfloat16": 3e-2, "float32": 2e-4, "float64": 1e-6}
RANDOM = {
    "bernoulli", "cauchy", "exponential", "geometric", "log_normal", "multinomial", "normal",
    "rand_like", "randint", "randint_like", "randn", "randn_like", "uniform", "empty",
    "empty_like", "empty_permuted", "empty_strided", "new_empty", "new_empty_strided",
    "nn.functional.dropout", "nn.functional.dropout2d", "nn.functional.dropout3d",
    "nn.functional.alpha_dropout", "nn.functional.feature_alpha_dropout", "nn.functional.rrelu",
    "nn.functional.fractional_max_pool2d", "nn.functional.fractional_max_pool3d",
}  # fmt: skip
"""Operators whose result is another each time."""

Result = tuple[str, str]


class Trial(torch.nn.Module):
    """Samples of one operator; takes all their tensors, gives all their results."""

    def __init__(self, operator: Any, samples: list[Any]) -> None:
        super().__init__()
        self.operator = operator
        self.calls = []
        self.tensors: list[torch.Tensor] = []
        for sample in samples:
            leaves, tree = pytree.tree_flatten((sample.input, sample.args, sample.kwargs))
            places = []
            for leaf in leaves:
                is_tensor = isinstance(leaf, torch.Tensor)
                places.append((is_tensor, len(self.tensors) if is_tensor else leaf))
                if is_tensor:
                    self.tensors.append(leaf.detach().clone().requires_grad_(False))
            self.calls.append((places, tree))

    def forward(self, *tensors: torch.Tensor) -> list[torch.Tensor]:
        results = []
        for places, tree in self.calls:
            leaves = [tensors[item] if is_tensor else item for is_tensor, item in places]
            first, args, kwargs = pytree.tree_unflatten(leaves, tree)
            result = self.operator(first, *args, **kwargs)
            results += [leaf for leaf in pytree.tree_leaves(result) if is_given(leaf)]
        return results


def is_given(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor)


def tried(operator: Any, samples: list[Any], dtype: str) -> Result:
    """The verdict on samples together, and what was said."""
    trial = Trial(operator, samples).eval()
    tensors = [tensor.contiguous() for tensor in trial.tensors]
    try:
        with torch.no_grad():
            expected = trial(*[tensor.clone() for tensor in tensors])
    except Exception as error:  # noqa: BLE001 - whatever torch says of its own sample
        return "skipped", first_line(error)
    if not expected or any(not _is_comparable(result) for result in expected):
        return "skipped", "no tensor of a dtype that numpy has"
    try:
        program = export_program(trial, [tensor.clone() for tensor in tensors], "trial")
        names = [f"x{index}" for index in range(len(tensors))]
        module = program_to_relax(program, names, "trial")
        actual = run(module, tensors)
    except TunekitError as error:
        kind = "crash" if "compiled" in error.message else "refused"
        return kind, error.message
    except Exception as error:  # noqa: BLE001 - a defect, whatever it is
        return "crash", f"{type(error).__name__}: {first_line(error)}"
    return compared(expected, actual, dtype)


def _is_comparable(result: torch.Tensor) -> bool:
    return result.layout is torch.strided and not result.is_quantized


def run(module: Any, tensors: list[torch.Tensor]) -> list[Any]:
    """Compile and run in this very process."""
    import tvm
    from tvm import relax

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trial.so"
        build_baseline(module, path)
        machine = relax.VirtualMachine(tvm.runtime.load_module(str(path)), tvm.cpu())
        given = [tvm.runtime.tensor(tensor.numpy()) for tensor in tensors]
        result = machine["main"](*given)
        parts = [result] if hasattr(result, "numpy") else list(result)
        return [part.numpy() for part in parts]


def compared(expected: list[torch.Tensor], actual: list[Any], dtype: str) -> Result:
    """NaN and infinity must stand where torch has them."""
    if len(expected) != len(actual):
        return "wrong", f"{len(actual)} results in place of {len(expected)}"
    for index, (tensor, given) in enumerate(zip(expected, actual, strict=True)):
        wide = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
        wide = wide.detach().float() if wide.dtype is torch.bfloat16 else wide.detach()
        values = wide.numpy()
        if values.dtype != given.dtype or values.shape != given.shape:
            return "wrong", (
                f"result {index}: {given.dtype} {list(given.shape)} in place of "
                f"{values.dtype} {list(values.shape)}"
            )
        if not values.size:
            continue
        a, b = values.astype(np.float64), given.astype(np.float64)
        finite = np.isfinite(a)
        if not np.array_equal(
            np.where(finite, 0, a), np.where(np.isfinite(b), 0, b), equal_nan=True
        ):
            return "wrong", f"result {index}: NaN or infinity elsewhere"
        error = np.abs(np.where(finite, a - b, 0)).max()
        scale = max(np.abs(np.where(finite, a, 0)).max(), 1e-3)
        if error / scale > TOLERANCES.get(dtype, 2e-4 if values.dtype.kind == "f" else 0):
            return "wrong", f"result {index}: relative error {error / scale:.1e}"
    return "right", ""


def samples_of(operator: Any, dtype: torch.dtype, count: int) -> list[Any]:
    """Samples that differ: the first, the last, and some between."""
    torch.manual_seed(0)
    everything = list(operator.sample_inputs("cpu", dtype, requires_grad=False))
    if len(everything) <= count:
        return everything
    places = np.linspace(0, len(everything) - 1, count).astype(int)
    return [everything[place] for place in places]


def child(pipe: Any, operator: Any, dtype: torch.dtype, count: int, alone: int | None) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    try:
        samples = samples_of(operator, dtype, count)
        chosen = samples if alone is None else samples[alone : alone + 1]
        name = str(dtype).removeprefix("torch.")
        pipe.send((len(samples), tried(operator.op, chosen, name) if samples else ("skipped", "")))
    except Exception as error:  # noqa: BLE001 - torch's own samples
        pipe.send((0, ("skipped", first_line(error))))


def in_child(
    operator: Any, dtype: torch.dtype, count: int, alone: int | None
) -> tuple[int, Result]:
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe()
    process = context.Process(target=child, args=(theirs, operator, dtype, count, alone))
    process.start()
    theirs.close()
    try:
        if mine.poll(TIMEOUT_S):
            return mine.recv()  # type: ignore[no-any-return]
        return 1, ("crash", f"not done after {TIMEOUT_S} s")
    except EOFError:
        process.join(10)
        return 1, ("crash", f"the process died: exit code {process.exitcode}")
    finally:
        process.kill()
        process.join()


def verdicts(operator: Any, dtype: torch.dtype, count: int) -> list[Result]:
    """One verdict for each sample."""
    samples, together = in_child(operator, dtype, count, None)
    if together[0] == "right" or samples <= 1:
        return [together] * max(samples, 1)
    return [in_child(operator, dtype, count, index)[1] for index in range(samples)]


def warm() -> None:
    """Load in this process what every child needs: torch's tracer, TVM's passes."""
    torch.set_num_threads(1)
    sample = argparse.Namespace(input=torch.ones(2), args=(), kwargs={})
    assert tried(torch.neg, [sample], "float32")[0] == "right"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--operators", nargs="*", default=["*"])
    parser.add_argument("--dtypes", nargs="*", default=["float32"])
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--output", type=Path, default=Path("torch_conformance.json"))
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()

    from torch.testing._internal.common_methods_invocations import op_db

    warm()
    rows: dict[str, Any] = {}
    if options.resume and options.output.exists():
        rows = json.loads(options.output.read_text("utf-8"))
    for operator in op_db:
        full = operator.name + (
            f".{operator.variant_test_name}" if operator.variant_test_name else ""
        )
        if operator.name in RANDOM or not any(
            fnmatch.fnmatch(operator.name, pattern) for pattern in options.operators
        ):
            continue
        for name in options.dtypes:
            dtype = getattr(torch, name)
            key = f"{full} {name}"
            if dtype not in operator.dtypes or key in rows:
                continue
            results = verdicts(operator, dtype, options.samples)
            counts = Counter(kind for kind, _ in results)
            rows[key] = {**counts, "said": sorted({text for _, text in results if text})}
            print(key, dict(counts), "; ".join(rows[key]["said"])[:200], flush=True)
            options.output.write_text(json.dumps(rows, indent=1), "utf-8")
    total: Counter[str] = Counter()
    for row in rows.values():
        total.update({kind: number for kind, number in row.items() if kind != "said"})
    print(dict(total))


if __name__ == "__main__":
    main()
