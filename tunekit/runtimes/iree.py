"""IREE, the compiler and runtime of the MLIR project."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tunekit.runtimes.conversion import Converted, run_tool

if TYPE_CHECKING:
    from tunekit.runtimes.runner import Array

# Its default is no optimization at all.
_OPTIONS = (
    "--iree-hal-target-device=local",
    "--iree-hal-local-target-device-backends=llvm-cpu",
    "--iree-llvmcpu-target-cpu=host",
    "--iree-opt-level=O3",
)


class IREE(Converted):
    """Compiled for this CPU at O3; forms: generated kernels alone, or its microkernels too."""

    name = "iree"
    needs: ClassVar[Mapping[str, str]] = {
        "iree.compiler": "iree-base-compiler",
        "iree.runtime": "iree-base-runtime",
        "onnx": "onnx",
    }
    install = "'iree-base-compiler>=3.13' 'iree-base-runtime>=3.13'"
    packages = ("iree.runtime",)
    reads = "onnx"

    @classmethod
    def convert(
        cls, given: Mapping[str, Any], inputs: Mapping[str, Array], threads: int, folder: Path
    ) -> dict[str, dict[str, Any]]:
        source = folder / "model.mlir"
        importer = (sys.executable, "-P", "-m", "iree.compiler.tools.import_onnx")
        run_tool("iree-import-onnx", *importer, given["file"], "-o", str(source))
        scripts = "iree.compiler.tools.scripts"
        compiler = (sys.executable, "-P", "-m", f"{scripts}.iree_compile", str(source))
        forms = {"generated kernels": "generated", "microkernels": "micro"}
        for kind, more in (("generated", ()), ("micro", ("--iree-llvmcpu-enable-ukernels=all",))):
            run_tool(
                "iree-compile", *compiler, *_OPTIONS, *more, "-o", str(folder / f"{kind}.vmfb")
            )
        source.unlink()  # the weights as text
        return {name: {"module": f"{kind}.vmfb"} for name, kind in forms.items()}

    def load(
        self, plan: Mapping[str, Any], inputs: Mapping[str, Array], threads: int
    ) -> dict[str, Any]:
        runtime: Any = importlib.import_module("iree.runtime")
        runtime.flags.parse_flags(f"--task_topology_group_count={threads}")
        config = runtime.Config("local-task")
        module = runtime.VmModule.mmap(
            config.vm_instance, str(Path(plan["folder"]) / plan["module"])
        )
        context = runtime.SystemContext(vm_modules=[module], config=config)
        # Beside it is one that signals a fence, and one that prepares constants.
        [name] = (
            name for name in module.function_names if not name.startswith("__") and "$" not in name
        )
        self._function = context.modules[module.name][name]
        self._inputs = [runtime.asdevicearray(config.device, array) for array in inputs.values()]
        return {"threads": threads}

    def infer(self) -> object:
        result = self._function(*self._inputs)
        outputs = result if isinstance(result, tuple | list) else (result,)
        return [output.to_host() for output in outputs]  # which waits for them

    def arrays(self, result: Any) -> Sequence[Array]:
        return [array.copy() for array in result]
