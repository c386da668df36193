"""`tunekit bench` as a person runs it, on small models in real runtimes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import onnx
import psutil
import pytest
from bench_reports import report_of, timed
from onnx import TensorProto, helper
from ruamel.yaml import YAML

from tunekit.benchmark.registry import RUNTIMES, find_runtime, missing_package
from tunekit.benchmark.results import Report
from tunekit.errors import UsageError
from tunekit.machine.host import detect_host
from tunekit.recipe import (
    GPU_RUNTIMES,
    OWN_RUNTIMES,
    PEER_RUNTIMES,
    REFERENCE_RUNTIMES,
    TUNED_FORMS,
    parse_runtimes,
)

SUPPORT = Path(__file__).parents[1] / "support"
TUNEKIT = [sys.executable, "-c", "from tunekit.cli.app import main; main()"]
CNN = """
name: small_cnn
model:
  source: python:tunekit.models.vanilla_cnn:{callable}
  arguments: {{channels: 8}}
  inputs: [{{name: image, shape: [1, 3, 32, 32]}}]
"""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with recipes, and a cache that these tests share."""
    folder = tmp_path_factory.mktemp("bench")
    (folder / "torch.yaml").write_text(CNN.format(callable="vanilla_cnn"))
    onnx = CNN.format(callable="onnx_model").replace(
        "channels: 8", "channels: 8, input_name: image"
    )
    (folder / "onnx.yaml").write_text(onnx)
    return folder


def environment(workplace):
    return {
        **os.environ,
        "TUNEKIT_CACHE": str(workplace / "cache"),
        "PYTHONPATH": os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")]),
    }


@pytest.fixture(scope="module")
def bench(starter, workplace, tmp_path_factory):
    """Runs the command in the workplace: exit code, standard output, progress."""

    def run(*arguments):
        logs = tmp_path_factory.mktemp("logs")
        command = starter.start(
            *(workplace, logs / "out", logs / "err", ["bench", *arguments]),
            env=environment(workplace),
        )
        return command.wait(), command.out.read_text(), command.errors

    return run


def test_every_runtime_a_recipe_may_name_exists_and_no_other():
    others = (*REFERENCE_RUNTIMES, *PEER_RUNTIMES, *GPU_RUNTIMES)
    assert tuple(RUNTIMES) == (*OWN_RUNTIMES, *TUNED_FORMS, *others)
    for name in RUNTIMES:
        assert find_runtime(name).name == name


