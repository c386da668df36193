"""The page says what its sources say, needs no network, and draws its charts."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from bench_reports import full_report, report_of, timed
from page_sources import explanation, selected_library, session_in

from tunekit.benchmark.results import Report
from tunekit.catalogue import Catalogue, NewBenchRun, NewLibrary
from tunekit.errors import UsageError
from tunekit.library.output import EXPLANATION_FILE
from tunekit.page.document import page as page_of
from tunekit.page.document import with_page
from tunekit.page.material import Material
from tunekit.report.benchmark import COLUMNS, bench_result, costs
from tunekit.report.output import Format, in_format, write

Make = Callable[..., "subprocess.CompletedProcess[str]"]


def cells(page: str) -> list[str]:
    return [html.unescape(text) for text in re.findall(r"<td[^>]*>(.*?)</td>", page, re.DOTALL)]


def visible(page: str) -> str:
    """What a person reads, without the benchmarks' JSON, which has all of it, too."""
    before, found, _ = page.partition('id="benchmarks">')
    assert found
    return html.unescape(before)


def test_a_benchmark_is_shown_as_its_file_has_it(
    make: Make, bench_file: Path, tmp_path: Path
) -> None:
    done = make("bench.json", "-o", "page.html")
    assert (done.returncode, done.stdout) == (0, "")
    page = (tmp_path / "page.html").read_text("utf-8")
    report = Report.from_json(bench_file.read_text("utf-8"))
    shown, seen = cells(page), visible(page)
    for row in report.runtimes:
        for column in COLUMNS:
            assert column.text(row) in shown
        assert not row.reason or row.reason in seen
    for row in (row for row in report.runtimes if row.load_s is not None):
        for column in costs(report.runtimes):
            assert column.text(row) in shown
    assert report.verdict in seen
    match = re.search(r'id="benchmarks">(.*?)</script>', page, re.DOTALL)
    assert match is not None
    assert json.loads(match[1]) == [json.loads(bench_file.read_text("utf-8"))]
    assert len(page) < 5_000_000


def test_every_report_can_be_a_page_by_its_format_or_its_file_name(tmp_path: Path) -> None:
    report = full_report()
    result = with_page(bench_result(report), benchmarks=[report])
    file = tmp_path / "bench.html"
    write(result, file=file)
    assert in_format(result, Format.html) == file.read_text("utf-8")
    assert report.verdict in visible(file.read_text("utf-8"))
    with pytest.raises(UsageError, match="this has no html form"):
        in_format(bench_result(report), Format.html)


def test_a_session_is_shown_as_a_page_on_standard_output(run_warm: Make, tmp_path: Path) -> None:
    session = session_in(tmp_path / "catalogue.db")
    shown = run_warm("show", session, "-f", "html", "--catalogue", "catalogue.db")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("<!doctype html>")
    assert f"{session}: small, finished" in shown.stdout


def _recipe(file: Path, catalogue: str) -> None:
    """Of the name that the sessions of `session_in` have."""
    file.write_text(
        "name: small\nmodel: {source: 'torchvision:resnet18', inputs: [{name: x, shape: [1]}]}\n"
        f"catalogue: {catalogue}\n"
    )


def test_a_recipe_is_looked_up_in_its_own_catalogue(make: Make, tmp_path: Path) -> None:
    session = session_in(tmp_path / "mine.db")
    _recipe(tmp_path / "small.yaml", "mine.db")
    made = make("small.yaml", "-o", "page.html")
    assert made.returncode == 0, made.stderr
    assert session in (tmp_path / "page.html").read_text("utf-8")
    _recipe(tmp_path / "other.yaml", "yours.db")
    refused = make("small.yaml", "other.yaml", "-o", "page.html")
    assert refused.returncode == 2
    assert "keep their measurements in mine.db and yours.db" in refused.stderr


def test_a_recipes_library_is_shown_where_no_session_compiled_it(
    make: Make, tmp_path: Path
) -> None:
    _recipe(tmp_path / "small.yaml", "mine.db")
    folder = tmp_path / "artifacts" / "small"
    folder.mkdir(parents=True)
    selected_library().write(folder)
    (folder / EXPLANATION_FILE).write_text(explanation().to_json(), "utf-8")
    Catalogue.open(str(tmp_path / "mine.db")).close()
    for has_session in (False, True):
        if has_session:
            session_in(tmp_path / "mine.db")
        made = make("small.yaml", "-o", "page.html")
        assert made.returncode == 0, made.stderr
        page = (tmp_path / "page.html").read_text("utf-8")
        assert "<h1>small</h1>" in page
        assert ("<h2>Tuning</h2>" in page) == has_session
        assert "<h2>Library</h2>" in page
        assert "<h2>Operators</h2>" in page
    (folder / EXPLANATION_FILE).write_text("{}", "utf-8")
    make("small.yaml", "-o", "page.html")
    assert "the library&#39;s explanation is not shown: " in (tmp_path / "page.html").read_text(
        "utf-8"
    )


