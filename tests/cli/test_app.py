"""The command line as a shell meets it: exit codes, streams, and what it must not load."""

from __future__ import annotations

import ast
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tunekit.cli import app
from tunekit.cli.app import VERBS, run_guarded
from tunekit.errors import Interrupted, TunekitError, UsageError
from tunekit.version import __version__

HEAVY = ("tvm", "torch", "torchvision", "onnx", "onnxruntime", "openvino", "numpy", "xgboost")


def test_the_version_is_one_line_on_standard_output(run_tunekit) -> None:
    done = run_tunekit("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"tunekit {__version__}\n", "")


def test_help_lists_every_verb(run_tunekit) -> None:
    done = run_tunekit("--help")
    assert done.returncode == 0
    for verb in VERBS:
        assert f"\n  {verb} " in done.stdout


def test_help_and_checking_a_recipe_load_no_framework(recipe_file: Path) -> None:
    commands = [["--help"], *([verb, "--help"] for verb in VERBS)]
    commands.append(["recipe", "check", "small.yaml"])
    code = (
        "import sys\n"
        "from tunekit.cli.app import main\n"
        f"for arguments in {commands!r}:\n"
        "    sys.argv[1:] = arguments\n"
        "    try:\n"
        "        main()\n"
        "    except SystemExit as done:\n"
        f"        loaded = sorted(set({HEAVY!r}) & set(sys.modules))\n"
        "        print('loaded by', *arguments, loaded, done.code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=recipe_file.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = [line for line in done.stdout.splitlines() if line.startswith("loaded by")]
    assert loaded == [f"loaded by {' '.join(command)} [] 0" for command in commands]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--bogus"],
        ["recip"],
        ["recipe", "chek"],
        ["recipe", "check"],
        ["recipe", "check", "--bogus", "x.yaml"],
        ["recipe", "check", "gone.yaml"],
        ["doctor", "--format", "xml"],
        *([verb, "--bogus"] for verb in VERBS),
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2_and_says_nothing_on_standard_output(
    run_warm, arguments: list[str]
) -> None:
    done = run_warm(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "error: " in done.stderr.lower()
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", ["tune", "resume", "compile", "bench", "explain", "lookup"])
def test_what_works_on_a_model_calls_what_python_is_offered(verb: str) -> None:
    source = Path(app.__file__).with_name(f"{verb}.py").read_text("utf-8")
    imported = {
        node.module
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.module is not None
    }
    work = {"sessions", "library", "search", "graph", "models", "catalogue"}
    assert not {f"tunekit.{package}" for package in work} & {
        ".".join(module.split(".")[:2]) for module in imported
    }
    assert "tunekit" in imported


def test_a_misspelt_verb_is_answered_with_the_near_one(run_warm) -> None:
    assert "did you mean 'recipe'?" in run_warm("recip").stderr


def test_right_recipes_are_listed_and_end_with_0(run_warm, recipe_file: Path) -> None:
    done = run_warm("recipe", "check", "small.yaml", recipe_file)
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == "small.yaml: ok (small: torchvision:resnet18)"
    assert run_warm("recipe", "check", "--quiet", "small.yaml").stdout == ""


def test_a_bad_recipe_ends_with_2_and_one_message_without_a_traceback(
    run_warm, recipe_file: Path
) -> None:
    recipe_file.write_text(recipe_file.read_text().replace("trials", "trails"))
    done = run_warm("recipe", "check", "small.yaml")
    assert done.returncode == 2
    assert done.stderr == (
        "error: small.yaml:8: tuning.trails: unknown key; did you mean 'trials'?\n"
    )


def test_all_bad_recipes_are_told_and_good_ones_still_listed(run_warm, recipe_file: Path) -> None:
    recipe_file.with_name("empty.yaml").touch()
    done = run_warm("recipe", "check", "empty.yaml", "small.yaml", "gone.yaml")
    assert done.returncode == 2
    assert "small.yaml: ok" in done.stdout
    assert "2 of 3 recipes cannot be used" in done.stderr
    assert "empty.yaml: is empty" in done.stderr
    assert "gone.yaml: no such file" in done.stderr


def test_the_schema_is_json_on_standard_output(run_warm) -> None:
    done = run_warm("recipe", "schema")
    assert json.loads(done.stdout)["title"] == "Recipe"


def test_a_reader_that_stops_early_gets_no_traceback(tmp_path: Path) -> None:
    code = "from tunekit.cli.app import main; main()"
    done = subprocess.run(
        f'{sys.executable} -c "{code}" recipe schema | head -c 10',
        shell=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert len(done.stdout) == 10
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (TunekitError("it failed"), 1, "error: it failed\n"),
        (UsageError("wrong", hint="do this"), 2, "error: wrong\n  hint: do this\n"),
        (Interrupted("stopped", hint="go on"), 130, "error: stopped\n  hint: go on\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
    ],
    ids=["failed", "usage", "interrupted", "ctrl-c"],
)
def test_an_error_becomes_its_message_its_hint_and_its_exit_code(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, text: str
) -> None:
    def fail() -> None:
        raise error

    assert run_guarded(fail, verbose=False) == code
    assert capsys.readouterr().err == text
    assert run_guarded(fail, verbose=True) == code
    assert ("Traceback" in capsys.readouterr().err) == isinstance(error, TunekitError)


def test_ctrl_c_ends_with_130_and_a_word(tmp_path: Path) -> None:
    doctor = subprocess.Popen(
        [sys.executable, "-m", "tunekit", "doctor"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert doctor.stdout is not None
    next(line for line in doctor.stdout if "disk" in line)  # then comes the self-test
    doctor.send_signal(signal.SIGINT)
    _, errors = doctor.communicate(timeout=120)
    assert (doctor.returncode, errors) == (130, "error: interrupted\n")


def test_verbose_adds_the_traceback_of_an_error(run_warm) -> None:
    done = run_warm("recipe", "check", "--verbose", "gone.yaml")
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert done.stderr.endswith("error: gone.yaml: no such file\n")


def test_a_bug_keeps_its_traceback() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_guarded(fail, verbose=False)