def test_one_word_names_all_runtimes_of_others():
    peers = parse_runtimes("tuned,peers,onnxruntime")
    assert peers == ("tuned", *REFERENCE_RUNTIMES, *PEER_RUNTIMES)
    assert parse_runtimes("gpu") == tuple(GPU_RUNTIMES)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("onnxruntim", "no runtime is called"),
        ("tunekit.nowhere:A", "cannot find runtime .*nowhere"),
        ("tunekit.errors:UsageError", "is not a runtime"),
        ("toy_runtimes:Nameless", "is not a runtime"),
        ("not_python:Runtime", "never closed"),
    ],
)
def test_what_is_no_runtime_is_refused(name, words, tmp_path, monkeypatch):
    (tmp_path / "not_python.py").write_text("class Runtime(\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=words):
        find_runtime(name)


@pytest.fixture(scope="module")
def torch_run(bench, workplace):
    return bench(
        *("torch.yaml", "--runtimes", "pytorch,torchscript,onnxruntime,openvino"),
        *("--rounds", "2", "--threads", "1", "-o", "report.json"),
    )


def test_all_reference_runtimes_compute_what_the_model_does(torch_run, workplace):
    code, _, progress = torch_run
    assert code == 0, progress
    report = Report.from_json((workplace / "report.json").read_text())
    assert [row.name for row in report.runtimes] == list(REFERENCE_RUNTIMES)
    for row in report.runtimes:
        assert row.status == "ok", (row.name, row.reason, row.detail)
        # In fp32: bfloat16, which OpenVINO takes on some CPUs unasked, would be at 1e-2.
        assert row.accuracy.relative_error < 1e-4
        assert row.latency.best_ms <= row.latency.p10_ms <= row.latency.median_ms
        assert row.latency.median_ms <= row.latency.p90_ms
        assert row.peak_rss_bytes > 2**20
        assert row.ratio.against != row.name
        assert row.ratio.rounds == 2


def test_one_thread_means_that_no_more_than_one_core_is_busy(torch_run, workplace):
    report = Report.from_json((workplace / "report.json").read_text())
    assert report.protocol.threads == 1
    for row in report.runtimes:
        assert row.settings["threads"] == 1
        for turn in row.rounds:
            assert turn.cpu_s <= 1.1 * turn.wall_s + 0.02, row.name


def test_the_report_says_where_and_in_which_order_it_was_made(torch_run, workplace):
    report = Report.from_json((workplace / "report.json").read_text())
    assert [sorted(names) for names in report.order] == [sorted(REFERENCE_RUNTIMES)] * 2
    environment = report.environment
    assert environment.host["cores"] >= 1
    assert {"python", "torch", "onnxruntime", "openvino"} <= set(environment.versions)
    assert environment.noise.load_before is not None
    assert "name: small_cnn" in report.recipe


def test_the_table_goes_to_standard_output_and_progress_does_not(torch_run):
    _, output, progress = torch_run
    assert output.startswith("small_cnn (image 1x3x32x32), 1 thread, 2 rounds")
    assert " times as fast as the best other runtime" in output
    # Which verdict it is depends on the minute; that there is one does not.
    assert "the best other runtime (" in output.splitlines()[-1]
    assert "round 2 of 2" in progress
    assert "round 2 of 2" not in output
    assert "\x1b" not in output + progress


def test_an_onnx_model_says_what_does_not_apply_and_json_is_all_there_is_on_stdout(
    bench, workplace
):
    code, output, progress = bench(
        *("onnx.yaml", "--runtimes", "pytorch,torchscript,onnxruntime,openvino"),
        *("--rounds", "1", "-f", "json", "--quiet"),
    )
    assert code == 0, progress
    assert progress == ""
    rows = {row["name"]: row for row in json.loads(output)["runtimes"]}
    assert rows["pytorch"]["status"] == rows["torchscript"]["status"] == "not applicable"
    assert "ONNX" in rows["pytorch"]["reason"]
    assert rows["onnxruntime"]["status"] == rows["openvino"]["status"] == "ok"


def test_runtimes_of_other_people_may_enter_and_fail_without_failing_the_command(bench, workplace):
    code, output, progress = bench(
        "torch.yaml",
        "--runtimes",
        "onnxruntime,toy_runtimes:Doubles,toy_runtimes:Missing,toy_runtimes:SegfaultsAtOnce,"
        "toy_runtimes:RefusesToPrepare,toy_runtimes:GivesNone,toy_runtimes:PlansAPath,"
        "toy_runtimes:PlansNothing,toy_runtimes:AsksWrongly",
        *("--rounds", "1", "-f", "md", "-o", "report.md"),
        # Not a catalogue: what was measured is not lost for it.
        *("--catalogue", "torch.yaml"),
    )
    assert code == 0, progress
    assert "warning: the report is not kept in the catalogue: " in progress
    lines = (workplace / "report.md").read_text().splitlines()
    rows = {line.split("|")[1].strip(): line for line in lines if line.startswith("|")}
    assert "wrong outputs: output 0 has shape" in rows["doubles"]
    assert "not installed: pip install a-package-that-nobody-has" in rows["missing"]
    assert "SIGSEGV (segmentation fault) (while loading)" in rows["segfaults-at-once"]
    assert "RuntimeError: exporter stumbled (while preparing)" in rows["unprepared"]
    assert "TypeError: output 1 is no array of numbers" in rows["gives-none"]
    assert "PosixPath is not JSON serializable (while preparing)" in rows["plans-a-path"]
    assert "'NoneType' object is not iterable (while preparing)" in rows["plans-nothing"]
    assert "RuntimeError: no such file (while preparing)" in rows["asks-wrongly"]
    assert "onnxruntime" in output
    assert "looking for the model" not in output


def test_whatever_a_converter_does_is_its_row_and_the_others_are_not_disturbed(
    bench, workplace, still_running
):
    node = helper.make_node("Add", ["x", "x"], ["y"])
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 6]) for name in "xy"]
    graph = helper.make_graph([node], "doubling", ends[:1], ends[1:])
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)])
    onnx.save(model, workplace / "doubling.onnx")
    (workplace / "doubling.yaml").write_text("name: doubling\nmodel: {source: doubling.onnx}\n")
    kinds = (
        *("CrashesConverting", "HangsConverting", "Refuses", "WantsANetwork", "OfAnotherPython"),
        *("ConvertsWrongly", "WantsAnother", "Doubling"),
    )
    code, output, progress = bench(
        *("doubling.yaml", "--runtimes"),
        ",".join(["onnxruntime", *(f"toy_converters:{kind}" for kind in kinds)]),
        # Of which the one that hangs takes all; long enough for those that only start.
        *("--rounds", "1", "--threads", "1", "--runtime-timeout", "15", "-f", "json"),
    )
    assert code == 0, progress
    rows = {row.name: row for row in Report.from_json(output).runtimes}
    reasons = {
        "crashes-converting": "failed: SIGSEGV (segmentation fault), after printing "
        '"reading the graph" (while converting)',
        "hangs-converting": "failed: timeout: no answer within 15 s, after printing "
        '"asking for a licence" (while converting) (--runtime-timeout SECONDS gives it longer)',
        "refuses": "failed: RuntimeError: no layer for Mul (while converting)",
        "wants-a-network": "failed: URLError: <urlopen error [Errno 111] Connection refused> "
        "(while converting)",
        "of-another-python": "failed: ImportError: bad magic number in 'engine'",
        "converts-wrongly": "wrong: wrong outputs: relative error 0.34, and 0.001 is allowed",
        "wants-another": "not applicable: there is no machine of the other kind here",
    }
    for name, reason in reasons.items():
        assert f"{rows[name].status}: {rows[name].reason}".startswith(reason)
        assert rows[name].ratio is None
    programs = psutil.process_iter(["cmdline"])
    left = [program for program in programs if program.info["cmdline"] == ["sleep", "1013"]]
    assert still_running(left) == []
    # What printed without an end of its line, and what stood beside all of these.
    assert rows["doubling"].status == "ok", rows["doubling"].reason
    assert rows["onnxruntime"].ratio.against == "doubling"


