"""Whether tuning works here: each check says what it found and, where needed, the fix."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from tunekit.cache import ENVIRONMENT_VARIABLE, GB, ContentCache
from tunekit.errors import CatalogueError, UsageError
from tunekit.machine.host import Host, detect_host
from tunekit.machine.toolchain import installed_version, pip_install, tvm_problems
from tunekit.processes.exit import Exit
from tunekit.processes.python import python_module, with_this_package
from tunekit.wording import counted, last_lines

Status = Literal["ok", "note", "problem"]

_SELFTEST_TIMEOUT_S = 180
_COMPILER_TIMEOUT_S = 60
_LITTLE_MEMORY_BYTES = 4 << 30
_LITTLE_DISK_BYTES = 2 << 30
_TOO_LITTLE_DISK_BYTES = 200 << 20

# In the order in which TVM looks for one.
_COMPILERS = ("g++", "gcc", "clang++", "clang", "c++", "cc")

# The features that decide how fast tensor code can be, widest first, by the kernel's names.
_TELLING_FEATURES = (
    *("amx_tile", "amx_int8", "amx_bf16"),
    *("avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("avx_vnni", "avx2", "fma", "f16c", "avx", "sse4_2"),
    *("sve2", "sve", "i8mm", "bf16", "asimddp", "asimdhp", "asimd"),
)


@dataclass(frozen=True)
class Check:
    """One thing looked at. `problem`: tuning would fail; `note`: worth knowing.

    `fix` is what to do now; it stands with every problem.
    """

    name: str
    status: Status
    found: str
    fix: str | None = None


def diagnose(*, catalogue: str, quick: bool = False) -> Iterator[Check]:
    """Each check as it is made, the one that decides most first.

    `catalogue` is a path or SQLAlchemy URL; it is not made when it is not there. `quick`
    leaves out the self-test, which imports TVM and builds something in a process of its own
    (5 to 15 s).
    """
    host = detect_host()
    tvm = list(_tvm())
    yield from tvm
    yield _torch()
    yield _python()
    yield from _machine(host)
    yield _compiler()
    yield _gpu(host)
    yield from _runtimes()
    yield _catalogue(catalogue)
    yield _disk(Path.cwd())
    yield _cache()
    if quick:
        return
    if any(check.status == "problem" for check in tvm):
        yield Check("self-test", "note", "left out: TVM cannot be used as it is")
    else:
        yield selftest()


def _tvm() -> Iterator[Check]:
    problems = list(tvm_problems())
    for problem in problems:
        yield Check(problem.distribution, "problem", problem.message, problem.fix)
    if not problems:
        versions = [
            f"{name} {installed_version(name)}" for name in ("apache-tvm", "apache-tvm-ffi")
        ]
        yield Check("apache-tvm", "ok", f"{' with '.join(versions)}")


def _torch() -> Check:
    """torch and torchvision fit when torch is the version that torchvision was built with."""
    torch, torchvision = installed_version("torch"), installed_version("torchvision")
    if torch is None or torchvision is None:
        missing = [
            name for name, have in (("torch", torch), ("torchvision", torchvision)) if not have
        ]
        return Check(
            "torch",
            "problem",
            f"{' and '.join(missing)} not installed, and models are imported with it",
            pip_install(*(_requirement(name) for name in missing)),
        )
    pin = re.search(r"^torch *\(?== *([^)\s;]+)", "\n".join(_requires("torchvision")), re.M)
    # A local part such as +cpu names the build, not the version.
    if pin is not None and torch.partition("+")[0] != pin[1].partition("+")[0]:
        return Check(
            "torch",
            "problem",
            f"torchvision {torchvision} is built for torch {pin[1]}, and torch {torch} is "
            "installed",
            pip_install(_requirement("torch"), _requirement("torchvision")),
        )
    return Check("torch", "ok", f"torch {torch} with torchvision {torchvision}")


def _requires(distribution: str) -> list[str]:
    return metadata.requires(distribution) or []


def _requirement(name: str) -> str:
    """The requirement as tunekit's own metadata has it, such as `torch==2.12.1`."""
    try:
        own = _requires("tunekit")
    except metadata.PackageNotFoundError:
        return name
    for requirement in own:
        if re.match(rf"{re.escape(name)}(?![\w.-])", requirement):
            return requirement.partition(";")[0].strip()
    return name


