"""A recipe is tuned on devices of a real RPC tracker, as flags, environment and file say."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from killable import WarmStarter
from rpc_farm import PATIENCE_S, Machines, kill, until

from tunekit.catalogue import Catalogue
from tunekit.errors import RecipeError
from tunekit.graph.pipeline import measuring_host
from tunekit.library.build import export
from tunekit.machine.host import remote_host
from tunekit.machine.target import ResolvedTarget
from tunekit.processes.sandbox import Elsewhere, run_library
from tunekit.recipe import Recipe, load_recipe, override, recipe_digest

Run = Callable[..., "subprocess.CompletedProcess[str]"]

_TUNING_PATIENCE_S = 270.0
_MODEL = """\
import torch


def tiny():
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(8 * 16 * 16, 10),
    )
"""
_BUDGET = 8
_RECIPE = f"""\
name: tiny
model:
  source: python:tiny_model:tiny
  inputs:
    - name: image
      shape: [1, 3, 16, 16]
layout: NCHW
catalogue: catalogue.db
tuning:
  trials: {_BUDGET}
  measure: {{repeat: 2, min_repeat_ms: 1, jobs: 1}}
"""


def test_a_model_is_tuned_on_two_devices_of_which_one_dies_in_the_middle(
    machines: Machines, starter: WarmStarter, tmp_path: Path
) -> None:
    key, servers = machines.servers(2)
    (tmp_path / "tiny_model.py").write_text(_MODEL)
    (tmp_path / "tiny.yaml").write_text(_RECIPE)
    catalogue = tmp_path / "catalogue.db"
    tuner = starter.start(
        *(tmp_path, tmp_path / "output", tmp_path / "errors"),
        ["tune", "tiny.yaml", "--rpc-tracker", str(machines.address), "--rpc-key", key],
    )
    try:
        until(
            lambda: _devices_of_trials(catalogue) or "error" in tuner.errors,
            "the first trial is in the catalogue",
            _TUNING_PATIENCE_S,
        )
        first, *_ = _devices_of_trials(catalogue) or [None]
        assert first in servers, tuner.errors
        kill(servers[first])
        code = tuner.wait()
    finally:
        tuner.kill()
    said = tuner.errors
    assert code == 0, said
    assert f"measuring on devices of key {key} at {machines.address}: " in said
    assert f"{os.uname().machine}-" in said
    used = _devices_of_trials(catalogue)
    assert len(used) == _BUDGET
    assert set(used) == set(servers)
    with Catalogue.open(catalogue, create=False) as found:
        assert {trial.failure for trial in found.trials.read()} == {None}
        (session,) = found.sessions.list()
    assert session.state == "finished"
    # The architecture and the cores do not count; the target says them.
    assert session.host_fingerprint == remote_host(key, session.target_json, "", 0).fingerprint
    manifest = json.loads((tmp_path / "artifacts/tiny/manifest.json").read_text())
    assert manifest["applied"] > 0
    assert manifest["relative_errors"]
    assert manifest["selection"]["skipped"] == "the library is for other machines"
    assert (tmp_path / "artifacts/tiny/model.so").is_file()


def test_a_library_that_cannot_run_here_runs_on_a_device_all_the_same(
    machines: Machines, native: ResolvedTarget, tmp_path: Path
) -> None:
    from tvm import relax

    builder = relax.BlockBuilder()
    inputs = [relax.Var(name, relax.TensorType((2, 3), "float32")) for name in ("a", "b")]
    with builder.function("main", inputs):
        total = builder.emit(relax.op.add(*inputs))
        product = builder.emit(relax.op.multiply(total, inputs[1]))
        builder.emit_func_output(relax.Tuple([total, product]))

    export(builder.get(), native, tmp_path / "sums.so")
    key, _ = machines.servers(1)
    a, b = np.arange(6, dtype="float32").reshape(2, 3), np.full((2, 3), 2, "float32")
    ((first, second),) = run_library(
        tmp_path / "sums.so",
        [{"a": a, "b": b}],
        input_names=["a", "b"],
        elsewhere=Elsewhere(str(machines.address), key, PATIENCE_S),
    )
    np.testing.assert_array_equal(first, a + b)
    np.testing.assert_array_equal(second, (a + b) * b)


def _devices_of_trials(catalogue: Path) -> list[str]:
    """Each trial's device, read beside whoever writes them."""
    if not catalogue.is_file():
        return []
    with contextlib.closing(sqlite3.connect(f"file:{catalogue}?mode=ro", uri=True)) as connection:
        try:
            rows = connection.execute("select device from trials order by id").fetchall()
        except sqlite3.OperationalError:
            return []
    return [str(device) for (device,) in rows]