# Not TorchInductor, which compiles for minutes.
PEERS = tuple(name for name in PEER_RUNTIMES if name != "inductor")


@pytest.fixture(scope="module")
def peers_run(bench, workplace):
    """Those of others that are here, and those that are not; one that takes what runs on a GPU."""
    names = (*PEERS, *GPU_RUNTIMES, "toy_converters:OnThisCpu", "toy_converters:WantsAnother")
    return bench(
        *("torch.yaml", "--runtimes", ",".join(names), "--rounds", "1", "--threads", "1"),
        *("-f", "json"),
    )


def test_a_runtime_that_is_not_here_says_how_to_install_it_and_others_are_right(peers_run):
    code, output, progress = peers_run
    assert code == 0, progress
    rows = {row.name: row for row in Report.from_json(output).runtimes}
    for name in PEERS:
        runtime, row = find_runtime(name), rows[name]
        if lacking := runtime.lacks():
            assert (row.status, row.reason) == ("not applicable", f"there is no {lacking} here")
        elif missing := missing_package(runtime):
            assert (row.status, row.reason) == (
                "not installed",
                f"not installed: pip install {runtime.install or missing}",
            )
        else:
            assert row.status == "ok", (name, row.reason, row.detail)
            assert row.accuracy.relative_error < 1e-3
            assert row.settings["threads"] == 1


