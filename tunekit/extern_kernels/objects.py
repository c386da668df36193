"""Kernels in C compiled for a target, by the compiler that links the library."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from tunekit.cache import ContentCache, content_key, file_digest
from tunekit.errors import CompileError
from tunekit.extern_kernels.function import kernels_of
from tunekit.extern_kernels.glue import source_of
from tunekit.machine.cpu_features import features_of, instruction_sets
from tunekit.machine.linker import linker
from tunekit.standalone.build import Toolchain

if TYPE_CHECKING:
    from tvm.ir import IRModule

    from tunekit.machine.target import ResolvedTarget

SOURCES = Path(__file__).parent / "c"
_CACHED = "extern-kernels"
_OBJECT = "kernel.o"
_FLAGS = (
    *("-std=c99", "-O3", "-fPIC", "-fvisibility=hidden"),
    # What they decide must not depend on who compiled them: no product is added unrounded.
    "-ffp-contract=off",
    # Nobody asks for errno or floating-point exceptions; with them, loops stay scalar.
    *("-fno-math-errno", "-fno-trapping-math"),
)
# Of x86, which other than ARM's are options of their own. More of them are of no use to C.
_OPTIONS = (
    *("sse3", "ssse3", "sse4.1", "sse4.2", "popcnt", "lzcnt", "bmi", "bmi2", "f16c", "fma"),
    *("avx", "avx2", "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"),
)


def compile_kernels(
    module: IRModule, target: ResolvedTarget, compiler: str | None, folder: Path
) -> list[Path]:
    """Objects with the kernels in C that the functions of a module call.

    Args:
        module: the functions.
        target: what for.
        compiler: a program and its options; this machine's own if left out.
        folder: gets the objects, and what they are made of.

    Raises:
        CompileError: the compiler fails, or the target is no CPU.
    """
    kernels = kernels_of(module)
    if not kernels:
        return []
    if target.kind != "llvm":
        raise CompileError(
            f"operator {kernels[0].operator} is computed in C, and {target.kind} does not run C",
            hint="choose a CPU as the target, such as native",
        )
    toolchain = Toolchain(linker(compiler, target) or "cc")
    options = (*_FLAGS, *_cpu_options(target))
    glue, own = folder / "extern_kernels.c", folder / "extern_kernels.o"
    glue.write_text(source_of(kernels), "utf-8")
    toolchain.compile(glue, own, "-I", str(SOURCES), *options)
    known = (sources_digest(), toolchain.compiler, toolchain.version(), options)

    def shared(name: str) -> Path:
        """The object of a file that is the same in every library, compiled once by a compiler."""
        made = ContentCache().made(
            _CACHED,
            content_key(name, *known),
            lambda entry: toolchain.compile(SOURCES / name, entry / _OBJECT, *options),
            f"the compiled {name}",
        )
        return made / _OBJECT

    sources = sorted({name for kernel in kernels for name in kernel.code.sources})
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return [own, *pool.map(shared, sources)]


def sources_digest() -> str:
    """Identifies the C files: a library with such kernels is what they make of it."""
    files = [file for file in SOURCES.iterdir() if file.suffix in (".c", ".h")]
    return content_key({file.name: file_digest(file) for file in files})


def _cpu_options(target: ResolvedTarget) -> list[str]:
    """What tells a C compiler which instructions it may use: those that the other kernels use."""
    features = instruction_sets(features_of(target.tvm), target.architecture)
    return [f"-m{feature}" for feature in features if feature in _OPTIONS]
