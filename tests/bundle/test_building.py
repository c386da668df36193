"""A bundle is built with what a C engineer has, wherever it is unpacked."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from shell import shell
from targets import unoptimized

from tunekit.library.build import export
from tunekit.standalone.build import Part, Toolchain, build
from tunekit.standalone.emit import Program
from tunekit.standalone.interface import header
from tunekit.standalone.planner import plan

_STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")
_PROGRAM = """\
#include <stdio.h>
#include "tiny_net.h"
int main(void) {
  tunekit_model *model;
  if (tiny_net_open(&model, NULL)) return 1;
  int failed = tiny_net_self_test(model);
  puts(failed ? tiny_net_error(model) : "right");
  tiny_net_close(model);
  return failed;
}
"""


def _needed(program: Path) -> list[str]:
    """The libraries that a program loads."""
    read = shell("readelf", "-d", program, cwd=program.parent).stdout
    return re.findall(r"NEEDED.*\[(.*)\]", read)


def test_make_check_says_that_the_library_is_right(built: Path) -> None:
    said = shell("make", "check", cwd=built).stdout
    assert "self test: passed" in said
    checked = re.findall(r"sample (\d), output_(\d): relative error .* within", said)
    assert checked == [("0", "0"), ("0", "1"), ("1", "0"), ("1", "1")]
    assert "tiny_net is right on this machine" in said
    assert _needed(built / "lib/libtiny_net.so") == ["libc.so.6"]


def test_make_check_notices_a_byte_that_changed(unpacked: Path) -> None:
    sample = unpacked / "samples/1/output0.raw"
    values = np.fromfile(sample, "float32")
    values[1] += 1
    values.tofile(sample)
    assert "make: ***" in shell("make", "check", cwd=unpacked, code=2).stderr
    wrong = shell("build/check", "samples", cwd=unpacked, code=1).stdout
    assert "sample 1, output_0: relative error" in wrong
    assert "WRONG: above 1e-03" in wrong
    assert "tiny_net is WRONG on this machine" in wrong


def test_the_static_library_makes_programs_that_need_nothing(unpacked: Path) -> None:
    said = shell("make", "STATIC=1", "LDFLAGS=-static", "CXXFLAGS=-O0", "check", cwd=unpacked)
    assert "tiny_net is right on this machine" in said.stdout
    assert _needed(unpacked / "build/static/check") == []


@pytest.mark.skipif(shutil.which("clang++") is None, reason="needs clang and clang++")
def test_clang_builds_it_too(unpacked: Path) -> None:
    flags = f"-O0 {' '.join(_STRICT)}"
    command = ("make", "-B", "CC=clang", "CXX=clang++", f"CFLAGS={flags}", f"CXXFLAGS={flags}")
    assert "is right on this machine" in shell(*command, "check", cwd=unpacked).stdout


def test_headers_and_examples_are_c_and_cpp_of_their_standards(built: Path) -> None:
    include = ("-Iinclude", "-Iexample", "-fsyntax-only")
    for header_file in ("tiny_net.h", "tunekit.h", "read_input.h", "relative_error.h"):
        (source,) = built.rglob(header_file)
        for language, standard in (("c", "c99"), ("c++", "c++17")):
            shell("gcc", f"-x{language}", f"-std={standard}", *_STRICT, *include, source, cwd=built)


@pytest.mark.skipif(shutil.which("pkg-config") is None, reason="needs pkg-config")
@pytest.mark.parametrize("static", [False, True])
def test_pkg_config_finds_it(unpacked: Path, tmp_path: Path, static: bool) -> None:
    (tmp_path / "main.c").write_text(_PROGRAM)
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", *(["--static"] if static else []), "tiny_net"],
        env={**os.environ, "PKG_CONFIG_PATH": str(unpacked / "lib/pkgconfig")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    extra = "-static" if static else f"-Wl,-rpath,{unpacked / 'lib'}"
    shell("cc", "main.c", *shlex.split(flags), extra, "-o", "main", cwd=tmp_path)
    assert shell("./main", cwd=tmp_path).stdout == "right\n"


@pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")
def test_cmake_finds_it_and_takes_it_in(unpacked: Path, tmp_path: Path) -> None:
    (tmp_path / "main.c").write_text(_PROGRAM)
    (tmp_path / "CMakeLists.txt").write_text(
        """\
