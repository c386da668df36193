"""Compiled libraries run in a process of their own.

Freshly compiled code may segfault, hang or meet an instruction that the CPU does not have. Here
that ends a child process (`python -m tunekit.processes.sandbox FOLDER`) and becomes a
SandboxError that names what happened. Arrays travel through files in a temporary folder that never
outlives the call, and the child never outlives its parent.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekit.errors import SandboxError
from tunekit.machine.tvm_loading import arrays_of, runtime_only
from tunekit.processes.child import die_with_parent, leave_no_core
from tunekit.processes.exit import Exit
from tunekit.processes.python import python_module, with_this_package
from tunekit.standalone.loaded import LoadedModel

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.generic]

_REQUEST = "request.json"
_WEIGHTS = "weights.npz"
_ERROR = "error.json"
_OUTPUT = "output.txt"
_DONE = "done"
_FAILED = 3
_SHOWN_CHARACTERS = 2000

_HINTS: dict[int, str] = {
    signal.SIGILL: "the library uses instructions this CPU or its hypervisor does not offer: "
    "choose another target, or `native`",
    signal.SIGKILL: "most likely the machine ran out of memory: look at `dmesg`, or use a "
    "smaller model or batch",
}


@dataclass(frozen=True)
class Elsewhere:
    """A device to run on: any of a key, asked of an RPC tracker.

    Attributes:
        tracker: where the tracker listens, "host:port".
        key: kind of device.
        wait_s: seconds to wait until one is free.
    """

    tracker: str
    key: str
    wait_s: float


def run_library(
    library: Path,
    inputs: Sequence[Mapping[str, Array]],
    *,
    input_names: Sequence[str],
    weights: Mapping[str, Array] | None = None,
    device: str = "cpu",
    threads: int | None = None,
    timeout_s: float = 600.0,
    elsewhere: Elsewhere | None = None,
    standalone: str | None = None,
) -> list[list[Array]]:
    """Runs a compiled model once for each input set, in another process.

    Args:
        library: the shared object.
        inputs: input sets, each an array for each of `input_names`.
        input_names: in the order of main's parameters.
        weights: of parameters behind those, in their order; the same for each input set.
        device: TVM device that the library is for.
        threads: that run the model, None for the library's own choice.
        timeout_s: for all sets together, the start of the process and loading included.
        elsewhere: run on such a device, to which the process here only talks; the device's threads
            are those of its server.
        standalone: name of a standalone library, with which its functions begin; None for one that
            TVM's virtual machine runs.

    Returns:
        For each input set the outputs in order, nested tuples flattened.

    Raises:
        SandboxError: the process dies of a signal, exceeds `timeout_s` or raises.
    """
    import numpy as np

    library = library.absolute()
    if not library.is_file():
        raise SandboxError(f"there is no library {library}")
    folder = Path(tempfile.mkdtemp(prefix="tunekit-sandbox-"))
    try:
        for index, values in enumerate(inputs):
            arrays = {
                str(position): np.asarray(values[name]) for position, name in enumerate(input_names)
            }
            np.savez(folder / f"inputs-{index}.npz", allow_pickle=False, **arrays)
        np.savez(folder / _WEIGHTS, allow_pickle=False, **(weights or {}))
        request = {
            "library": str(library),
            "device": device,
            "input_sets": len(inputs),
            "parent": os.getpid(),
            "elsewhere": None if elsewhere is None else asdict(elsewhere),
            "session_s": timeout_s,
            "standalone": standalone,
            "threads": threads,
        }
        (folder / _REQUEST).write_text(json.dumps(request), "utf-8")
        _run_child(folder, library, threads=threads, timeout_s=timeout_s)
        return [_read_outputs(folder / f"outputs-{index}.npz") for index in range(len(inputs))]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run_child(folder: Path, library: Path, *, threads: int | None, timeout_s: float) -> None:
    environment = with_this_package()
    if threads is not None:
        environment["TVM_NUM_THREADS"] = str(threads)
    with (folder / _OUTPUT).open("wb") as output:
        child = subprocess.Popen(
            python_module("tunekit.processes.sandbox", str(folder)),
            # Not the caller's folder: `-m` would let its files shadow the packages.
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise SandboxError(
                f"{library.name} did not finish within {timeout_s:g} s and was stopped",
                hint="the library hangs or is very slow here",
            ) from None
        finally:
            # Also what the child started, and also when this process is interrupted.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    # A library may also call exit(0): only the child's own word counts as success.
    if code != 0 or not (folder / _DONE).exists():
        raise _death(folder, library, code)


def _death(folder: Path, library: Path, code: int) -> SandboxError:
    ended = Exit.of_code(code)
    if ended.signal is not None:
        return SandboxError(
            f"running {library.name} ended its process with {ended}", hint=_HINTS.get(ended.signal)
        )
    try:
        error = json.loads((folder / _ERROR).read_text("utf-8"))
        return SandboxError(f"running {library.name} failed: {error['type']}: {error['message']}")
    except (OSError, ValueError, KeyError, TypeError):
        text = (folder / _OUTPUT).read_text("utf-8", "replace")[-_SHOWN_CHARACTERS:].strip()
        said = f": {text}" if text else ""
        return SandboxError(f"running {library.name} ended its process with {ended}{said}")


def _read_outputs(path: Path) -> list[Array]:
    import numpy as np

    with np.load(path, allow_pickle=False) as archive:
        return [archive[str(index)] for index in range(len(archive.files))]


def _serve(folder: Path) -> None:
    """The child's work: load the library, run each input set, write its outputs."""
    import numpy as np

    request = json.loads((folder / _REQUEST).read_text("utf-8"))
    leave_no_core()
    die_with_parent(request["parent"])
    run = _standalone(request) if request["standalone"] else _virtual_machine(request, folder)
    for index in range(request["input_sets"]):
        with np.load(folder / f"inputs-{index}.npz", allow_pickle=False) as archive:
            # A file keeps the order of an array whose columns lie together.
            arrays = [
                np.asarray(archive[str(position)], order="C")
                for position in range(len(archive.files))
            ]
        flat = {str(position): array for position, array in enumerate(run(arrays))}
        np.savez(folder / f"outputs-{index}.npz", allow_pickle=False, **flat)
    (folder / _DONE).touch()