def _python() -> Check:
    interpreter = f"Python {sys.version.split()[0]} ({sys.executable})"
    minimum = _minimum_python()
    if sys.version_info < minimum:
        version = ".".join(str(part) for part in minimum)
        return Check("python", "problem", interpreter, f"use Python {version} or newer")
    return Check("python", "ok", interpreter)


def _minimum_python() -> tuple[int, ...]:
    """The oldest Python that tunekit's own metadata admits."""
    try:
        said = metadata.metadata("tunekit")["Requires-Python"] or ""
    except metadata.PackageNotFoundError:
        return ()
    oldest = re.search(r">=\s*(\d+(?:\.\d+)*)", said)
    return tuple(map(int, oldest[1].split("."))) if oldest else ()


def _machine(host: Host) -> Iterator[Check]:
    where = f", under the hypervisor {host.hypervisor}" if host.hypervisor else ""
    if host.hypervisor == "unknown":
        where = ", in a virtual machine"
    yield Check("cpu", "ok", f"{host.cpu_name} ({host.architecture}{where})")
    telling = [name for name in _TELLING_FEATURES if name in host.features]
    yield Check(
        "cpu features",
        "ok" if telling else "note",
        " ".join(telling) or "no vector instructions that tunekit knows of",
    )
    yield _cores(host)
    memory = f"{host.memory_bytes / 2**30:.1f} GiB"
    if host.memory_bytes < _LITTLE_MEMORY_BYTES:
        yield Check("memory", "note", memory, "tune small models, or on a larger machine")
    else:
        yield Check("memory", "ok", memory)


def _cores(host: Host) -> Check:
    total = os.cpu_count() or host.cores
    summary = f"{host.cores} usable" + (f" of {total}" if total != host.cores else "")
    try:
        load = os.getloadavg()[0]
    except OSError:
        return Check("cores", "ok", summary)
    summary += f", load {load:.2f}"
    if load > 0.5 * total:
        return Check(
            "cores",
            "note",
            summary,
            "measure when the machine is quiet: other work makes times noisy",
        )
    return Check("cores", "ok", summary)


def _compiler() -> Check:
    """A small shared object, with the compiler that TVM would take."""
    name = os.environ.get("CXX") or os.environ.get("CC")
    compiler = name or next((path for path in map(shutil.which, _COMPILERS) if path), None)
    fix = "install a C++ compiler, for example: apt-get install g++ (or dnf install gcc-c++)"
    if compiler is None:
        return Check("c++ compiler", "problem", f"none of {', '.join(_COMPILERS)}", fix)
    if name:
        fix = f"CXX or CC names {name}: set it to a C++ compiler, or unset it"
    fault = _fault_of(compiler)
    if fault is not None:
        return Check("c++ compiler", "problem", fault, fix)
    return Check("c++ compiler", "ok", f"{compiler} compiles, links and its library loads")