cmake_minimum_required(VERSION 3.13)
project(application C CXX)
if(FOUND)
  find_package(tiny_net REQUIRED)
else()
  add_subdirectory("a folder/of my own" bundle)
endif()
foreach(KIND tiny_net static)
  add_executable(with_${KIND} main.c)
  target_link_libraries(with_${KIND} PRIVATE tiny_net::${KIND})
endforeach()
"""
    )
    for found in ("ON", "OFF"):
        folder = tmp_path / f"build-{found}"
        shell(
            *("cmake", "-S", ".", "-B", folder, f"-DFOUND={found}"),
            f"-DCMAKE_PREFIX_PATH={unpacked}",
            cwd=tmp_path,
        )
        shell("cmake", "--build", folder, cwd=tmp_path)
        for kind in ("tiny_net", "static"):
            assert shell(folder / f"with_{kind}", cwd=tmp_path).stdout == "right\n"


@pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")
def test_as_a_cmake_project_it_builds_and_checks_its_examples(unpacked: Path) -> None:
    shutil.rmtree(unpacked / "build")
    shell("cmake", "-B", "build", "-DSTATIC=ON", cwd=unpacked)
    shell("cmake", "--build", "build", cwd=unpacked)
    assert "100% tests passed" in shell("ctest", "--test-dir", "build", cwd=unpacked).stdout


def _write_other_library(folder: Path) -> None:
    """A library of another model, whose kernel has a name that the first one's may have, too."""
    from tvm import relax

    x = relax.Var("x", relax.TensorType((3,), "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            doubled = builder.emit_output(builder.emit(relax.op.add(x, x)))
        builder.emit_func_output(doubled)
    kernels = folder / "kernels.o"
    built = export(builder.get(), unoptimized(), folder / "model.so", kernels=kernels)
    assert built.kernels is not None
    program = Program(
        plan=plan(built.lowered, built.unneeded),
        features=[],
        cores=2,
        input_names=["x"],
        output_names=["doubled"],
        input_ranges=[(0.0, 1.0)],
        checks=[],
        huge_pages=False,
        workspace=built.workspace,
    )
    build("other", [Part(program, built.kernels)], folder, Toolchain("gcc"), static=True)
    (folder / "other.h").write_text(header("other"))


@pytest.mark.parametrize("kind", ["so", "a"])
def test_two_libraries_serve_one_program(built: Path, tmp_path: Path, kind: str) -> None:
    _write_other_library(tmp_path)
    (tmp_path / "main.cpp").write_text(
        """\
#include <iostream>
#include "other.h"
#include "tiny_net.h"
#include "tunekit/model.hpp"
int main() {
  tunekit::Model first(tiny_net_api()), second(other_api());
  const float x[] = {1, 2, 4};
  second.bind_input(0, x, 3);
  for (int i = 0; i < 3; i++) {
    first.self_test();
    second.run();
  }
  for (float value : second.output<float>(0)) std::cout << value << ' ';
  second = std::move(first);
  second.self_test();
  try {
    second.output<float>(1);
  } catch (const tunekit::Error& error) {
    std::cout << error.code() << ' ' << error.what() << '\\n';
  }
  try {
    second.bind_input(0, x, 3);
  } catch (const tunekit::Error& error) {
    std::cout << error.what() << '\\n';
  }
}
"""
    )
    libraries = [built / f"lib/libtiny_net.{kind}", tmp_path / f"libother.{kind}"]
    link = (
        ["-lm", "-pthread"] if kind == "a" else [f"-Wl,-rpath,{path.parent}" for path in libraries]
    )
    shell(
        *("g++", "-std=c++17", *_STRICT, f"-I{built / 'include'}", "-I.", "main.cpp"),
        *(*libraries, *link, "-o", "main"),
        cwd=tmp_path,
    )
    said = shell("./main", cwd=tmp_path).stdout.splitlines()
    assert said[0] == "2 4 8 1 output_1 holds elements of type int64"
    assert "288" in said[1]
