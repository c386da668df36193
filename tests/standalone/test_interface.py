"""What Python calls is what C declares."""

from __future__ import annotations

import ctypes
import re
import subprocess
from pathlib import Path

import pytest

from tunekit.library.standalone import c_name
from tunekit.machine import cpu_features
from tunekit.standalone import abi, loaded
from tunekit.standalone.build import SOURCES, Toolchain
from tunekit.standalone.interface import c_text, header

_STRUCTURES = {
    "tunekit_options": abi.COptions,
    "tunekit_tensor": abi.CTensor,
    "tunekit_axis": abi.CAxis,
    "tunekit_event": abi.CEvent,
    "tunekit_api": abi.CApi,
}


@pytest.mark.parametrize("name", _STRUCTURES)
def test_structures_are_laid_out_as_in_c(name: str, tmp_path: Path) -> None:
    structure = _STRUCTURES[name]
    fields = [field[0] for field in structure._fields_ if field[0] != "callbacks"]
    lines = [f'  printf("{field} %zu\\n", offsetof({name}, {field}));' for field in fields]
    source = tmp_path / "layout.c"
    source.write_text(
        '#include <stdio.h>\n#include "tunekit.h"\nint main(void) {\n'
        + "\n".join(lines)
        + f'\n  printf("size %zu\\n", sizeof({name}));\n  return 0;\n}}\n'
    )
    program = tmp_path / "layout"
    subprocess.run(["gcc", f"-I{SOURCES}", str(source), "-o", str(program)], check=True)
    printed = subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout
    assert printed.splitlines() == [
        *(f"{field} {getattr(structure, field).offset}" for field in fields),
        f"size {ctypes.sizeof(structure)}",
    ]


def test_the_table_has_the_functions_of_the_header_in_order() -> None:
    declared = re.findall(r"\bnet_(\w+)\(", header("net"))
    members = [name for name, *_ in abi.CApi._fields_]
    assert declared == [*members[3:], "api"]


@pytest.mark.parametrize(
    "name",
    [
        *("sem", "mq", "shm", "iconv", "aio", "dbm"),
        *("alloca", "endian", "dirent", "mqueue", "spawn"),
        *("read_input", "relative_error", "matched"),
    ],
)
def test_a_name_hides_no_function_of_posix_and_no_header_of_posix_or_the_bundle(name: str) -> None:
    assert c_name(name) == f"model_{name}"
    assert c_name(f"{name}2") == f"{name}2"


def test_the_constants_are_those_of_the_header() -> None:
    text = (SOURCES / "tunekit.h").read_text()
    assert f"#define TUNEKIT_ABI_VERSION {abi.ABI_VERSION}" in text
    assert f"TUNEKIT_WRONG_CPU = {loaded._WRONG_CPU}," in text


@pytest.mark.parametrize(
    ("features", "start"),
    [(cpu_features._X86_FEATURES, "defined(__x86_64__)"), (cpu_features._ARM_FEATURES, "aarch64")],
    ids=["x86", "arm"],
)
def test_the_runtime_knows_every_feature_that_a_library_may_ask_for(
    features: dict[str, str], start: str
) -> None:
    source = (SOURCES / "cpu.c").read_text()
    part = source[source.index(start) :].partition("static int ")[0]
    assert set(features) <= set(re.findall(r'\{"([\w.-]+)",', part))


@pytest.mark.parametrize("text", ["plain", 'quo"te\\back', "what??!", "Größe\n", "\x00\x7f"])
def test_texts_are_the_same_in_c(text: str, tmp_path: Path) -> None:
    source = tmp_path / "text.c"
    source.write_text(
        f"#include <stdio.h>\nstatic const char text[] = {c_text(text)};\n"
        "int main(void) { fwrite(text, 1, sizeof text - 1, stdout); return 0; }\n"
    )
    program = tmp_path / "text"
    Toolchain("gcc -std=c99 -Wall -Wextra -Wpedantic -Werror").call(str(source), "-o", str(program))
    assert subprocess.run([str(program)], capture_output=True, check=True).stdout == text.encode()
