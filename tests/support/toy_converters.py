"""Runtimes with converters for tests: right, wrong, or failing in one of the ways these do.

Imported by name in processes of their own, so this folder is on their path.
"""

from __future__ import annotations

import ctypes
import importlib.machinery
import os
import subprocess
import time
import urllib.request
from pathlib import Path

from toy_runtimes import Doubles

from tunekit.runtimes.conversion import Converted
from tunekit.runtimes.torch_cuda import PyTorchCuda


class Doubling(Converted):
    """Doubles its input in several forms, of which one is right and not the slowest."""

    name = "doubling"
    reads = "onnx"

    @classmethod
    def convert(cls, given, inputs, threads, folder):
        print("converting, without an end of the line", end="")
        (folder / "factor").write_text("2")
        return {
            "slow": {"factor": 2, "wait_s": 0.02},
            "right": {"factor": 2, "wait_s": 0.002, "shown": {"of": sorted(inputs)}},
            "quick and wrong": {"factor": 2.67, "wait_s": 0},
            "crashes": {"factor": None, "wait_s": 0},
        }

    def load(self, plan, inputs, threads):
        if plan["factor"] is None:
            ctypes.string_at(0)
        assert (Path(plan["folder"]) / "factor").read_text() == "2"
        self.inputs, self.factor, self.wait_s = (
            list(inputs.values()),
            plan["factor"],
            plan["wait_s"],
        )
        return {"threads": threads}

    def infer(self):
        time.sleep(self.wait_s)
        return [array * self.factor for array in self.inputs]

    def arrays(self, result):
        return [array.astype("float32") for array in result]


class Wrong(Doubling):
    """No form of it is right."""

    name = "wrong-everywhere"

    @classmethod
    def convert(cls, given, inputs, threads, folder):
        forms = super().convert(given, inputs, threads, folder)
        return {name: forms[name] for name in ("quick and wrong", "crashes")}


class CrashesConverting(Doubling):
    name = "crashes-converting"

    @classmethod
    def convert(cls, given, inputs, threads, folder):
        print("reading the graph", flush=True)
        ctypes.string_at(0)


class Refuses(Doubling):
    name = "refuses"

    @classmethod
    def convert(cls, given, inputs, threads, folder):
        raise RuntimeError("no layer for Mul")


class HangsConverting(Doubling):
    """Waits for an answer that never comes, and so does a program that it started."""

    name = "hangs-converting"

    @classmethod
    def convert(cls, given, inputs, threads, folder):
        print("asking for a licence", flush=True)
        subprocess.run(["sleep", "1013"])


class WantsANetwork(Doubling):
    """Fetches what it needs from where nobody listens."""

    name = "wants-a-network"

    @classmethod
    def convert(cls, given, inputs, threads, folder):
        urllib.request.urlopen("http://127.0.0.1:9/operators")


class ConvertsWrongly(Doubling):
    """Its only form computes something else."""

    name = "converts-wrongly"

    @classmethod
    def convert(cls, given, inputs, threads, folder):
        forms = super().convert(given, inputs, threads, folder)
        return {"the one": forms["quick and wrong"]}


class OfAnotherPython(Doubling):
    """Was compiled for a Python that is not this one."""

    name = "of-another-python"

    @classmethod
    def convert(cls, given, inputs, threads, folder):
        return {"the one": super().convert(given, inputs, threads, folder)["right"]}

    def imports(self, plan):
        code = Path(plan["folder"]) / "engine.pyc"
        code.write_bytes(bytes(16))
        loader = importlib.machinery.SourcelessFileLoader("engine", str(code))
        loader.get_code("engine")


class StartsAProgram(Doubling):
    """Leaves a program running, as a compiler does that is waited for."""

    name = "starts-a-program"

    def load(self, plan, inputs, threads):
        program = subprocess.Popen(["sleep", "1000"])
        return {"program": program.pid}


class OnThisCpu(PyTorchCuda):
    """What runs on a GPU, on the CPU."""

    name = "pytorch-on-this-cpu"
    device = "cpu"

    @classmethod
    def lacks(cls):
        return None


class WantsAnother(Doubling):
    name = "wants-another"

    @classmethod
    def lacks(cls):
        return "machine of the other kind"


class OneCore(Doubles):
    """Says on which cores it may run."""

    name = "one-core"

    def load(self, plan, inputs, threads):
        if len(os.sched_getaffinity(0)) != plan["cores"]:
            raise RuntimeError(f"on {len(os.sched_getaffinity(0))} cores, {threads} threads")
        return super().load(plan, inputs, threads)
