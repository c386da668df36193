"""The examples of a bundle do what their first lines say."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from shell import shell

import tunekit
from tunekit.bundle import Bundle

_INPUTS = ("samples/0/input0.raw", "samples/0/input1.raw")


def _expected(bundle: Path) -> np.ndarray:
    return np.fromfile(bundle / "samples/0/output0.raw", "float32")


def _picture(path: Path, pixels: np.ndarray, magic: str) -> Path:
    height, width = pixels.shape[:2]
    path.write_bytes(f"{magic}\n# made here\n{width} {height}\n255\n".encode() + pixels.tobytes())
    return path


def test_main_prints_the_largest_values(built: Path) -> None:
    said = shell("build/main", *_INPUTS, cwd=built).stdout
    found = re.findall(r"^ +(\d+)  (\S+)$", said, re.M)
    expected = _expected(built)
    order = np.argsort(-expected)[:5]
    assert [int(index) for index, _ in found] == order.tolist()
    np.testing.assert_allclose([float(value) for _, value in found], expected[order], rtol=1e-3)


def test_main_writes_outputs(built: Path, tmp_path: Path) -> None:
    shell("build/main", "--threads", "1", "--output", tmp_path / "o", *_INPUTS, cwd=built)
    np.testing.assert_allclose(
        np.fromfile(tmp_path / "o0.raw", "float32"), _expected(built), rtol=1e-3, atol=1e-4
    )
    second = (built / "samples/0/output1.raw").read_bytes()
    assert (tmp_path / "o1.raw").read_bytes() == second


def test_main_takes_the_time(built: Path) -> None:
    said = shell("build/main", "--bench", "50", "--threads", "2", *_INPUTS, cwd=built).stdout
    found = re.search(r"^50 runs, 2 threads: median ([\d.]+) ms, fastest ([\d.]+) ms$", said, re.M)
    assert found is not None
    assert float(found[1]) >= float(found[2]) > 0


def test_main_reads_pictures(built: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), "uint8")
    picture = _picture(tmp_path / "picture.ppm", pixels, "P6")
    mean, deviation = np.float32([0.5, 0.25, 0.125]), np.float32([0.5, 2, 1])
    values = (pixels / 255 - mean) / deviation
    values.astype("float32").transpose(2, 0, 1).tofile(tmp_path / "values.raw")
    prepare = ("--mean", "0.5,0.25,0.125", "--deviation", "0.5,2,1")
    of_picture = shell("build/main", *prepare, picture, _INPUTS[1], cwd=built).stdout
    assert of_picture == shell("build/main", tmp_path / "values.raw", _INPUTS[1], cwd=built).stdout


def test_pictures_go_into_bytes_and_behind_pixels_too(built: Path, tmp_path: Path) -> None:
    """A uint8 input of height, width and channels; one that begins like a picture's file."""
    (tmp_path / "main.c").write_text(
        """\
#include <stdio.h>
#include "read_input.h"
int main(int count, char **words) {
  const int64_t shape[] = {2, 3, 3};
  const tunekit_tensor tensor = {"x", "uint8", shape, 3, 1, 8, 0, 18};
  const normalization none = {{0, 0, 0}, {1, 1, 1}};
  unsigned char memory[18];
  int failed = count != 2 || read_input(words[1], &tensor, &none, memory);
  for (int i = 0; !failed && i < 18; i++) printf("%d ", memory[i]);
  return failed;
}
"""
    )
    include = (f"-I{built / 'include'}", f"-I{built / 'example'}")
    reader = built / "example/read_input.c"
    shell("cc", "-std=c99", *include, "main.c", reader, "-o", "main", cwd=tmp_path)
    pixels = np.arange(18, dtype="uint8").reshape(2, 3, 3)
    picture = _picture(tmp_path / "picture.ppm", pixels, "P6")
    said = shell("./main", picture, cwd=tmp_path).stdout
    assert [int(value) for value in said.split()] == list(range(18))
    (tmp_path / "like.raw").write_bytes(b"P6" + bytes(16))
    said = shell("./main", "like.raw", cwd=tmp_path).stdout
    assert [int(value) for value in said.split()] == [*b"P6", *([0] * 16)]


