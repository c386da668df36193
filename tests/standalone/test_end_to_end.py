"""A standalone library gives what TVM's virtual machine gives, bit by bit, and notices damage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
from tiny_standalone import TinyLibrary, run_tiny, tiny_inputs

from tunekit.errors import SandboxError, UsageError
from tunekit.standalone.emit import write_weights
from tunekit.standalone.loaded import LoadedModel, Weights, load


@pytest.fixture(scope="module")
def expected(tiny: TinyLibrary) -> list[np.ndarray]:
    return run_tiny(tiny.machine)


@pytest.mark.parametrize("threads", [1, 2, 3, 8, 300])
def test_any_number_of_threads_gives_the_virtual_machines_bits(
    tiny: TinyLibrary, expected: list[np.ndarray], threads: int
) -> None:
    with LoadedModel(tiny.own, "tiny", threads=threads) as model:
        assert model.threads == threads
        model.self_test()
        for _ in range(3):
            found = model.call(tiny_inputs())
            assert [array.tobytes() for array in found] == [array.tobytes() for array in expected]
            assert [array.dtype for array in found] == [array.dtype for array in expected]


@pytest.mark.parametrize("weights", ["shared", "huge_pages"])
def test_weights_in_either_place_give_the_same(
    tiny: TinyLibrary, expected: list[np.ndarray], weights: Weights
) -> None:
    with LoadedModel(tiny.own, "tiny", weights=weights) as model:
        found = model.call(tiny_inputs())
    assert [array.tobytes() for array in found] == [array.tobytes() for array in expected]


def test_another_place_for_weights_is_refused(tiny: TinyLibrary) -> None:
    with pytest.raises(UsageError, match="'huge' is no place for weights: shared or huge_pages"):
        LoadedModel(tiny.own, "tiny", weights="huge")  # type: ignore[arg-type]


def test_a_model_holds_the_arrays_that_it_writes_again_and_again(tiny: TinyLibrary) -> None:
    with LoadedModel(tiny.own, "tiny") as model:
        again, outputs = model.bound(tiny_inputs())
        written = [weakref.ref(array) for array in outputs]
        del outputs
        again()
        assert all(array() is not None for array in written)


def test_arrays_of_its_own_are_bound_again_after_other_runs(
    tiny: TinyLibrary, expected: list[np.ndarray]
) -> None:
    image, ids = tiny_inputs()
    with LoadedModel(tiny.own, "tiny") as model:
        again, outputs = model.bound([image, ids])
        for run in (lambda: model.call([image + 1, ids]), lambda: model.trace(image + 2, ids)):
            again()
            run()
            for array in outputs:
                array[...] = 0
            again()
            assert [array.tobytes() for array in outputs] == [array.tobytes() for array in expected]


def _call_again_and_again(model: LoadedModel) -> None:
    while True:
        model.call(tiny_inputs())


def _until_it_is_closed(model: LoadedModel, told: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        _call_again_and_again(model)
    told.append(str(caught.value))


def test_a_model_is_closed_when_nobody_runs_it(tiny: TinyLibrary) -> None:
    for _ in range(20):
        model, told = LoadedModel(tiny.own, "tiny"), list[str]()
        threads = [
            threading.Thread(target=_until_it_is_closed, args=(model, told)) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        model.close()
        for thread in threads:
            thread.join()
        assert told == ["the model is closed"] * 3


def test_a_trace_says_what_each_thread_did(tiny: TinyLibrary) -> None:
    image, ids = tiny_inputs()
    with LoadedModel(tiny.own, "tiny", threads=2) as model:
        events = model.trace(image, ids)
    kernels = [event for event in events if event.task is None]
    assert [event.kernel for event in kernels] == [
        step.kernel for step in tiny.part.program.plan.steps
    ]
    assert events[0].begin_s == 0
    assert len({event.thread for event in kernels}) == 1
    for kernel in kernels:
        tasks = [event for event in events if event.step == kernel.step and event is not kernel]
        # A kernel may have several loops.
        loops, rest = divmod(len(tasks), 2)
        assert rest == 0
        assert sorted(event.task for event in tasks) == [0] * loops + [1] * loops
        for task in tasks:
            assert kernel.begin_s <= task.begin_s <= task.end_s <= kernel.end_s
    assert any(event.task == 1 for event in events)


def test_four_threads_run_models_of_their_own(
    tiny: TinyLibrary, expected: list[np.ndarray]
) -> None:
    wrong: list[int] = []

    def work(number: int) -> None:
        with LoadedModel(tiny.own, "tiny", threads=1 + number % 2) as model:
            for _ in range(5):
                found = model.call(tiny_inputs())
                if any(a.tobytes() != b.tobytes() for a, b in zip(found, expected, strict=True)):
                    wrong.append(number)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_the_child_of_a_fork_runs_the_model(tiny: TinyLibrary) -> None:
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from tunekit.standalone.loaded import LoadedModel\n"
        "model = LoadedModel(Path(sys.argv[1]), 'tiny', threads=2)\n"
        "model.self_test()\n"
        "child = os.fork()\n"
        "model.self_test()\n"
        "if child:\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
        "    assert 'tvm' not in sys.modules and 'torch' not in sys.modules\n"
        "    print('all is well')\n"
    )
    package = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program, str(tiny.own)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(package)},
    )
    assert done.stdout == "all is well\n", done.stderr


def test_a_changed_byte_of_the_weights_is_noticed(tiny: TinyLibrary, tmp_path: Path) -> None:
    largest = max(tiny.part.program.plan.weights, key=lambda array: array.nbytes)
    content = bytearray(tiny.own.read_bytes())
    place = content.index(largest.tobytes())
    content[place + 3] ^= 0x40  # an exponent
    damaged = tmp_path / "libtiny.so"
    damaged.write_bytes(content)
    with (
        LoadedModel(damaged, "tiny") as model,
        pytest.raises(SandboxError, match=r"element \d+ of output \d \(.*\) is .*, and was .*"),
    ):
        model.self_test()


def test_what_is_no_library_or_another_one_is_refused(tiny: TinyLibrary, tmp_path: Path) -> None:
    text = tmp_path / "libtext.so"
    text.write_text("no library")
    with pytest.raises(UsageError, match="cannot be loaded"):
        LoadedModel(text, "tiny")
    with pytest.raises(UsageError, match="cannot be loaded as the library other"):
        LoadedModel(tiny.own, "other")
    with pytest.raises(UsageError, match=r"options\.threads is 1025; it may be 0 to 1024"):
        LoadedModel(tiny.own, "tiny", threads=1025)


def test_a_library_that_was_cut_off_is_not_loaded(tiny: TinyLibrary, tmp_path: Path) -> None:
    content = tiny.own.read_bytes()
    entry = {"library": "libtiny.so", "name": "tiny", "size_bytes": len(content)}
    (tmp_path / "manifest.json").write_text(json.dumps({"standalone": entry}))
    (tmp_path / "libtiny.so").write_bytes(content[:-5000])
    with pytest.raises(UsageError, match=f"{len(content) - 5000} bytes, and had {len(content)}"):
        load(tmp_path)
    (tmp_path / "libtiny.so").write_bytes(content)
    load(tmp_path).close()


def test_weights_of_equal_bytes_are_written_once(tmp_path: Path) -> None:
    once, other = np.arange(100, dtype="float32"), np.arange(100, dtype="int32")
    written = write_weights([once, other, once.reshape(10, 10).copy()], tmp_path / "weights.bin")
    assert list(written.offsets) == [0, 448, 0]
    assert written.size == 896 == (tmp_path / "weights.bin").stat().st_size