def _fault_of(compiler: str) -> str | None:
    """What goes wrong when it compiles and links, and the result is loaded and called."""
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "answer.cc"), Path(folder, "answer.so")
        source.write_text('extern "C" int answer() { return 42; }\n')
        command = [compiler, "-shared", "-fPIC", "-o", str(library), str(source)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_COMPILER_TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{compiler} cannot be run: {error}"
        if done.returncode != 0:
            return f"{compiler} does not link: {' '.join(done.stderr.split())[-200:]}"
        try:
            answer = ctypes.CDLL(str(library)).answer()
        except OSError as error:
            return f"what {compiler} links: {error}"
    return None if answer == 42 else f"what {compiler} compiles is wrong"


def _gpu(host: Host) -> Check:
    return Check("gpu", "ok", ", ".join(host.gpus) or "none")


def _runtimes() -> Iterator[Check]:
    from tunekit.benchmark.registry import find_runtime, missing_package
    from tunekit.recipe import REFERENCE_RUNTIMES

    for name in REFERENCE_RUNTIMES:
        runtime = find_runtime(name)
        missing = missing_package(runtime)
        if missing is None:
            needed = [
                f"{package} {installed_version(package)}" for package in runtime.needs.values()
            ]
            yield Check(f"runtime {name}", "ok", ", ".join(needed))
        else:
            yield Check(
                f"runtime {name}",
                "note",
                f"{missing} is not installed: bench can only say so",
                pip_install(_requirement(missing)),
            )


def _catalogue(location: str) -> Check:
    try:
        from tunekit.catalogue.db.connect import parse
    except ImportError as error:
        return Check(
            "catalogue", "problem", f"{error.name} is not installed", pip_install(str(error.name))
        )
    try:
        url = parse(location)
        file = Path(url.database or "") if url.get_backend_name() == "sqlite" else None
        if file is not None and _is_absent(file):
            return _absent_catalogue(location, file)
        return _present_catalogue(location, file)
    except CatalogueError as error:
        return Check("catalogue", "problem", error.message, error.hint)


def _is_absent(file: Path) -> bool:
    """SQLite makes a catalogue where there is no file, or an empty one."""
    return not file.exists() or (file.is_file() and not file.stat().st_size)


def _absent_catalogue(location: str, file: Path) -> Check:
    folder = _nearest_folder(file)
    if os.access(folder, os.W_OK | os.X_OK):
        return Check("catalogue", "ok", f"{location}: not there yet, the first tuning run makes it")
    return Check(
        "catalogue",
        "problem",
        f"{location} is not there, and {folder} is not writable",
        "give another with --catalogue or TUNEKIT_CATALOGUE",
    )


def _present_catalogue(location: str, file: Path | None) -> Check:
    from tunekit.catalogue import Catalogue

    with Catalogue.open(location, create=False) as catalogue:
        sessions = len(catalogue.sessions.list())
    if file is not None and not os.access(file, os.W_OK):
        fix = f"chmod u+w {shlex.quote(str(file))}"
        return Check("catalogue", "problem", f"{file} is not writable", fix)
    return Check("catalogue", "ok", f"{location}: {counted(sessions, 'session')}")


def _nearest_folder(path: Path) -> Path:
    """The innermost folder above `path` that is there."""
    return next(folder for folder in path.absolute().parents if folder.is_dir())


def _disk(folder: Path) -> Check:
    free = shutil.disk_usage(folder).free
    space = f"{free / 2**30:.1f} GiB free in {folder}"
    if free < _TOO_LITTLE_DISK_BYTES:
        return Check("disk", "problem", space, "make room, or work in another folder")
    if free < _LITTLE_DISK_BYTES:
        return Check("disk", "note", space, "large models and their caches need a few GiB")
    return Check("disk", "ok", space)


def _cache() -> Check:
    try:
        cache = ContentCache()
    except UsageError as error:
        return Check("cache", "problem", error.message, error.hint)
    folder = _nearest_folder(cache.root / "any")
    try:
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Check(
            "cache",
            "problem",
            f"cannot write {cache.root}: {error.strerror}",
            f"set {ENVIRONMENT_VARIABLE} to a folder that can be written",
        )
    used, most = cache.used_bytes() / GB, cache.limit_bytes / GB
    return Check("cache", "ok", f"{used:.1f} of {most:g} GB in {cache.root}")


def selftest() -> Check:
    """`python -m tunekit.doctor.selftest` in a process of its own."""
    command = python_module("tunekit.doctor.selftest")
    fix = f"run it yourself for the whole text: {shlex.join(command)}"
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_SELFTEST_TIMEOUT_S,
            check=False,
            env=with_this_package(),
        )
    except subprocess.TimeoutExpired:
        return Check("self-test", "problem", f"not done after {_SELFTEST_TIMEOUT_S} s", fix)
    if done.returncode < 0:
        died = Exit.of_code(done.returncode)
        return Check("self-test", "problem", f"TVM died of {died} while building or running", fix)
    lines = done.stdout.splitlines()
    if done.returncode != 0 or not lines:
        last = last_lines(done.stderr) or "no output"
        return Check("self-test", "problem", f"TVM does not build or run here: {last[:200]}", fix)
    result = json.loads(lines[-1])
    return Check(
        "self-test",
        "ok",
        f"TVM builds, records, links and runs for {result['cpu']} (in {result['seconds']:.0f} s)",
    )
