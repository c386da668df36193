"""What a person can rely on in an explanation, on real profiles of a small network."""

from __future__ import annotations

import html
import json
import math
import shutil
import subprocess
import sys
from collections import Counter

import pytest

from tunekit.attribution import profilers
from tunekit.attribution.explain import ExplainSettings, explain_recipe
from tunekit.attribution.kept import keep, kept
from tunekit.errors import UsageError
from tunekit.library import Library
from tunekit.library.output import EXPLANATION_FILE, library_folder
from tunekit.recipe import load_recipe
from tunekit.report.explanation import explanation_markdown, explanation_text
from tunekit.report.trace import trace_text

CONVOLUTIONS = {
    "3x3 3 to 16, 32x32",
    "3x3 16 to 16, 16x16",
    "3x3 depthwise 16, 8x8",
    "1x1 16 to 32, 8x8",
}


def test_every_kernel_of_the_library_has_its_time_and_its_share_of_the_peak(explanation):
    assert sum(one.calls for one in explanation.operators) == 8
    assert sum(one.share for one in explanation.operators) == pytest.approx(1)
    for one in explanation.operators:
        assert 0 <= one.best_s <= one.seconds
        assert one.flops > 0
        assert one.bytes > 0
        assert one.of_peak is None or one.of_peak > 0
        assert one.space == "default"
        assert one.trials == 0


def test_an_explanation_has_its_recipe(explanation, recipe, tmp_path):
    file = tmp_path / "again.yaml"
    file.write_text(explanation.recipe)
    assert load_recipe(file) == recipe


def test_kernels_say_what_they_compute(explanation):
    works = [one.work for one in explanation.operators]
    for convolution in CONVOLUTIONS:
        assert any(work.startswith(convolution) for work in works), (convolution, works)
    assert any(work.startswith("matmul 1x1000x32") for work in works)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_each_convolution_and_product_finds_its_counterpart_by_its_sizes(explanation, runtime):
    for one in explanation.operators:
        if one.kind in ("convolution", "matrix product"):
            assert one.others[runtime].by == "work", (one.work, one.others)
    pairs = [one for one in explanation.operators if one.work.startswith("3x3 16 to 16, 16x16")]
    assert len(pairs) == 2
    for one in pairs:
        assert one.others[runtime].kernels == 2
        assert len(one.others[runtime].nodes) == 2


def test_pooling_is_matched_by_the_size_of_its_output(explanation):
    pools = [one for one in explanation.operators if one.kind == "pooling and sums"]
    assert len(pools) == 2
    for pool in pools:
        assert {"onnxruntime", "openvino"} <= pool.others.keys()
        assert {other.by for other in pool.others.values()} == {"size"}


def test_all_of_a_runtimes_time_is_somewhere(explanation):
    for runtime in explanation.runtimes[1:]:
        assert runtime.status == "ok"
        matched = sum(
            one.others[runtime.name].seconds
            for one in explanation.operators
            if runtime.name in one.others
        )
        alone = sum(one.seconds for one in explanation.unmatched if one.runtime == runtime.name)
        assert matched + alone == pytest.approx(runtime.operators_s)


def test_operators_and_overheads_add_up_to_end_to_end(explanation):
    assert [runtime.name for runtime in explanation.runtimes] == [
        "tuned",
        "onnxruntime",
        "openvino",
    ]
    for runtime in explanation.runtimes:
        named = sum(part.seconds for part in runtime.overheads)
        assert runtime.operators_s + named == pytest.approx(runtime.end_to_end_s)
    own = sum(one.seconds for one in explanation.operators)
    assert explanation.runtimes[0].operators_s == pytest.approx(own)


def test_the_difference_is_to_the_fastest_of_the_others(explanation):
    for one in explanation.operators:
        fastest = min(other.seconds for other in one.others.values())
        assert one.difference_s == pytest.approx(one.seconds - fastest)


def test_the_roofline_is_of_this_machine(explanation):
    peaks = explanation.peaks
    assert peaks.measured == 4  # around each of two turns
    # A slow core at 1 GHz does more than 0.1 GFLOP/s, and no two threads do 10 TFLOP/s.
    assert 1e8 < peaks.flops_per_s < 1e13
    assert 1e7 < peaks.memory_bytes_per_s < 1e13
    assert peaks.streamed_mib == 1
    for one in explanation.operators:
        attainable = max(one.flops / peaks.flops_per_s, one.bytes / peaks.bytes_per_s)
        assert one.of_peak == pytest.approx(attainable / one.seconds)
        assert one.gain_s == pytest.approx(max(0.0, one.seconds - attainable))


def test_it_is_kept_with_its_library_and_shown_on_the_recipes_page(
    explanation, recipe, recipe_file, run_warm, tmp_path
):
    folder = library_folder(recipe)
    assert kept(folder) == explanation
    made = run_warm("report", str(recipe_file))
    assert made.returncode == 0, made.stderr
    page = (tmp_path / "report.html").read_text("utf-8")
    for one in explanation.operators:
        assert html.escape(one.work) in page
    again = "tunekit explain small.yaml --runtimes onnxruntime,openvino --rounds 2 --threads 2"
    assert again in page


