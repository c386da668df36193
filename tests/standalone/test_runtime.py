"""The C runtime, by programs in C that use it as applications do, under the sanitizers."""

from __future__ import annotations

import functools
import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from toy_library import C_TESTS, STRICT, build_program, build_toy

from tunekit.standalone.build import RUNTIME, SOURCES

_SANITIZERS = {
    "memory": "-fsanitize=address,undefined -fno-sanitize-recover=all",
    "threads": "-fsanitize=thread",
}


@functools.cache
def _fixed_addresses() -> tuple[str, ...]:
    """What starts a program at an address that is not chosen at random, where that is allowed:
    ThreadSanitizer does not know all that Linux may choose."""
    command = ("setarch", platform.machine(), "-R")
    if not shutil.which(command[0]):
        return ()
    tried = subprocess.run([*command, "true"], capture_output=True, check=False)
    return command if tried.returncode == 0 else ()


def _run(program: Path, *arguments: str) -> None:
    done = subprocess.run(
        [*_fixed_addresses(), str(program), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "all is well\n"
    assert done.stderr == ""


@pytest.mark.parametrize("sanitizer", _SANITIZERS)
def test_every_use_and_misuse_is_clean(sanitizer: str, tmp_path: Path) -> None:
    compiler = f"gcc -g -O1 {_SANITIZERS[sanitizer]}"
    build_toy(tmp_path, compiler)
    for program in ("threads", *(["api"] if sanitizer == "memory" else [])):
        _run(build_program(program, tmp_path, compiler))


def test_without_sanitizers_too(toy: Path) -> None:
    for program in ("api", "threads"):
        _run(build_program(program, toy, "gcc -O2"))


@pytest.mark.parametrize("kibibytes", [230, 3 << 10], ids=lambda size: f"{size} KiB")
def test_workers_have_room_beside_thread_local_variables(toy: Path, kibibytes: int) -> None:
    _run(build_program("threads", toy, "gcc -O2", f"-DTHREAD_LOCAL_BYTES={kibibytes << 10}"))


def test_memory_comes_in_pages_as_large_as_asked(tmp_path: Path) -> None:
    program = tmp_path / "memory_pages"
    subprocess.run(
        [
            *("gcc", *STRICT.split(), *_SANITIZERS["memory"].split(), f"-I{SOURCES}"),
            *(str(C_TESTS / "memory_pages.c"), str(SOURCES / "memory.c"), "-o", str(program)),
        ],
        check=True,
    )
    _run(program, str(tmp_path / "weights"))


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_sources_are_strict_c99(compiler: str, tmp_path: Path) -> None:
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    sources = [str(SOURCES / f"{name}.c") for name in RUNTIME]
    done = subprocess.run(
        [compiler, *STRICT.split(), "-Wshadow", "-Wstrict-prototypes", "-fsyntax-only", *sources],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr


def test_applications_in_cpp_include_the_headers_as_they_are(toy: Path, tmp_path: Path) -> None:
    source = tmp_path / "main.cpp"
    source.write_text(
        "#include <toy.h>\n"
        "#include <cstdio>\n"
        "int main() {\n"
        "  tunekit_options options{};\n"
        "  options.threads = 2;\n"
        "  const tunekit_api *api = toy_api();\n"
        "  tunekit_model *model = nullptr;\n"
        "  if (api->open(&model, &options) != TUNEKIT_OK) return 1;\n"
        "  int code = api->self_test(model);\n"
        "  api->close(model);\n"
        '  if (code == TUNEKIT_OK) std::puts("all is well");\n'
        "  return code;\n"
        "}\n"
    )
    program = tmp_path / "main"
    subprocess.run(
        [
            *("g++", "-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror", str(source)),
            *(f"-I{toy / 'include'}", str(toy / "lib" / "libtoy.a"), "-o", str(program)),
        ],
        check=True,
    )
    _run(program)


def test_a_library_comes_and_goes_while_the_program_runs(toy: Path, tmp_path: Path) -> None:
    program = tmp_path / "loading"
    subprocess.run(
        [
            *("gcc", *STRICT.split(), f"-I{toy / 'include'}", f"-I{C_TESTS}"),
            *(str(C_TESTS / "loading.c"), "-o", str(program), "-ldl", "-pthread"),
            f'-DLIBRARY="{toy / "lib" / "libtoy.so"}"',
        ],
        check=True,
    )
    _run(program)


def test_a_cpu_that_lacks_something_is_an_error(tmp_path: Path) -> None:
    build_toy(tmp_path, "gcc", ["not-of-this-world"])
    _run(build_program("wrong_cpu", tmp_path, "gcc"))


def test_the_best_program_that_the_cpu_can_run_is_chosen(tmp_path: Path) -> None:
    linked = build_toy(tmp_path, "gcc", ["not-of-this-world"], [])
    assert linked.weights == 4096  # the same for both
    _run(build_program("api", tmp_path, "gcc"))


def test_a_library_needs_the_c_library_only_and_shows_only_its_own_names(toy: Path) -> None:
    library = toy / "lib" / "libtoy.so"
    dynamic = subprocess.run(
        ["readelf", "-d", str(library)], capture_output=True, text=True, check=True
    ).stdout
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic)
    assert set(needed) <= {"libc.so.6", "libpthread.so.0"}
    for file, option in ((library, "-D"), (toy / "lib" / "libtoy.a", "-g")):
        names = subprocess.run(
            ["nm", option, "--defined-only", str(file)], capture_output=True, text=True, check=True
        ).stdout
        symbols = [line.split()[-1] for line in names.splitlines() if len(line.split()) == 3]
        assert symbols
        assert all(symbol.startswith("toy_") for symbol in symbols)
