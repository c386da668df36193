"""A compiled Relax library as a runtime, in the virtual machine and the thread pool of TVM."""

from __future__ import annotations

import numpy as np
import pytest

from tunekit.timing.rounds import Entry, RoundSettings, run_rounds


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """x @ a, its sum and its rows in order, of inputs that are not in alphabetical order."""
    import tvm
    from tvm import relax

    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((16, 32), "float32"))
    a = relax.Var("a", relax.TensorType((32, 8), "float32"))
    with builder.function("main", [x, a]):
        product = builder.emit(relax.op.matmul(x, a))
        total = builder.emit(relax.op.sum(product))
        # Sorting is a function of the runtime's own, which a library calls.
        ordered = builder.emit(relax.op.sort(product))
        builder.emit_func_output(relax.Tuple([product, total, ordered]))
    path = tmp_path_factory.mktemp("library") / "model.so"
    tvm.compile(builder.get(), target=tvm.target.Target({"kind": "llvm"})).export_library(str(path))
    return path


def test_a_library_runs_on_its_threads_and_gives_its_outputs_in_order(library, tmp_path):
    random = np.random.default_rng(0)
    inputs = {
        "x": random.standard_normal((16, 32)).astype(np.float32),
        "a": random.standard_normal((32, 8)).astype(np.float32),
    }
    plan = {"file": str(library), "device": "cpu", "input_names": ["x", "a"]}
    result = run_rounds(
        [Entry("tuned", "tunekit.benchmark.own_libraries:Tuned", plan)],
        inputs,
        RoundSettings(rounds=2, threads=2, turn_s=0.01, warm_up_s=0.01, idle_s=0.0),
        folder=tmp_path,
        say=lambda line: None,
    )
    outcome = result.outcomes[0]
    assert outcome.reason is None, outcome.detail
    assert outcome.settings["threads"] == 2
    product, total, ordered = outcome.outputs[0]
    np.testing.assert_allclose(product, inputs["x"] @ inputs["a"], rtol=1e-4)
    np.testing.assert_allclose(total, (inputs["x"] @ inputs["a"]).sum(), rtol=1e-4)
    np.testing.assert_array_equal(ordered, np.sort(product))
    # Neither TVM's compiler nor torch, which tvm_ffi would import, is counted against it.
    assert outcome.peak_rss_bytes < 250 * 2**20
    assert all(turn.at_rest for turn in outcome.turns)