def test_main_says_what_does_not_fit(built: Path, tmp_path: Path) -> None:
    pixels = np.zeros((6, 4, 3), "uint8")
    turned = _picture(tmp_path / "turned.ppm", pixels, "P6")
    refused = shell("build/main", turned, _INPUTS[1], cwd=built, code=1).stderr
    assert f"{turned}: 4 x 6 pixels; the model takes 6 x 4" in refused
    gray = _picture(tmp_path / "gray.pgm", pixels[:, :, 0], "P5")
    refused = shell("build/main", gray, _INPUTS[1], cwd=built, code=1).stderr
    assert "the input image has 288 bytes, and the file has fewer" in refused
    cut = tmp_path / "cut.ppm"
    cut.write_bytes(b"P6 6 4 255\n123")
    assert "ends too early" in shell("build/main", cut, _INPUTS[1], cwd=built, code=1).stderr
    refused = shell("build/main", "nowhere.raw", _INPUTS[1], cwd=built, code=1).stderr
    assert "nowhere.raw: cannot be read" in refused
    usage = shell("build/main", "--bench", "0", *_INPUTS, cwd=built, code=2).stderr
    assert "input image: float32 1x3x4x6, 288 bytes" in usage
    assert "output output_1: int64 1x5, 40 bytes" in usage
    too_many = shell("build/main", "--threads", "100000", *_INPUTS, cwd=built, code=1).stderr
    assert "options.threads is 100000" in too_many


def test_main_cpp_prints_each_output(built: Path) -> None:
    first, second = shell("build/main_cpp", *_INPUTS, cwd=built).stdout.splitlines()
    name, _, values = first.partition(": float32, 32 bytes ")
    assert name == "output_0"
    np.testing.assert_allclose(
        [float(value) for value in values.split()], _expected(built)[:5], rtol=1e-3
    )
    assert second == "output_1: int64, 40 bytes"
    refused = shell("build/main_cpp", _INPUTS[0], _INPUTS[0], cwd=built, code=1).stderr
    assert refused.startswith("tiny_net: ")


# Runs a script with its arguments, and says which packages of a training machine it loaded.
LOADED_BY = """
import runpy, sys
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
loaded = {name.partition(".")[0] for name in sys.modules}
print(sorted(loaded & {"torch", "tvm", "tvm_ffi", "tunekit"}))
"""


def test_run_py_needs_numpy_alone(built: Path) -> None:
    script = (sys.executable, built / "example/run.py")
    first, second = shell(*script, *_INPUTS, cwd=built).stdout.splitlines()
    assert first.startswith("output_0: float32[1, 8] ")
    np.testing.assert_allclose(
        [float(value) for value in first.split("] ")[1].split()], _expected(built)[:5], rtol=1e-3
    )
    assert second.startswith("output_1: int64[1, 5] ")
    loaded = shell(sys.executable, "-c", LOADED_BY, *script[1:], *_INPUTS, cwd=built).stdout
    assert loaded.splitlines()[-1] == "[]"
    assert "usage: run.py INPUT... (the inputs: image ids)" in (
        shell(*script, cwd=built, code=1).stderr
    )


@pytest.mark.parametrize("sample", [0, 1])
def test_tunekit_loads_a_bundle(exported: Bundle, sample: int) -> None:
    folder = exported.folder
    with tunekit.load(folder) as model:
        arrays = {
            info.name: np.fromfile(
                folder / f"samples/{sample}/input{index}.raw", info.dtype
            ).reshape(info.shape)
            for index, info in enumerate(model.inputs)
        }
        outputs = model.run(**arrays)
        assert isinstance(outputs, dict)
        expected = np.fromfile(folder / f"samples/{sample}/output0.raw", "float32")
        np.testing.assert_allclose(outputs["output_0"].ravel(), expected, rtol=1e-3, atol=1e-4)
