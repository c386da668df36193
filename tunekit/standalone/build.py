"""Compiles and links standalone libraries, for this machine or, by a cross compiler, another."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tunekit.cache import ContentCache, content_key, file_digest
from tunekit.errors import CompileError
from tunekit.machine.target import architecture_of
from tunekit.standalone.axes import SizedAxis
from tunekit.standalone.emit import (
    Program,
    WeightOffsets,
    program_source,
    write_weights,
)
from tunekit.standalone.interface import c_text, library_source

SOURCES = Path(__file__).parent / "c"
RUNTIME = (
    *("open", "errors", "tensors", "sizes", "run", "trace", "self_test"),
    *("pool", "memory", "numbers", "cpu"),
)
_CACHED = "standalone-runtime"
_FLAGS = ("-std=c99", "-D_GNU_SOURCE", "-O2", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off")


@dataclass(frozen=True)
class Toolchain:
    """Who compiles and links.

    Attributes:
        compiler: a program and its options, such as `gcc` or `zig cc -target aarch64-linux-gnu`.
    """

    compiler: str

    def compile(self, source: Path, output: Path, *options: str) -> None:
        """Compiles a C or assembler file into an object; a C++ compiler takes them as such."""
        language = "c" if source.suffix == ".c" else "assembler-with-cpp"
        self.call("-c", "-x", language, str(source), "-o", str(output), *options)

    def call(self, *arguments: str) -> None:
        """Calls the compiler.

        Raises:
            CompileError: it fails.
        """
        _run([*shlex.split(self.compiler), *arguments])

    def version(self) -> str:
        """What the compiler says that it is."""
        return _run([*shlex.split(self.compiler), "--version"])

    def tool(self, name: str) -> str:
        """The path of a tool, such as objcopy, that knows what the compiler makes.

        Raises:
            CompileError: there is none.
        """
        machine = self._says("-dumpmachine")
        architecture = machine.partition("-")[0]
        native = architecture_of(machine) == architecture_of("")
        names = [
            self._says(f"-print-prog-name={name}"),
            *(f"{prefix}-{name}" for prefix in (machine, f"{architecture}-linux-gnu", "llvm")),
        ]
        # This machine's own, which some compilers answer for all, knows its own architecture only.
        own = shutil.which(name)
        for path in map(shutil.which, [*names, name]):
            if path and (native or own is None or not Path(path).samefile(own)):
                return path
        raise CompileError(
            f"there is no {name} for {architecture}, which {self.compiler} compiles for",
            hint=f"install the binutils of that architecture, or LLVM's (llvm-{name})",
        )

    def _says(self, question: str) -> str:
        """What the compiler answers; nothing where it does not understand."""
        done = subprocess.run(
            [*shlex.split(self.compiler), question], capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else ""


@dataclass(frozen=True)
class Part:
    """A program and the object with its kernels."""

    program: Program
    kernels: Path


@dataclass(frozen=True)
class Linked:
    """What was built.

    Attributes:
        shared: the shared library.
        static: the archive with the same; None where it was not wanted.
        weights: bytes of the weights.
    """

    shared: Path
    static: Path | None
    weights: int


def build(
    name: str,
    parts: Sequence[Part],
    folder: Path,
    toolchain: Toolchain,
    *,
    manifest: str = "{}",
    static: bool = False,
    axes: Sequence[SizedAxis] = (),
) -> Linked:
    """Builds libNAME.so, and libNAME.a if wanted, in `folder`.

    Args:
        name: a C identifier, which begins the names of all that the library offers.
        parts: the model's programs, the best first; with `axes` each at every size, the sizes of
            the last axis going up fastest.
        folder: gets the libraries.
        toolchain: compiles and links.
        manifest: what the library tells of itself.
        static: also make an archive.
        axes: of which the inputs have several sizes.

    Raises:
        CompileError: the compiler or linker fails.
    """
    with tempfile.TemporaryDirectory(prefix=".linking-", dir=folder) as temporary:
        work = Path(temporary)
        weights = write_weights(
            [array for part in parts for array in part.program.plan.weights], work / "weights.bin"
        )
        objects = [_weights_object(name, weights.size, work, toolchain)]
        code = _code(name, parts, weights, work, toolchain, manifest, axes)
        shared = folder / f"lib{name}.so"
        toolchain.call(
            "-shared",
            *("-o", str(shared)),
            str(code),
            *map(str, objects),
            f"-Wl,-soname,{shared.name},-z,defs,-z,nodelete,-z,relro,-z,now,--as-needed",
            *("-lm", "-pthread"),
        )
        archive = None
        if static:
            archive = folder / f"lib{name}.a"
            _run([toolchain.tool("ar"), "rcs", str(archive), str(code), *map(str, objects)])
    return Linked(shared, archive, weights.size)


def _weights_object(name: str, size: int, work: Path, toolchain: Toolchain) -> Path:
    path = work / "weights.o"
    toolchain.compile(
        SOURCES / "weights.S",
        path,
        f"-DTK_WEIGHTS={c_text(str(work / 'weights.bin'))}",
        f"-DTK_SYMBOL={name}_weights",
        f"-DTK_MEBIBYTES={size >> 20}",
    )
    return path


def _code(
    name: str,
    parts: Sequence[Part],
    weights: WeightOffsets,
    work: Path,
    toolchain: Toolchain,
    manifest: str,
    axes: Sequence[SizedAxis],
) -> Path:
    """One object of everything but the weights, in which only the library's own names are seen."""
    include = ("-I", str(SOURCES))
    objects = _runtime(toolchain)
    symbols = []
    offsets = iter(weights.offsets)
    for number, part in enumerate(parts):
        symbols.append(f"tk_program_{number}")
        own = [next(offsets) for _ in part.program.plan.weights]
        source = work / f"program{number}.c"
        source.write_text(program_source(part.program, symbols[-1], own), "utf-8")
        tables = source.with_suffix(".o")
        toolchain.compile(source, tables, *_FLAGS, "-O0", *include)
        objects.append(work / f"joined{number}.o")
        # Kernels of several programs have the same names.
        _join([tables, part.kernels], objects[-1], symbols[-1], toolchain)
    source = work / "library.c"
    source.write_text(library_source(name, manifest, weights.size, symbols, axes), "utf-8")
    objects.append(work / "library.o")
    toolchain.compile(source, objects[-1], *_FLAGS, "-fvisibility=default", *include)
    path = work / f"{name}.o"
    _join(objects, path, f"{name}_*", toolchain)
    return path


