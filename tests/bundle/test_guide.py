"""The guide to deployment: a person who types what it says gets what it says."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from shell import shell

_GUIDE = Path(__file__).parents[2] / "docs/guides/deploy.md"
_BLOCK = re.compile(r'^```(\w+)(?: title="([\w.]+)")?\n(.*?)^```', re.M | re.S)
_TOOLS = ("cc", "c++", "make", "cmake", "pkg-config", "tar")


def _digits(path: Path) -> None:
    """A network of the sizes that the guide tells of."""
    weight = np.random.default_rng(0).normal(size=(784, 10)).astype("float32")
    helper, single = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["picture"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weight"], ["sums"]),
            helper.make_node("Softmax", ["sums"], ["scores"]),
        ],
        "digits",
        [helper.make_tensor_value_info("picture", single, [1, 1, 28, 28])],
        [helper.make_tensor_value_info("scores", single, [1, 10])],
        [onnx.numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)


@pytest.mark.skipif(not all(map(shutil.which, _TOOLS)), reason=f"needs {', '.join(_TOOLS)}")
def test_every_command_of_the_guide_does_what_it_says(run_warm, tmp_path: Path) -> None:
    _digits(tmp_path / "digits.onnx")
    (tmp_path / "seven.pgm").write_bytes(b"P5 28 28 255\n" + bytes(28 * 28))
    folder = tmp_path
    for kind, title, text in _BLOCK.findall(_GUIDE.read_text("utf-8")):
        if title:
            (folder / title).write_text(text)
            continue
        assert kind == "console"
        # The examples are compiled in half the time so.
        variables = "export CXXFLAGS=-O0\n"
        for entry in re.split(r"^\$ ", text, flags=re.M)[1:]:
            command, _, expected = entry.partition("\n")
            word, *rest = shlex.split(command)
            if word == "cd":
                folder = folder / rest[0]
            elif word.startswith("flags="):
                variables += f"{command}\n"
            elif word == "tunekit":
                done = run_warm(*rest, cwd=folder)
                assert (done.returncode, done.stdout) == (0, expected), done.stderr
            elif word != "pip":  # tests/test_wheel.py installs it
                said = shell("sh", "-ec", variables + command, cwd=folder).stdout.splitlines()
                missing = set(expected.splitlines()) - {"...", *said}
                assert not missing, command
