"""Runtimes whose files are made by a converter of theirs, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import tempfile
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tunekit.cache import content_key, file_digest
from tunekit.errors import TunekitError
from tunekit.processes.slow_step import told_if_slow
from tunekit.runtimes.forms import fastest_form
from tunekit.runtimes.process import LONGER, RunnerFailed, RunnerHung, RunnerProcess
from tunekit.runtimes.runtime import Preparation, Runtime
from tunekit.wording import last_lines

if TYPE_CHECKING:
    from tunekit.runtimes.runner import Array

_KIND = "converted"
_PLAN = "plan.json"
# What compilers have before it is a place in a file that they were given.
_ERROR = "error:"


class ConversionFailed(TunekitError):  # noqa: N818 - reads as what happened
    """A converter refused the model, crashed, or did not come to an end."""


class Converted(Runtime):
    """A runtime that runs what a converter has written.

    Converters print, crash, leave threads behind and bring libraries that clash with others: so
    `convert` runs in a process of its own. Of several forms of a model that it writes, the fastest
    that is right takes part. What was made is kept, for this machine and these versions.
    """

    reads: ClassVar[Literal["onnx", "torch"]]
    """What the converter is given: an ONNX file (`file`), or the torch module (`built_module`)."""

    @classmethod
    @abstractmethod
    def convert(
        cls, given: Mapping[str, Any], inputs: Mapping[str, Array], threads: int, folder: Path
    ) -> dict[str, dict[str, Any]]:
        """Writes what `load` needs into `folder`; in a process of its own.

        Args:
            given: the model, as `reads` says; `outputs`, shape and dtype of each, and
                `output_names`.
            inputs: one array per input name.
            threads: threads that it will run on.
            folder: takes the files; they are moved from there, so plans name them without it.

        Returns:
            The plan of each form in which the model can be run, by a name for people. `load` gets
            `given`, `folder` and this.
        """

    @classmethod
    def prepare(cls, preparation: Preparation) -> dict[str, Any]:
        given = cls._given(preparation)
        key = cls._key(preparation)
        entry = preparation.cache.get(_KIND, key)
        if entry is None:
            with preparation.cache.put(_KIND, key) as folder:
                plan = cls._made(given, preparation, folder)
                (folder / _PLAN).write_text(json.dumps(plan), "utf-8")
            entry = preparation.cache.get(_KIND, key)
            assert entry is not None, "an entry just put is there"
        return {**given, "folder": str(entry), **json.loads((entry / _PLAN).read_text("utf-8"))}

    @classmethod
    def _given(cls, preparation: Preparation) -> dict[str, Any]:
        from tunekit.models.export import onnx_file
        from tunekit.runtimes.pytorch import module_plan

        source = preparation.source
        outputs = {
            "outputs": [(tensor.shape, tensor.dtype) for tensor in source.outputs],
            "output_names": [tensor.name for tensor in source.outputs],
        }
        if cls.reads == "onnx":
            return {"file": str(onnx_file(source, preparation.cache)), **outputs}
        return {**module_plan(preparation, cls.name), **outputs}

    @classmethod
    def _key(cls, preparation: Preparation) -> str:
        """Of what decides the files, and which of them is fastest."""
        import sys

        from tunekit.machine.host import detect_host
        from tunekit.machine.toolchain import installed_version
        from tunekit.models.spec import code_digest

        code = sys.modules[cls.__module__].__file__
        return content_key(
            cls.name,
            preparation.source.digest,
            code_digest(),
            "" if code is None else file_digest(Path(code)),
            {package: installed_version(package) for package in cls.needs.values()},
            detect_host().fingerprint,
            preparation.threads,
            # Which forms came to their end in time, and were found right.
            [preparation.limit_s, preparation.tolerance, len(preparation.reference) > 0],
        )

    @classmethod
    def _made(
        cls, given: Mapping[str, Any], preparation: Preparation, folder: Path
    ) -> dict[str, Any]:
        """The plan of the fastest form, with what is told of all of them."""
        import numpy as np

        class_path = f"{cls.__module__}:{cls.__qualname__}"
        with tempfile.TemporaryDirectory(prefix="tunekit-convert-") as scratch:
            inputs, log = Path(scratch) / "inputs.npz", Path(scratch) / "convert.log"
            np.savez(inputs, *preparation.inputs.values())
            limit_s = preparation.limit_s
            slow = f"converting for {cls.name}, which may take {limit_s:g} s"
            try:
                with (
                    told_if_slow(preparation.say, slow),
                    RunnerProcess(class_path, threads=preparation.threads, log=log) as process,
                ):
                    forms = process.ask(
                        "convert",
                        timeout_s=limit_s,
                        given=dict(given),
                        inputs=str(inputs),
                        names=list(preparation.inputs),
                        threads=preparation.threads,
                        folder=str(folder),
                    )["forms"]
            except RunnerFailed as failure:
                error = ConversionFailed(
                    f"{failure.reason} (while converting)",
                    hint=LONGER if isinstance(failure, RunnerHung) else None,
                )
                error.add_note(failure.detail)
                raise error from None
            if len(forms) == 1:
                [plan] = forms.values()
                return dict(plan)
            preparation.say(f"choosing between the forms of {cls.name}: {', '.join(forms)}")
            plans = {name: {**given, "folder": str(folder), **plan} for name, plan in forms.items()}
            chosen = fastest_form(class_path, plans, preparation, inputs, Path(scratch))
        if chosen.name is None:
            raise ConversionFailed("; ".join(f"{n}: {said}" for n, said in chosen.said.items()))
        shown = {**forms[chosen.name].get("shown", {}), "form": chosen.name, "forms": chosen.said}
        return {**forms[chosen.name], "shown": shown}


def run_tool(name: str, *command: str) -> str:
    """What a converter that is a program wrote, on both of its streams; `name` is for people.

    Raises:
        RuntimeError: it failed; with the error that it told, or the last line of what it wrote.
    """
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        told = next((line for line in done.stderr.splitlines() if _ERROR in line), "")
        said = told or last_lines(done.stderr) or last_lines(done.stdout) or "it said nothing"
        print(done.stdout, done.stderr, sep="\n", flush=True)  # into this process's log
        raise RuntimeError(f"{name} failed: {said.rpartition(_ERROR)[2].strip()}")
    return f"{done.stdout}\n{done.stderr}"


def in_integer_types(
    arrays: Sequence[Array], outputs: Sequence[tuple[Sequence[int], str]]
) -> list[Array]:
    """The arrays, integers in the model's types: some runtimes have one type for all of them."""
    return [
        array.astype(dtype) if array.dtype.kind in "iu" else array
        for array, (_, dtype) in zip(arrays, outputs, strict=True)
    ]


def in_shapes(arrays: Sequence[Array], outputs: Sequence[tuple[Sequence[int], str]]) -> list[Array]:
    """The arrays in the model's shapes, where a runtime has no batch axis or numbers of its own.

    One with another number of elements is left as it is, which is told as what it is.
    """
    return [
        array.reshape(shape) if array.size == _count(shape) else array
        for array, (shape, _) in zip(arrays, outputs, strict=True)
    ]


def _count(shape: Sequence[int]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count
