"""Libraries for other machines are made here, without one at hand, and run there."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from targets import unoptimized
from tiny_standalone import TinyLibrary, expecting, run_tiny, tiny_part
from toy_library import STRICT, build_program, build_toy

from tunekit.errors import CompileError
from tunekit.machine.target import resolve_target
from tunekit.standalone.build import SOURCES, Toolchain, build
from tunekit.standalone.interface import header
from tunekit.standalone.self_test import checks_of

_ARM = "aarch64-linux-gnu-gcc"
_EMULATOR = ("qemu-aarch64", "-L", "/usr/aarch64-linux-gnu")
needs_arm = pytest.mark.skipif(
    not (shutil.which(_ARM) and shutil.which(_EMULATOR[0])),
    reason="needs a compiler for aarch64 and its emulator: g++-aarch64-linux-gnu, qemu-user",
)
needs_musl = pytest.mark.skipif(not shutil.which("musl-gcc"), reason="needs musl-tools")

_SELF_TEST = """\
#include <stdio.h>
#include <tiny.h>

int main(void) {
  tunekit_options options = {.threads = 2};
  tunekit_model *model;
  int code = tiny_open(&model, &options);
  if (code == TUNEKIT_OK) code = tiny_self_test(model);
  puts(code == TUNEKIT_OK ? "all is well" : tiny_error(model));
  tiny_close(model);
  return code;
}
"""


def _output(*command: str | Path) -> str:
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_arm
def test_the_runtime_does_on_another_architecture_what_it_does_here(tmp_path: Path) -> None:
    build_toy(tmp_path, _ARM)
    for name in ("api", "threads"):
        program = build_program(name, tmp_path, _ARM)
        # The emulator cannot start threads after a fork.
        assert _output(*_EMULATOR, program, "without-forks") == "all is well\n"


@needs_arm
def test_a_model_gives_the_same_on_another_architecture(tiny: TinyLibrary, tmp_path: Path) -> None:
    spec = {
        **json.loads(unoptimized().spec),
        "mtriple": "aarch64-linux-gnu",
        "mattr": ["+neon"],
        "num-cores": 2,
    }
    del spec["mcpu"]
    target = resolve_target(spec, measured_elsewhere=True)
    # Other vector instructions round sums otherwise.
    checks = checks_of(run_tiny(tiny.machine), 1e-5)
    part = expecting(tiny_part(tmp_path, target, _ARM), checks)
    assert part.program.features == ["neon"]
    built = build("tiny", [part], tmp_path, Toolchain(_ARM))
    (tmp_path / "tiny.h").write_text(header("tiny"))
    (tmp_path / "main.c").write_text(_SELF_TEST)
    program = tmp_path / "main"
    Toolchain(f"{_ARM} {STRICT}").call(
        *(str(tmp_path / "main.c"), str(built.shared), f"-Wl,-rpath,{tmp_path}"),
        *(f"-I{tmp_path}", f"-I{SOURCES}", "-o", str(program)),
    )
    assert _output(*_EMULATOR, program) == "all is well\n"


@needs_musl
def test_another_c_library_will_do(tmp_path: Path) -> None:
    build_toy(tmp_path, "musl-gcc")
    for options in ([], ["-static"]):
        assert _output(build_program("api", tmp_path, "musl-gcc", *options)) == "all is well\n"


def test_a_program_without_shared_libraries_will_do(toy: Path) -> None:
    program = build_program("threads", toy, "gcc", "-static")
    assert (
        "not a dynamic executable"
        in subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False).stderr
    )
    assert _output(program) == "all is well\n"


def test_big_endian_is_refused_with_the_reason(tmp_path: Path) -> None:
    compiler = "gcc -U__BYTE_ORDER__ -D__BYTE_ORDER__=__ORDER_BIG_ENDIAN__"
    with pytest.raises(CompileError, match="are for little-endian CPUs"):
        build_toy(tmp_path, compiler)


@pytest.mark.parametrize(
    ("compiler", "mebibytes", "reason"),
    [("gcc", 5000, None), (_ARM, 1500, None), (_ARM, 5000, "more than code")],
)
def test_weights_have_a_section_that_code_can_do_with(
    compiler: str, mebibytes: int, reason: str | None, tmp_path: Path
) -> None:
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    (tmp_path / "weights.bin").write_bytes(bytes(64))
    macros = [f'-DTK_WEIGHTS="{tmp_path / "weights.bin"}"', "-DTK_SYMBOL=some_weights"]
    toolchain = Toolchain(compiler)

    def assemble() -> None:
        source = SOURCES / "weights.S"
        toolchain.compile(source, tmp_path / "w.o", *macros, f"-DTK_MEBIBYTES={mebibytes}")

    if reason is not None:
        with pytest.raises(CompileError, match=reason):
            assemble()
        return
    assemble()
    large = "lrodata" in _output("readelf", "-S", tmp_path / "w.o")
    assert large == (compiler == "gcc")