@pytest.mark.parametrize(
    ("flags", "environment"),
    [
        (["--rpc-tracker", "{tracker}", "--rpc-key", "k"], {}),
        (["--rpc-key", "k"], {"TVM_TRACKER_HOST": "127.0.0.1", "TVM_TRACKER_PORT": "{port}"}),
        # Flags win.
        (
            ["--rpc-tracker", "{tracker}", "--rpc-key", "k"],
            {"TVM_TRACKER_HOST": "127.0.0.1", "TVM_TRACKER_PORT": "1", "TVM_TRACKER_KEY": "other"},
        ),
        (
            [],
            {
                "TVM_TRACKER_HOST": "127.0.0.1",
                "TVM_TRACKER_PORT": "{port}",
                "TVM_TRACKER_KEY": "k",
            },
        ),
    ],
    ids=["flags", "key by flag", "flags before environment", "environment"],
)
def test_where_to_measure_comes_from_flags_and_environment(
    run_warm: Run, recipe_file: Path, flags: list[str], environment: dict[str, str]
) -> None:
    # With nobody at the address, the error names it: each way leads there.
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = str(nobody.getsockname()[1])
        tracker = f"127.0.0.1:{port}"
        done = run_warm(
            "tune",
            recipe_file,
            *(flag.format(tracker=tracker) for flag in flags),
            env={name: value.format(port=port) for name, value in environment.items()},
        )
    assert (done.returncode, done.stdout) == (1, "")
    assert f"error: no RPC tracker answers at {tracker}: " in done.stderr


def test_a_tracker_without_a_key_and_a_key_without_a_tracker(
    run_warm: Run, recipe_file: Path
) -> None:
    done = run_warm("tune", recipe_file, "--rpc-tracker", "127.0.0.1")
    assert done.returncode == 2
    assert "but no kind of device" in done.stderr
    assert "--rpc-key or TVM_TRACKER_KEY" in done.stderr
    done = run_warm("tune", recipe_file, "--rpc-key", "rasp4")
    assert done.returncode == 2
    assert "no RPC tracker is named" in done.stderr
    assert "--rpc-tracker host:port" in done.stderr


def test_a_library_for_another_architecture_needs_a_compiler_that_links_for_it(
    machines: Machines, run_warm: Run, recipe_file: Path
) -> None:
    other = "x86_64" if os.uname().machine == "aarch64" else "aarch64"
    done = run_warm(
        *("tune", recipe_file, "--rpc-tracker", str(machines.address), "--rpc-key", "board"),
        *("--target", f"llvm -mtriple={other}-linux-gnu -num-cores=4"),
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert f"the tracker at {machines.address} has no device of key board yet; " in done.stderr
    assert f"error: the library is for {other}, and this machine links for " in done.stderr
    assert f"{other}-linux-gnu-g++" in done.stderr


def test_the_devices_of_a_key_are_one_host_whatever_the_tracker() -> None:
    recipe = Recipe.model_validate(
        {
            "name": "small",
            "model": {
                "source": "torchvision:resnet18",
                "inputs": [{"name": "input", "shape": [1, 3, 32, 32]}],
            },
        }
    )
    target = ResolvedTarget('{"kind":"llvm"}', "llvm", "", cores=4, vector_bits=128)
    here = override(recipe, {"tuning.rpc.tracker": "a:9190", "tuning.rpc.key": "rasp4"})
    there = override(recipe, {"tuning.rpc": {"tracker": "[::1]", "key": "rasp4", "cc": "g++"}})
    other = override(recipe, {"tuning.rpc.tracker": "a:9190", "tuning.rpc.key": "rasp5"})
    assert measuring_host(here, target) == measuring_host(there, target)
    assert measuring_host(here, target).cpu_name == "rpc:rasp4"
    fingerprints = {measuring_host(found, target).fingerprint for found in (here, other, recipe)}
    assert len(fingerprints) == 3
    assert recipe_digest(here) == recipe_digest(there) == recipe_digest(recipe)


@pytest.mark.parametrize(
    ("rpc", "key"),
    [
        ({"tracker": "farm:9190"}, "tuning.rpc.key"),
        ({"tracker": "farm:port", "key": "rasp4"}, "tuning.rpc.tracker"),
        ({"tracker": "farm", "key": "rasp 4"}, "tuning.rpc.key"),
        ({"tracker": "farm", "key": "rasp4", "wait_s": 0}, "tuning.rpc.wait_s"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_recipe_cannot_say_of_devices(
    tmp_path: Path, recipe_text: str, rpc: dict[str, object], key: str
) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(f"{recipe_text}  rpc: {json.dumps(rpc)}\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(file)
    assert caught.value.key == key