def test_the_library_of_the_session_is_shown_and_not_another_of_the_recipe(
    make: Make, tmp_path: Path
) -> None:
    _recipe(tmp_path / "small.yaml", "mine.db")
    session = session_in(tmp_path / "mine.db")
    folders = {"NCHW": tmp_path / "artifacts" / "small", "NHWC": tmp_path / "elsewhere" / "small"}
    for layout, folder in folders.items():
        folder.mkdir(parents=True)
        selected_library().model_copy(update={"layout": layout}).write(folder)
    with Catalogue.open(str(tmp_path / "mine.db")) as catalogue:
        path = str(folders["NHWC"] / "model.so")
        catalogue.libraries.add(NewLibrary("small", path, "00", "recipe", {}, session))
    for layout in ("NHWC", "NCHW"):
        assert make("small.yaml", "-o", "page.html").returncode == 0
        page = (tmp_path / "page.html").read_text("utf-8")
        assert f"<dt>layout</dt><dd>{layout}</dd>" in page
        # Once it is gone, the one that is there.
        shutil.rmtree(tmp_path / "elsewhere", ignore_errors=True)


def test_nothing_is_loaded_from_elsewhere(make: Make, bench_file: Path, tmp_path: Path) -> None:
    make("bench.json", "-o", "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    markup = re.sub(r"<script>.*?</script>", "<script></script>", page, flags=re.DOTALL)
    assert not re.search(r"<(script|img|iframe)[^>]*\bsrc=", markup)
    assert set(re.findall(r"<link[^>]*href=\"([^\"]*)\"", page)) == {"data:,"}
    [style] = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    assert not re.search(r"@import|url\(", style)
    specs = re.findall(r'id="spec\d+">(.*?)</script>', page, re.DOTALL)
    assert specs
    assert not any('"url"' in spec for spec in specs)


def test_benchmarks_of_several_files_stand_beside_each_other(
    make: Make, bench_file: Path, tmp_path: Path
) -> None:
    other = json.loads(bench_file.read_text("utf-8"))
    other["environment"]["versions"]["torch"] = "2.13.0"
    other["recipe"] += "layout: NCHW\n"
    for name in ("best_ms", "median_ms", "p10_ms", "p90_ms"):
        other["runtimes"][0]["latency"][name] /= 2
    (tmp_path / "later.json").write_text(json.dumps(other), "utf-8")
    assert make("bench.json", "later.json", "-o", "page.html").returncode == 0
    page = (tmp_path / "page.html").read_text("utf-8")
    matrix = page[page.index("<h2>Benchmarks") : page.index("<h2>Race")]
    matrix, _, differences = matrix.partition("What differs between them:")
    told = [cells(row) for row in re.findall(r"<tr[^>]*>(.*?)</tr>", differences, re.DOTALL)]
    assert ["torch", "2.12.1", "2.13.0"] in told
    assert ["recipe: layout", "none", "NCHW"] in told
    # A column for each, and how many times as fast the last is as the first.
    [tuned, *others] = [
        cells(row) for row in re.findall(r"<tr[^>]*>(.*?)</tr>", matrix, re.DOTALL)[1:]
    ]
    assert tuned == ["tuned", "50.2", "25.1", "2.00x"]
    assert ["openvino", "35.2 (wrong)", "35.2 (wrong)", "1.00x"] in others
    assert others[-1][0] == "tuned against best"
    assert others[-1][1] == "1.12x onnxruntime (1.12 to 1.12x)"
    # What is embedded of many models would be large with each timed run of each.
    match = re.search(r'id="benchmarks">(.*?)</script>', page, re.DOTALL)
    assert match is not None
    [_, embedded] = json.loads(match[1])
    assert embedded == other | {
        "runtimes": [row | {"rounds": []} for row in other["runtimes"]],
    }


def test_benchmarks_of_several_models_have_a_row_each(
    make: Make, bench_file: Path, tmp_path: Path
) -> None:
    other = json.loads(bench_file.read_text("utf-8"))
    other["model"] |= {"name": "another", "digest": "2" * 64}
    other["recipe"] = "name: another\n"
    (tmp_path / "another.json").write_text(json.dumps(other), "utf-8")
    assert make("bench.json", "another.json", "-o", "page.html").returncode == 0
    page = (tmp_path / "page.html").read_text("utf-8")
    matrix = page[page.index("<h2>Benchmarks") : page.index("<h2>Race")]
    rows = [cells(row) for row in re.findall(r"<tr[^>]*>(.*?)</tr>", matrix, re.DOTALL)[1:]]
    assert [row[0] for row in rows] == ["resnet50_x86", "another"]
    assert "1.12x onnxruntime (1.12 to 1.12x)" in rows[0]
    assert "recipe" not in matrix


def test_a_model_of_several_sizes_is_compared_at_each(tmp_path: Path) -> None:
    rows = [
        row.model_copy(update={"name": f"{row.name} (batch {size})", "size": {"batch": size}})
        for size in (1, 4)
        for row in report_of(
            timed("tuned", [10.0 * size] * 6), timed("onnxruntime", [12.0 * size] * 6)
        ).runtimes
    ]
    report = report_of().model_copy(update={"runtimes": rows})
    # Of two that differ in nothing else, and of which one was damaged by hand.
    shown = page_of(Material(benchmarks=[report, report.model_copy(update={"recipe": "a: [b"})]))
    matrix = shown[shown.index("<h2>Benchmarks") : shown.index("<h2>Race")]
    assert "tuned (batch 1) against best" in matrix
    assert "tuned (batch 4) against best" in matrix
    assert matrix.count("1.20x onnxruntime") == 4
    for label in ("1 of 2, batch 1", "1 of 2, batch 4", "2 of 2, batch 1", "2 of 2, batch 4"):
        assert label in matrix
    alone = page_of(Material(benchmarks=[report]))
    assert "--runtimes tuned,onnxruntime\n" in alone or "--runtimes tuned,onnxruntime<" in alone


def test_what_a_later_tunekit_wrote_besides_is_passed_over(
    make: Make, bench_file: Path, tmp_path: Path
) -> None:
    later = json.loads(bench_file.read_text("utf-8"))
    later["energy"] = {"joules": 3.0}
    for row in later["runtimes"]:
        row["energy_j"] = 0.1
    (tmp_path / "later.json").write_text(json.dumps(later), "utf-8")
    done = make("later.json", "-o", "page.html")
    assert done.returncode == 0, done.stderr
    verdict = Report.from_json(bench_file.read_text("utf-8")).verdict
    assert verdict in visible((tmp_path / "page.html").read_text("utf-8"))


def test_a_session_is_shown_with_its_curves_failures_and_recipe(make: Make, tmp_path: Path) -> None:
    session = session_in(tmp_path / "catalogue.db")
    done = make(session[:6], "--catalogue", "catalogue.db")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "report.html").read_text("utf-8")
    specs = [
        json.loads(text) for text in re.findall(r'id="spec\d+">(.*?)</script>', page, re.DOTALL)
    ]
    by_trials, by_minutes, spent, failures = [spec["data"]["values"] for spec in specs]
    assert [(row["x"], row["y"]) for row in by_trials] == [(2, 6.0), (3, 3.0), (4, 3.0)]
    assert [round(row["x"], 1) for row in by_minutes][:2] == [2.0, 3.0]
    assert spent == [{"name": "measure", "value": 90.0}, {"name": "sample", "value": 30.0}]
    assert failures == [{"name": "crash", "value": 1}]
    assert "SIGILL (illegal instruction)" in page
    # What a recipe holds is text, whatever it looks like.
    assert "model: &lt;script&gt;" in page