def test_a_runtime_for_another_machine_says_what_is_not_here(peers_run):
    rows = {row.name: row for row in Report.from_json(peers_run[1]).runtimes}
    assert rows["wants-another"].reason == "there is no machine of the other kind here"
    if not detect_host().gpus:
        said = {(rows[name].status, rows[name].reason) for name in GPU_RUNTIMES}
        assert said == {("not applicable", "there is no NVIDIA GPU here")}


def test_what_runs_on_a_gpu_is_timed_with_transfers_and_without(peers_run):
    report = Report.from_json(peers_run[1])
    row = next(row for row in report.runtimes if row.name == "pytorch-on-this-cpu")
    assert row.status == "ok", (row.reason, row.detail)
    assert row.settings["without_transfers_ms"] > 0
    if not detect_host().gpus:
        told = [note for note in report.warnings if note.startswith("GPU memory and utilisation")]
        assert told == [
            f"GPU memory and utilisation are not all known: {row.settings['gpu_problem']}"
        ]


def test_cores_that_were_busy_are_counted(torch_run, workplace):
    report = Report.from_json((workplace / "report.json").read_text())
    for row in report.runtimes:
        assert 0 < row.busy_cores < 1.2, row.name
        assert row.instructions is None or row.instructions > 1e5


# Detectors do: places of a size, until another comes.
REMEMBERING = """
import torch

class Net(torch.nn.Module):
    size = None

    def __init__(self):
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 8, 3)

    def forward(self, image):
        values = self.convolution(image)
        if self.size != values.shape[2:]:
            self.size = values.shape[2:]
            self.places = torch.arange(values.shape[3]).to(values) * 0.1
        return values + self.places
"""


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_inductors_package_is_made_in_several_forms_and_right(workplace):
    (workplace / "remembering.py").write_text(REMEMBERING)
    recipe = CNN.format(callable="").replace("tunekit.models.vanilla_cnn:", "remembering:Net")
    recipe = recipe.replace("  arguments: {channels: 8}\n", "")
    (workplace / "remembering.yaml").write_text(recipe)
    # By itself: three compilations take longer than commands of other tests are waited for.
    done = subprocess.run(
        [
            *TUNEKIT,
            *("bench", "remembering.yaml", "--runtimes", "inductor", "--rounds", "1"),
            *("-f", "json"),
        ],
        cwd=workplace,
        env=environment(workplace),
        capture_output=True,
        text=True,
        timeout=2000,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [row] = Report.from_json(done.stdout).runtimes
    assert row.status == "ok", (row.reason, row.detail)
    assert row.accuracy.relative_error < 1e-4
    *plain, autotuned = row.settings["forms"]
    assert plain == ["as it is", "channels last"]
    assert autotuned in [f"{name}, max-autotune" for name in plain]


def test_several_processes_at_once_are_counted_together(bench, workplace):
    code, output, progress = bench(
        *("onnx.yaml", "--runtimes", "onnxruntime", "--rounds", "1", "--threads", "2"),
        *("--instances", "2", "-f", "json"),
    )
    assert code == 0, progress
    assert "running 2 processes of onnxruntime at once" in progress
    [row] = Report.from_json(output).runtimes
    assert (row.at_once.instances, row.at_once.threads, row.at_once.shared) == (2, 1, False)
    assert len(row.at_once.runs_per_s) == 3
    assert len(row.at_once.median_ms) == 2
    assert row.at_once.fps > 0


def test_several_inputs_and_nested_outputs_reach_every_runtime_in_order(bench, workplace):
    import torch
    from toy_models import Nested

    # An exported program, which is not any module: it refuses eval(), for one.
    arguments = (torch.randn(1, 3, 16, 16), torch.zeros(1, 5, dtype=torch.int64))
    torch.export.save(torch.export.export(Nested().eval(), arguments), workplace / "nested.pt2")
    (workplace / "nested.yaml").write_text("name: nested\nmodel: {source: nested.pt2}\n")
    code, output, progress = bench(
        *("nested.yaml", "--runtimes", "pytorch,torchscript,onnxruntime,openvino"),
        *("--rounds", "1", "--threads", "1", "-f", "json"),
    )
    assert code == 0, progress
    report = Report.from_json(output)
    assert len(report.model.inputs) == 2
    assert len(report.model.outputs) == 3
    for row in report.runtimes:
        assert row.status == "ok", (row.name, row.reason, row.detail)


@pytest.fixture(scope="module")
def tuned_run(bench, workplace):
    return bench(
        *("torch.yaml", "--runtimes", "tuned,default,unscheduled,onnxruntime", "--rounds", "4"),
        *("--catalogue", "empty.db", "-o", "tuned.json"),
    )


def test_the_library_is_compiled_where_there_is_none_and_compared(tuned_run, workplace):
    code, output, progress = tuned_run
    assert code == 0, progress
    report = Report.from_json((workplace / "tuned.json").read_text())
    rows = {row.name: row for row in report.runtimes}
    for row in rows.values():
        assert row.status == "ok", (row.name, row.reason, row.detail)
        assert row.accuracy.relative_error < 1e-4
    assert rows["tuned"].ratio.against == "onnxruntime"
    assert len(rows["unscheduled"].rounds) == 3
    assert "records cover 0% of tuned's estimated latency" in output
    assert (workplace / "artifacts" / "small_cnn" / "model.so").is_file()


def test_the_tuned_library_runs_in_every_form_and_gives_the_same(bench, tuned_run, workplace):
    forms = ("tuned", *TUNED_FORMS)
    code, output, progress = bench(
        *("torch.yaml", "--runtimes", ",".join(forms), "--rounds", "2"),
        *("--catalogue", "empty.db", "-f", "json"),
    )
    assert code == 0, progress
    rows = {row.name: row for row in Report.from_json(output).runtimes}
    assert tuple(rows) == forms
    assert {row.status for row in rows.values()} == {"ok"}
    assert len({row.accuracy.max_abs_error for row in rows.values()}) == 1
    assert len({row.settings["threads"] for row in rows.values()}) == 1
    # Each form is compared with the library as it is, which has nobody to be compared with here.
    against = {name: row.ratio and row.ratio.against for name, row in rows.items()}
    assert against == {"tuned": None, **dict.fromkeys(TUNED_FORMS, "tuned")}
    # The C program is measured, not the process that asks it.
    assert rows["tuned-c"].peak_rss_bytes < 16 * 2**20 < rows["tuned"].peak_rss_bytes
    for row in rows.values():
        assert 0 < row.first_run_s < row.to_first_result_s
        assert row.cpu_ms > 0
        assert row.idle_cpu_s >= 0


def test_what_stands_beside_the_latency_is_shown_in_a_table_of_its_own(tuned_run):
    _, output, _ = tuned_run
    [titles] = [line for line in output.splitlines() if "to first ms" in line]
    assert titles.split("  ")[0] == "runtime"
    assert "CPU ms idle" in titles


def test_a_model_that_is_no_library_of_its_own_runs_in_tvm_and_says_so(bench, tuned_run, workplace):
    file = workplace / "artifacts" / "small_cnn" / "manifest.json"
    before = file.read_text()
    manifest = {**json.loads(before), "standalone": None, "not_standalone": "it sorts"}
    file.write_text(json.dumps(manifest))
    try:
        code, output, progress = bench(
            *("torch.yaml", "--runtimes", "tuned,tuned-ctypes", "--rounds", "1"),
            *("--catalogue", "empty.db", "-f", "json"),
        )
    finally:
        file.write_text(before)
    assert code == 0, progress
    report = Report.from_json(output)
    tuned, ctypes = report.runtimes
    assert (tuned.status, ctypes.status) == ("ok", "not applicable")
    assert "there is no standalone library: it sorts" in ctypes.reason
    assert any("tuned runs in TVM's virtual machine" in note for note in report.warnings)
    assert tuned.peak_rss_bytes > 64 * 2**20


def test_a_tuned_library_that_fails_fails_the_command_and_the_others_are_still_measured(
    bench, tuned_run, workplace
):
    folder = workplace / "artifacts" / "small_cnn"
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / manifest["standalone"]["library"]).write_bytes(b"no library at all")
    manifest["standalone"]["sha256"] = hashlib.sha256(b"no library at all").hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    code, output, progress = bench(
        *("torch.yaml", "--runtimes", "tuned,onnxruntime", "--rounds", "1"),
        *("--catalogue", "empty.db", "-f", "json"),
    )
    assert code == 1, progress
    report = Report.from_json(output)
    assert [row.status for row in report.runtimes] == ["failed", "ok"]
    assert "(while loading)" in report.runtimes[0].reason
    assert report.verdict.startswith("tuned failed: ")


