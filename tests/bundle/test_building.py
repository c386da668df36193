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
from tiny_standalone import tiny_part

import tunekit
from tunekit.library import Library
from tunekit.recipe import load_recipe, override
from tunekit.standalone.build import Toolchain, build
from tunekit.standalone.interface import header

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
    assert said.splitlines()[-1] == "tiny_net is right on this machine"
    assert _needed(built / "lib/libtiny_net.so") == ["libc.so.6"]


def test_make_check_notices_a_byte_that_changed(unpacked: Path) -> None:
    sample = unpacked / "samples/1/output0.raw"
    values = np.fromfile(sample, "float32")
    values[1] += 1
    values.tofile(sample)
    refused = shell("make", "check", cwd=unpacked, code=2)
    assert "make: ***" in refused.stderr
    assert refused.stdout.splitlines() == ["samples/1/output0.raw: FAILED"]
    wrong = shell("build/check", "samples", cwd=unpacked, code=1).stdout
    assert "sample 1, output_0: relative error" in wrong
    assert "WRONG: above 1e-03" in wrong
    assert "tiny_net is WRONG on this machine" in wrong


def test_the_static_library_makes_programs_that_need_nothing(unpacked: Path) -> None:
    said = shell("make", "STATIC=1", "LDFLAGS=-static", "CXXFLAGS=-O0", "check", cwd=unpacked)
    assert "tiny_net is right on this machine" in said.stdout
    assert _needed(unpacked / "build/static/check") == []
    if os.geteuid() == 0:
        # A root folder in which there is nothing else.
        (unpacked / "root").mkdir()
        (unpacked / "build/static/check").rename(unpacked / "root/check")
        (unpacked / "samples").rename(unpacked / "root/samples")
        said = shell("chroot", "root", "/check", "/samples", cwd=unpacked)
        assert "tiny_net is right on this machine" in said.stdout


def test_without_a_cpp_compiler_the_rest_is_checked(unpacked: Path) -> None:
    said = shell("make", "-B", "CXX=no-such-compiler", "check", cwd=unpacked).stdout
    assert "tiny_net is right on this machine" in said


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


def test_two_libraries_serve_one_program_shared_and_static(built: Path, tmp_path: Path) -> None:
    """Of models with kernels of the same names."""
    part = tiny_part(tmp_path, unoptimized())
    other = build("other", [part], tmp_path, Toolchain("gcc"), static=True)
    assert other.static is not None
    (tmp_path / "other.h").write_text(header("other"))
    (tmp_path / "main.cpp").write_text(
        """\
#include <iostream>
#include <vector>
#include "other.h"
#include "tiny_net.h"
#include "tunekit/model.hpp"
int main() {
  tunekit::Model first(tiny_net_api()), second(other_api());
  std::vector<float> image(3 * 12 * 12);
  const std::int64_t ids[] = {1, 2, 3, 5, 8};
  second.bind_input(0, image.data(), image.size());
  second.bind_input(1, ids, 5);
  for (int i = 0; i < 3; i++) {
    first.self_test();
    second.run();
  }
  for (std::int64_t value : second.output<std::int64_t>(2)) std::cout << value << ' ';
  second = std::move(first);
  second.self_test();
  try {
    second.output<float>(1);
  } catch (const tunekit::Error& error) {
    std::cout << error.code() << ' ' << error.what() << '\\n';
  }
  try {
    second.bind_input(0, image.data(), image.size());
  } catch (const tunekit::Error& error) {
    std::cout << error.what() << '\\n';
  }
}
"""
    )
    compile_it = ("g++", "-std=c++17", *_STRICT, f"-I{built / 'include'}", "-I.", "main.cpp")
    shared = (built / "lib/libtiny_net.so", other.shared)
    static = (built / "lib/libtiny_net.a", other.static)
    paths = [f"-Wl,-rpath,{library.parent}" for library in shared]
    shell(*compile_it, *shared, *paths, "-o", "shared", cwd=tmp_path)
    shell(*compile_it, *static, "-lm", "-pthread", "-o", "static", cwd=tmp_path)
    said = [shell(f"./{kind}", cwd=tmp_path).stdout for kind in ("shared", "static")]
    assert said[0] == said[1]
    lines = said[0].splitlines()
    assert lines[0] == "2 3 4 6 9 1 output_1 holds elements of type int64"
    assert "image" in lines[1]
    assert "1728" in lines[1]


@pytest.mark.slow
@pytest.mark.skipif(
    not all(map(shutil.which, ("aarch64-linux-gnu-gcc", "qemu-aarch64"))),
    reason="needs a cross compiler and qemu",
)
def test_a_bundle_for_another_architecture_is_right_there(library: Library, tmp_path: Path) -> None:
    recipe = override(
        load_recipe(library.folder / "recipe.yaml"),
        {
            "target": "llvm -mtriple=aarch64-linux-gnu -mattr=+neon -num-cores=2",
            "cc": "aarch64-linux-gnu-gcc",
            "output": tmp_path / "artifacts",
        },
    )
    tunekit.export(recipe)
    # Of the library that is there now.
    folder = tunekit.export(recipe, static=True).folder
    emulated = ("qemu-aarch64", "-L", "/usr/aarch64-linux-gnu")
    for options, program in (
        ((), "build/check"),
        (("STATIC=1", "LDFLAGS=-static"), "build/static/check"),
    ):
        shell("make", "CC=aarch64-linux-gnu-gcc", "CXX=none", *options, "all", cwd=folder)
        said = shell(*emulated, program, "samples", cwd=folder).stdout
        assert "tiny_net is right on this machine" in said