def test_a_session_of_another_tunekit_is_shown_as_far_as_this_one_reads_it(
    make: Make, tmp_path: Path
) -> None:
    session = session_in(tmp_path / "catalogue.db")
    folder = tmp_path / "artifacts"
    folder.mkdir()
    (folder / "manifest.json").write_text('{"manifest": "of the future"}')
    with Catalogue.open(str(tmp_path / "catalogue.db")) as catalogue:
        library = NewLibrary("small", str(folder / "model.so"), "00", "recipe", {}, session)
        catalogue.libraries.add(library)
        document = {"schema": "tunekit.bench/9"}
        catalogue.benchmarks.add(NewBenchRun("small", "recipe", {}, "host", {}, {}, document))
    done = make(session, "--catalogue", "catalogue.db")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "the library is not shown: " in page
    assert "is not a manifest that this tunekit reads" in page
    assert "is not shown: not a benchmark report: schema is" in page
    assert f"{session}: small, finished" in page
    assert "Estimated latency against trials" in page


def test_the_commands_that_do_it_again_are_of_all_that_is_shown() -> None:
    first = full_report()
    second = first.model_copy(
        update={
            "model": first.model.model_copy(update={"name": "another", "digest": "2" * 64}),
            "recipe": "name: another\n",
        }
    )
    material = Material(benchmarks=[first, second], explanations=[explanation()])
    page = html.unescape(page_of(material))
    again = page[page.index("<h2>How to do it again") :]
    for name in (first.model.name, "another"):
        assert f"tunekit bench {name}.yaml --rounds {first.protocol.rounds}" in again
        # Of several each recipe is folded below its name.
        assert f"<summary>{name}.yaml</summary>" in again
    assert "tunekit explain small.yaml --runtimes none --rounds 5 --threads 2 --sort gain" in again


