"""Who links compiled code into a library: this machine's compiler, or one for other machines."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tunekit.errors import UsageError
from tunekit.machine.host import detect_host

if TYPE_CHECKING:
    from tunekit.machine.target import ResolvedTarget

# TVM's name of the object with the virtual machine's bytecode and constants.
_NO_KERNELS = "devc.o"


def linker(compiler: str | None, target: ResolvedTarget) -> str | None:
    """The compiler that links for a target here, None where there is none.

    Args:
        compiler: the one that was asked for; this machine's own if left out.
        target: what is linked.
    """
    if compiler is not None:
        return compiler
    if target.architecture != detect_host().architecture:
        return None
    return _own()


def _own() -> str | None:
    from tvm.support import cc

    own = cc.get_cc()
    return None if own is None else str(own)


def require_linker(compiler: str | None, target: ResolvedTarget) -> None:
    """Refuses a target for which a library could be compiled, but not linked in the end.

    Raises:
        UsageError: nothing here links for it.
    """
    if linker(compiler, target) is None:
        raise UsageError(
            f"the library is for {target.architecture}, and this machine links for "
            f"{detect_host().architecture}",
            hint="--cc (or TUNEKIT_CC, or cc in the recipe) names the compiler that links for it, "
            f"for example {target.architecture}-linux-gnu-g++ or "
            f"'zig cc -target {target.architecture}-linux-gnu'",
        )


def linking(compiler: str | None, *, keep: Path | None = None) -> Callable[..., None]:
    """The function with which TVM's `export_library` links.

    Args:
        compiler: as a shell would take it: a program, and options if need be; this machine's own
            if left out. TVM itself would put its options between a program and that program's verb
            (`zig cc`).
        keep: gets the object with the kernels.
    """

    def link(output: str, objects: Sequence[str], options: Sequence[str] | None = None) -> None:
        if keep is not None:
            kernels = [path for path in objects if Path(path).name != _NO_KERNELS]
            command = [*shlex.split(compiler or _own() or "cc"), "-r", "-nostdlib", "-o", str(keep)]
            _run([*command, *kernels])
        if compiler is None:
            from tvm.support import cc

            cc.create_shared(output, objects, options)
            return
        command = [*shlex.split(compiler), "-shared", "-fPIC", "-o", output]
        _run([*command, *(options or ()), *objects])

    return link


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{shlex.join(command)}: {done.stdout}{done.stderr}")