def _runtime(toolchain: Toolchain) -> list[Path]:
    """The objects of the runtime: the same in every library, and compiled once by a compiler."""
    key = content_key(sources_digest(), RUNTIME, toolchain.compiler, toolchain.version(), _FLAGS)

    def make(folder: Path) -> None:
        for name in RUNTIME:
            toolchain.compile(SOURCES / f"{name}.c", folder / f"{name}.o", *_FLAGS)

    folder = ContentCache().made(_CACHED, key, make, "the compiled runtime")
    return [folder / f"{name}.o" for name in RUNTIME]


def sources_digest() -> str:
    """Identifies the runtime's code: a library is what this makes of a program."""
    files = [file for file in SOURCES.iterdir() if file.suffix in (".c", ".h", ".S")]
    return content_key({file.name: file_digest(file) for file in files})


def _join(objects: Sequence[Path], output: Path, visible: str, toolchain: Toolchain) -> None:
    """Makes one object of several; only the symbols that match `visible` are seen from outside."""
    toolchain.call("-r", "-nostdlib", "-o", str(output), *map(str, objects))
    options = ("--wildcard", f"--keep-global-symbol={visible}")
    _run([toolchain.tool("objcopy"), *options, str(output)])


def _run(command: Sequence[str]) -> str:
    """What a command prints."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise CompileError(
            f"{command[0]} cannot be run: {error.strerror or error}",
            hint="--cc (or TUNEKIT_CC, or cc in the recipe) names the compiler",
        ) from error
    if done.returncode != 0:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise CompileError(
            f"{shlex.join(command[:1])} failed: " + "; ".join(lines[-3:]),
            hint="`tunekit doctor` checks the compiler",
        )
    return done.stdout
