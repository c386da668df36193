"""What all tests share: a shell that runs tunekit as a person does, and places of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from killable import WarmStarter
    from rpc_farm import Machines

    from tunekit.machine.target import ResolvedTarget

# A shell starts what it runs in the background with Ctrl-C ignored, and every process that the
# tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes is a matter of the machine's other work, and which examples are drawn a
# matter of luck: neither may decide whether a change is right. Look for new counterexamples with
# `pytest --hypothesis-profile=explore`.
settings.register_profile(
    "steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("explore", settings.get_profile("steady"), derandomize=False)
settings.load_profile("steady")

# What takes longest, the longest first: files, and folders whose tests share what is made once.
_TOGETHER = ("library", "interchange", "bundle")
_MINUTES = (
    *("cli/test_bench.py", "library", "sessions/test_run.py", "attribution/test_explain.py"),
    *("interchange", "measure/test_remote.py", "measure/test_remote_tuning.py", "bundle"),
    *("search/test_tuner.py", "catalogue/test_contract.py", "search/test_chaos.py"),
    *("torture/test_kill_and_resume.py", "torture/test_together.py", "torture/test_ctrl_c.py"),
    *("onnx_frontend/test_node_tests.py", "onnx_frontend/test_attention.py", "test_api.py"),
    *("models/test_onnx_twins.py", "graph/test_layout.py", "graph/test_any_kernel.py"),
    *("torch_backend/test_torch_compile.py", "timing/test_rounds.py", "measure/test_local.py"),
    *("models/test_torch_operators.py", "models/test_onnx_fuzz.py", "cli/test_doctor.py"),
    *("torch_frontend/test_recurrent.py", "torture/test_disk_full.py", "test_examples.py"),
    *("detectors/test_families.py", "models/test_sources.py", "graph/test_winograd.py"),
)


def _shared(file: Path) -> str:
    """The file below `tests`, or the folder whose tests stay in one process with it."""
    below = file.relative_to(Path(__file__).parent)
    return below.parts[0] if below.parts[0] in _TOGETHER else below.as_posix()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first: where processes share the tests, one that gets such a file
    last would leave the others idle."""
    ranks = {name: rank for rank, name in enumerate(_MINUTES)}
    items.sort(key=lambda item: ranks.get(_shared(item.path), len(ranks)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """As `--dist loadfile` says, but for the folders whose tests share something."""
    from xdist.scheduler import LoadFileScheduling

    class Together(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _shared(config.rootpath / nodeid.partition("::")[0])

    return Together(config, log) if config.getoption("dist") == "loadfile" else None


Run = Callable[..., "subprocess.CompletedProcess[str]"]
StillRunning = Callable[[Iterable[psutil.Process]], "list[psutil.Process]"]


@pytest.fixture(autouse=True, scope="session")
def _own_places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The person's catalogue, settings and cache must neither help nor be touched."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("TUNEKIT_", "TVM_"))]:
            patch.delenv(name)
        patch.setenv("TUNEKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def run_tunekit(tmp_path: Path) -> Run:
    """Runs the command line in a process of its own, in ``tmp_path``, without a terminal."""

    def run(
        *arguments: str | Path, env: dict[str, str] | None = None, timeout_s: float = 300
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                sys.executable,
                "-c",
                "from tunekit.cli.app import main; main()",
                *map(str, arguments),
            ],
            cwd=tmp_path,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmStarter]:
    """Starts commands in processes that have the frameworks already."""
    from killable import WarmStarter

    starter = WarmStarter(tmp_path_factory.mktemp("warm-cache"))
    yield starter
    starter.close()


@pytest.fixture
def run_warm(starter: WarmStarter, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """As `run_tunekit`, for commands that need the frameworks: without the seconds that importing
    them takes."""

    def run(
        *arguments: str | Path, cwd: Path = tmp_path, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        logs = tmp_path_factory.mktemp("logs")
        argv = [*map(str, arguments)]
        command = starter.start(
            cwd, logs / "out", logs / "err", argv, env={**os.environ, **(env or {})}
        )
        code = command.wait()
        return subprocess.CompletedProcess(
            argv, code, (logs / "out").read_text(), (logs / "err").read_text()
        )

    return run


@pytest.fixture(scope="session")
def still_running() -> StillRunning:
    """Which of these processes have not ended within a minute; most of the time none, at once.

    One that has ended counts as gone even if nobody collects it: whoever inherits the children of
    a process that was killed may not.
    """

    def wait(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
        deadline = time.monotonic() + 60
        left = list(processes)
        while left := [process for process in left if _runs(process)]:
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
        return left

    return wait


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="session")
def native() -> ResolvedTarget:
    """This machine's CPU."""
    from tunekit.machine.target import resolve_target

    return resolve_target("native")


@pytest.fixture(scope="session")
def machines() -> Iterator[Machines]:
    """A tracker on the loopback; servers are started as tests want them."""
    from rpc_farm import Machines

    machines = Machines()
    try:
        machines.wait_until_it_listens()
        yield machines
    finally:
        machines.close()


@pytest.fixture
def recipe_text() -> str:
    """A small recipe that is right in every way."""
    return """\
name: small
model:
  source: torchvision:resnet18
  inputs:
    - name: input
      shape: [1, 3, 32, 32]
tuning:
  trials: 8
"""


@pytest.fixture
def recipe_file(tmp_path: Path, recipe_text: str) -> Path:
    """The file of ``recipe_text``."""
    file = tmp_path / "small.yaml"
    file.write_text(recipe_text)
    return file


@pytest.fixture
def script_after() -> Callable[[str, Any], str]:
    """What a scheduled module looks like after one of the passes that lower it for this CPU."""

    def script(name: str, module: Any) -> str:
        import tvm

        from tunekit.machine.target import resolve_target

        seen: list[str] = []

        @tvm.ir.instrument.pass_instrument
        class Watch:
            def run_after_pass(self, module: Any, info: Any) -> None:
                if info.name == name:
                    seen.append(module.script())

        with tvm.transform.PassContext(instruments=[Watch()]):
            tvm.tirx.build(module, resolve_target("native").tvm)
        return seen[-1]

    return script