def test_an_explanation_brings_the_recipe_that_its_command_reads() -> None:
    # Of one size of several nobody has the recipe in a file.
    of_one_size = explanation().model_copy(
        update={"name": "small-batch8", "recipe": "name: small-batch8\n"}
    )
    again = html.unescape(page_of(Material(explanations=[of_one_size])))
    again = again[again.index("<h2>How to do it again") :]
    assert "tunekit explain small-batch8.yaml" in again
    assert "name: small-batch8" in again


def test_what_a_runtime_was_set_to_is_told() -> None:
    settings = {"undelegated": {"aten.any.dim": 6}, "fp16": False, "forms": {"slow": "9 ms"}}
    rows = [
        row.model_copy(update={"settings": settings})
        for row in report_of(timed("one", [1.0])).runtimes
    ]
    shown = page_of(Material(benchmarks=[report_of().model_copy(update={"runtimes": rows})]))
    told = "undelegated: (aten.any.dim: 6); fp16: no; forms: (slow: 9 ms)"
    assert f"<dt>one</dt><dd>{told}</dd>" in shown


def test_a_selection_says_what_shipped_and_what_was_left_out() -> None:
    shown = page_of(Material(libraries=[selected_library()]))
    rows = [cells(row) for row in re.findall(r"<tr[^>]*>(.*?)</tr>", shown, re.DOTALL)]
    assert ["tuned", "4.00", "", "1.2e-05", ""] in rows
    assert ["direct", "5.00", "1.22 to 1.28x as fast", "9.0e-06", ""] in rows
    assert ["default", "", "", "", "SIGILL (illegal instruction)"] in rows
    [strong] = re.findall(r'<tr class="strong[^"]*">(.*?)</tr>', shown, re.DOTALL)
    assert cells(strong)[0] == "tuned"


def test_an_explanation_is_shown_with_its_roofline(make: Make, tmp_path: Path) -> None:
    (tmp_path / "explain.json").write_text(explanation().to_json(), "utf-8")
    assert make("explain.json", "-o", "page.html").returncode == 0
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "3x3 64 to 64, 56x56" in cells(page)
    spec = json.loads(re.findall(r'id="spec1">(.*?)</script>', page, re.DOTALL)[0])
    [circle] = spec["layer"][1]["data"]["values"]
    assert (circle["intensity"], circle["reached"]) == (200.0, 8e10)
    assert "the machine was busy" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.json"], "absent.json cannot be read: No such file or directory"),
        (["damaged.json"], "damaged.json: line 4: not JSON"),
        (["other.json"], "other.json: not a benchmark report: schema is None"),
        (["ffff", "--catalogue", "new.db"], "there is no session 'ffff' in this catalogue"),
        (["--catalogue", "new.db"], "there is no session to report on"),
        (["bench.json", "-o", "no/folder/page.html"], "no/folder"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_a_sentence(
    make: Make, bench_file: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "damaged.json").write_text(bench_file.read_text("utf-8")[:100], "utf-8")
    (tmp_path / "other.json").write_text("{}", "utf-8")
    Catalogue.open(str(tmp_path / "new.db")).close()
    done = make(*arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*.html"))