def test_that_of_a_library_that_was_replaced_meanwhile_is_not_kept(explanation, recipe, tmp_path):
    folder = tmp_path / "small"
    shutil.copytree(library_folder(recipe), folder)
    old = Library.open(folder)
    (folder / EXPLANATION_FILE).unlink()
    old.manifest.model_copy(update={"sha256": "0" * 64}).write(folder)
    keep(explanation, old, pytest.fail)
    assert kept(folder) is None


def test_one_that_cannot_be_kept_is_said_and_not_lost(explanation, recipe, tmp_path):
    shutil.copytree(library_folder(recipe), tmp_path / "small")
    library = Library.open(tmp_path / "small")
    shutil.rmtree(library.folder)
    said = []
    keep(explanation, library, said.append)
    assert said == [
        "warning: the explanation is not kept with the library: No such file or directory"
    ]


def test_the_json_form_says_which_it_is_and_loses_nothing(explanation):
    plain = json.loads(explanation.to_json())
    assert plain["schema"] == "tunekit.explain/1"
    assert [one["name"] for one in plain["operators"]] == [
        one.name for one in explanation.operators
    ]


@pytest.mark.parametrize("width", [80, 200])
def test_the_table_fits_the_screen_and_keeps_its_columns(explanation, width):
    lines = explanation_text(explanation, width).plain.splitlines()
    assert max(map(len, lines)) <= width
    titles = next(line for line in lines if line.startswith("operator"))
    for title in ("calls", "ms", "of peak", "gain ms", "trials", "diff ms"):
        assert title in titles
    assert ("GFLOP/s" in titles) == (width == 200)
    at = lines.index(titles)
    for row, one in zip(lines[at + 1 :], explanation.operators, strict=False):
        assert row[:4] == one.work[:4]


def test_markdown_has_a_row_for_each_operator(explanation):
    rows = [line for line in explanation_markdown(explanation).splitlines() if line[:1] == "|"]
    assert len(rows) == 2 + len(explanation.operators)
    assert len({row.count("|") - row.count("\\|") for row in rows}) == 1


def test_the_trace_has_every_kernel_on_its_thread(explanation):
    trace = json.loads(trace_text(explanation))["traceEvents"]
    kernels = [event for event in trace if event["ph"] == "X" and "task" not in event["args"]]
    tasks = [event for event in trace if event["ph"] == "X" and "task" in event["args"]]
    calls = Counter(event["args"]["kernel"] for event in kernels)
    assert calls == {one.name: one.calls for one in explanation.operators}
    works = {one.name: one.work for one in explanation.operators}
    assert all(event["name"] == works[event["args"]["kernel"]] for event in kernels)
    assert {event["tid"] for event in kernels} == {0}
    assert {event["args"]["task"] for event in tasks} == {0, 1}
    names = {
        event["tid"]: event["args"]["name"] for event in trace if event["name"] == "thread_name"
    }
    assert names[0] == "caller"
    assert {event["tid"] for event in tasks} <= names.keys()


def test_what_has_no_trace_says_why(explanation):
    with pytest.raises(UsageError, match="there is no trace of small"):
        trace_text(explanation.model_copy(update={"trace": ()}))


def test_a_runtime_that_fails_is_a_remark(recipe, monkeypatch):
    monkeypatch.setitem(profilers.PROFILED, "openvino", "tunekit.attribution.nowhere:Nothing")
    settings = ExplainSettings(threads=1, rounds=1, turn_s=0.01)
    found = explain_recipe(recipe, runtimes=("openvino",), settings=settings)
    assert [one.end_to_end_s is None for one in found.runtimes] == [False, True]
    assert "nowhere" in found.runtimes[1].status
    assert any(remark.startswith("openvino: ") for remark in found.remarks)
    assert all(one.difference_s is None for one in found.operators)
    assert all(math.isfinite(one.seconds) for one in found.operators)
    assert "nowhere" in explanation_text(found, 80).plain


def test_the_command_writes_and_shows_it(run_warm, recipe_file, explanation, tmp_path):
    done = run_warm(
        "explain",
        recipe_file,
        "--runtimes",
        "none",
        "--rounds",
        "1",
        "--sort",
        "time",
        "-o",
        "e.md",
    )
    assert done.returncode == 0, done.stderr
    assert "operator" in done.stdout
    assert "Sorted by time." in done.stdout
    assert "round 1 of 1: tuned" in done.stderr
    assert (tmp_path / "e.md").read_text().startswith("### small")


def test_a_runtime_that_cannot_say_is_refused_at_once(run_warm, recipe_file):
    done = run_warm("explain", recipe_file, "--runtimes", "openvine")
    assert done.returncode == 2
    assert "did you mean 'openvino'?" in done.stderr


def test_a_profiler_is_found_without_loading_tvm():
    modules = [
        place.partition(":")[0] for place in (profilers.LIBRARY, *profilers.PROFILED.values())
    ]
    code = "import importlib, sys\n"
    code += "".join(f"importlib.import_module({module!r})\n" for module in modules)
    code += "sys.exit('tvm' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
