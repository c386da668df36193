"""Runtimes for tests: they double their input, or fail in one of the ways runtimes do.

Imported by name in the runners' own processes, so this folder is on their path.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import threading
import time
from pathlib import Path

import numpy as np

from tunekit.benchmark.registry import Runtime


class Doubles(Runtime):
    """Right, and quick."""

    name = "doubles"

    @classmethod
    def prepare(cls, preparation):
        return {}

    def load(self, plan, inputs, threads):
        self.inputs = list(inputs.values())
        self.runs = 0
        return {"threads": threads, **plan}

    def infer(self):
        self.runs += 1
        return [array * 2 for array in self.inputs]

    def arrays(self, result):
        return result


class KeepsAFile(Doubles):
    """Which goes when it closes."""

    name = "keeps-a-file"

    def load(self, plan, inputs, threads):
        self.file = Path(plan["file"])
        self.file.touch()
        return super().load({}, inputs, threads)

    def close(self):
        self.file.unlink()


class PlansAPath(Doubles):
    """No JSON, which the runner's process is sent."""

    name = "plans-a-path"

    @classmethod
    def prepare(cls, preparation):
        print("looking for the model")
        return {"file": Path("model")}


class PlansNothing(Doubles):
    name = "plans-nothing"

    @classmethod
    def prepare(cls, preparation):
        return None


class AsksWrongly(Doubles):
    name = "asks-wrongly"

    @classmethod
    def lacks(cls):
        raise RuntimeError("no such file")


class DoublesAgain(Doubles):
    name = "again"


class GivesNone(Doubles):
    """An output of those that a model may have, and does not."""

    name = "gives-none"

    def arrays(self, result):
        return [*result, None]


class Nameless(Runtime):
    """Nothing to call its row."""


class Slow(Doubles):
    """As slow as something without schedules."""

    name = "slow"
    few_samples = True

    def infer(self):
        time.sleep(0.05)
        return super().infer()


class Naps(Doubles):
    """For a millisecond in each run."""

    name = "naps"

    def infer(self):
        time.sleep(1e-3)
        return super().infer()


class Chatty(Doubles):
    """Prints what looks like a reply, on both outputs, past Python."""

    name = "chatty"

    def infer(self):
        os.write(1, b'{"ok": false, "error": "not mine", "trace": ""}\n')
        os.write(2, b"noise without an end")
        return super().infer()


class Wrong(Doubles):
    """A third too much."""

    name = "wrong"

    def infer(self):
        return [array * 2.67 for array in self.inputs]


class WrongLater(Doubles):
    """Right at first, as a race or a buffer used twice may be."""

    name = "wrong-later"

    def infer(self):
        result = super().infer()
        return result if self.runs < 5 else [array + 1 for array in result]


class NotANumber(Doubles):
    name = "nan"

    def infer(self):
        return [np.full_like(array, np.nan) for array in self.inputs]


class Raises(Doubles):
    name = "raises"

    def load(self, plan, inputs, threads):
        raise RuntimeError("no kernel for this operator\nsecond line")


class RefusesToPrepare(Doubles):
    name = "unprepared"

    @classmethod
    def prepare(cls, preparation):
        raise RuntimeError("exporter stumbled\nand a second line")


class Segfaults(Doubles):
    """Reads address 0, after its first runs."""

    name = "segfaults"

    def infer(self):
        if self.runs >= 6:
            print("about to follow a pointer", flush=True)
            ctypes.string_at(0)
        return super().infer()


class SegfaultsAtOnce(Doubles):
    name = "segfaults-at-once"

    def load(self, plan, inputs, threads):
        ctypes.string_at(0)


class IllegalInstruction(Doubles):
    """Executes ud2, as code for another CPU would."""

    name = "illegal"

    def infer(self):
        import mmap

        page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        page.write(b"\x0f\x0b")
        ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()


class Exits(Doubles):
    name = "exits"

    def infer(self):
        os._exit(7)


class Hangs(Doubles):
    """Never comes back, in native code that holds the interpreter's lock."""

    name = "hangs"

    def infer(self):
        ctypes.PyDLL(None).sleep(1000)


class Missing(Doubles):
    name = "missing"
    needs = {"a_package_that_nobody_has": "a-package-that-nobody-has"}  # noqa: RUF012


class Spins(Doubles):
    """Leaves a thread that never rests, in native code without the interpreter's lock."""

    name = "spins"

    def load(self, plan, inputs, threads):
        def spin():
            while True:
                hashlib.pbkdf2_hmac("sha256", b"", b"", 10_000_000)

        threading.Thread(target=spin, daemon=True).start()
        return super().load(plan, inputs, threads)