def test_every_report_is_in_the_catalogue_and_listed(bench, tuned_run, workplace):
    arguments = ("torch.yaml", "--history", "--catalogue", "empty.db")
    code, output, progress = bench(*arguments, "-f", "json")
    assert code == 0, progress
    kept = json.loads(output)[-1]
    assert (kept["name"], kept["status"], kept["against"]) == ("small_cnn", "ok", "onnxruntime")
    assert kept["ratio_low"] <= kept["ratio"] <= kept["ratio_high"]
    code, output, progress = bench(*arguments)
    assert output.splitlines()[0].split()[:4] == ["benchmark", "machine", "tuned", "ms"]
    code, output, progress = bench(
        "onnx.yaml", "--history", "--catalogue", "empty.db", "--set", "name=other"
    )
    assert (code, output, progress) == (0, "", "no benchmarks of other yet\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--runtimes", "pytorc"], "did you mean"),
        (["--runtimes", "toy_runtimes:Nobody"], "toy_runtimes:Nobody"),
        (["-o", "nowhere/report.json"], "cannot write -o nowhere/report.json"),
        (["--rounds", "0"], "rounds"),
        (["--threads", "-1"], "threads"),
        (["--instances", "0"], "instances"),
        (["--shared"], "--shared is given without --instances"),
        (["--runtime-timeout", "inf"], "runtime-timeout"),
        (["--runtime-timeout", "nan"], "--runtime-timeout"),
        (["--reference", "onnxruntme"], "--reference: "),
        (["--reference", "gpu"], "--reference: gpu is more than one"),
        (["--faster-than", "openvin"], "--faster-than: "),
        (["--max-slowdown", "5%"], "--max-slowdown is given without --baseline"),
        (["--reference", "pytorch"], "--reference is given without --baseline"),
        (
            ["--check-noise", "--faster-than", "pytorch"],
            "--check-noise and --faster-than are both given",
        ),
        (["--check-noise", "--min-accuracy", "0"], "--check-noise and --min-accuracy"),
        (["--check-noise", "--runtimes", "pytorch"], "--check-noise and --runtimes"),
        (["--history", "--min-coverage", "0.5"], "--history and --min-coverage"),
        (["--history", "--check-noise"], "--history and --check-noise"),
        (["--history", "--baseline", "b.json"], "--history and --baseline"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_loaded(
    bench, workplace, arguments, message
):
    code, output, progress = bench("torch.yaml", *arguments)
    assert code == 2
    assert message in progress
    assert "Traceback" not in progress
    assert "loading" not in progress
    assert output == ""


def test_ctrl_c_ends_every_runtime_and_says_so(workplace, still_running):
    with subprocess.Popen(
        [
            *(*TUNEKIT, "bench", "torch.yaml", "--rounds", "500"),
            *("--runtimes", "onnxruntime,toy_runtimes:Doubles"),
        ],
        cwd=workplace,
        env=environment(workplace),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for line in process.stderr:
            if line.startswith("round 2"):
                break
        children = psutil.Process(process.pid).children()
        assert len(children) == 2
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "error: benchmark interrupted" in rest
    assert "Traceback" not in rest
    assert still_running(children) == []


def test_the_commands_module_loads_nothing_heavy():
    script = textwrap.dedent(
        """
        import sys
        import tunekit.cli.bench
        heavy = {"torch", "tvm", "numpy", "onnxruntime", "openvino", "onnx"} & set(sys.modules)
        print(sorted(heavy))
        """
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


def as_in_examples(name):
    """The commands of tunekit in an example for continuous integration, without their path."""
    content = YAML(typ="safe").load(Path(__file__).parents[2] / "examples" / "ci" / name)
    if "jobs" in content:
        lines = [step["run"] for step in content["jobs"]["bench"]["steps"] if "run" in step]
    else:
        lines = [*content["library"]["script"], *content["library"]["after_script"]]
    words = [shlex.split(line) for line in lines]
    return [command[1:] for command in words if command[0] == ".venv/bin/tunekit"]


# Rounds, with fewer of which there is no answer.
FEW = "6"


def test_the_examples_for_continuous_integration_run_as_they_stand(bench, starter, workplace):
    commands = as_in_examples("github.yml")
    assert commands == as_in_examples("gitlab.yml")
    noise, gate, report = commands
    assert (noise[0], gate[0], report[0]) == ("bench", "bench", "report")
    recipe = CNN.format(callable="vanilla_cnn").replace("small_cnn", "guarded")
    (workplace / "model.yaml").write_text(recipe + "reference: {threads: 1}\n")
    # So few rounds have no interval.
    code, shown, progress = bench(*noise[1:], "--rounds", "2")
    assert code == 0, shown + progress
    assert "cannot tell: the same library against itself" in progress
    code, _, progress = bench(*_without_a_gate(gate), "-o", "baseline.json")
    assert code == 0, progress
    few = [FEW if word == "20" else word for word in gate[1:]]
    baseline = workplace / "baseline.json"
    measured = baseline.read_text()
    # How much two runs differ on this machine is not what is tested: far slower, and far faster.
    baseline.write_text(_slowed(measured, 1000))
    code, _, progress = bench(*few)
    assert code == 0, progress
    assert re.search(r"passed: against onnxruntime .* faster.*, allowed 5.0% slower", progress)
    baseline.write_text(_slowed(measured, 1 / 1000))
    code, _, progress = bench(*few)
    assert code == 3, progress
    assert re.search(
        r"failed: against onnxruntime .*% slower \(.*\), allowed 5.0% slower", progress
    )
    assert re.search(r"passed: accuracy 0.999\d*", progress)
    baseline.write_text(measured)
    page = starter.start(workplace, workplace / "out", workplace / "err", report)
    assert page.wait() == 0, page.errors
    assert "last against first" in (workplace / "report.html").read_text()


def _slowed(report, factor):
    """A report in which a run of the library took so many times as long."""
    document = json.loads(report)
    [tuned] = [row for row in document["runtimes"] if row["name"] == "tuned"]
    for turn in tuned["rounds"]:
        turn["seconds"] = [factor * seconds for seconds in turn["seconds"]]
    return json.dumps(document)


def _without_a_gate(command):
    """The measurement alone, which makes the first baseline."""
    words = list(command[1:])
    return [*words[: words.index("--baseline")], "--rounds", FEW]


def test_a_demand_that_cannot_be_read_is_refused(bench, workplace):
    (workplace / "damaged.json").write_text("{")
    other = report_of(timed("tuned", [10.0] * 6), timed("onnxruntime", [12.0] * 6))
    renamed = other.model.model_copy(update={"name": "another"})
    (workplace / "other.json").write_text(other.model_copy(update={"model": renamed}).to_json())
    for arguments, message in (
        (["--baseline", "damaged.json"], "damaged.json: line 1: not JSON"),
        (["--baseline", "absent.json"], "the baseline absent.json cannot be read"),
        (["--max-slowdown", "much"], "--max-slowdown is 'much'"),
        (["--baseline", "other.json"], "the baseline is of another model: another"),
    ):
        code, _, progress = bench("torch.yaml", *arguments)
        assert code == 2
        assert message in progress
        assert "preparing" not in progress