def _standalone(request: Mapping[str, Any]) -> Callable[[list[Array]], list[Array]]:
    path, name = Path(request["library"]), request["standalone"]
    return LoadedModel(path, name, threads=request["threads"]).call


def _virtual_machine(
    request: Mapping[str, Any], folder: Path
) -> Callable[[list[Array]], list[Array]]:
    import numpy as np

    tvm = runtime_only("cpu" if request["elsewhere"] else request["device"])
    from tvm.runtime.vm import VirtualMachine

    session = _connect(request)
    if session is None:
        device = tvm.device(request["device"])
        library = tvm.runtime.load_module(request["library"])
    else:
        device = session.device(request["device"], 0)
        session.upload(request["library"])
        library = session.load_module(Path(request["library"]).name)
    machine = VirtualMachine(library, device)
    with np.load(folder / _WEIGHTS, allow_pickle=False) as archive:
        weights = [tvm.runtime.tensor(archive[name], device) for name in archive.files]

    def run(arrays: list[Array]) -> list[Array]:
        tensors = [*(tvm.runtime.tensor(array, device) for array in arrays), *weights]
        if session is None:
            return arrays_of(machine["main"](*tensors))
        # A tuple does not cross the network as a result; its tensors do, one by one.
        machine.set_input("main", *tensors)
        machine.invoke_stateful("main")
        return arrays_of(machine.get_outputs("main"))

    return run


def _connect(request: Mapping[str, Any]) -> Any:
    """A session with a device, None where the library runs here."""
    if request["elsewhere"] is None:
        return None
    from tvm import rpc

    from tunekit.rpc.tracker import parse_tracker, wait_for_device

    # Asked for now: what a tracker gives away and nobody uses within seconds is taken back.
    elsewhere = Elsewhere(**request["elsewhere"])
    grant = wait_for_device(parse_tracker(elsewhere.tracker), elsewhere.key, elsewhere.wait_s)
    return rpc.connect(
        grant.device.host,
        grant.device.port,
        grant.match_key,
        # The device's server ends it then, also when this process is killed.
        session_timeout=request["session_s"],
    )


def _main() -> None:
    folder = Path(sys.argv[1])
    try:
        _serve(folder)
    except Exception as error:  # noqa: BLE001 - the parent tells it
        text = str(error).strip()[-_SHOWN_CHARACTERS:]
        (folder / _ERROR).write_text(
            json.dumps({"type": type(error).__name__, "message": text}), "utf-8"
        )
        code = _FAILED
    else:
        code = 0
    sys.stdout.flush()
    sys.stderr.flush()
    # Without the destructors of TVM's thread pool and of the library, which is already done.
    os._exit(code)


if __name__ == "__main__":
    _main()
