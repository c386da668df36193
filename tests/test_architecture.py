"""The architecture, held to what the files say.

A package is a folder or a module right below `tunekit`. Packages lie in layers; a file may use
what lies in its own package's layer or below. What is imported inside of a function, or
for type checkers alone, counts as well: it is read all the same.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "tunekit"
FILES = sorted(PACKAGE.rglob("*.py"))

# From the ground up.
LAYERS = (
    {"errors", "environment", "implementations", "version"},
    {"wording", "files", "accuracy", "cache"},
    {"machine"},
    {"standalone"},
    {"rpc"},
    {"processes"},
    {"recipe"},
    {"catalogue"},
    {"ir"},
    {"extern_kernels"},
    {"detectors"},
    {"frontends"},
    {"onnx_frontend", "torch_frontend"},
    {"models"},
    {"graph"},
    {"spaces"},
    {"measure"},
    {"search"},
    {"runtimes"},
    {"timing"},
    {"library"},
    {"bundle"},
    {"benchmark"},
    {"attribution"},
    {"interchange"},
    {"sessions"},
    {"doctor"},
    {"report"},
    {"page"},
    {"api"},
    {"torch_backend"},
    {"cli"},
    {"__main__"},
)
LARGEST_PACKAGE = 0.16
LONGEST_FILE = 400
# What takes seconds or hundreds of megabytes to load is loaded where it is used.
HEAVY = {"tvm", "torch", "torchvision", "onnx", "onnxruntime", "onnxscript", "openvino", "xgboost"}
# These are themselves loaded by name, when a command or a process needs their framework.
MAY_LOAD_AT_ONCE = (
    "graph/kernels/",
    "graph/layouts/",
    "graph/lowering/",
    "interchange/metaschedule_database.py",
    "ir/",
    "frontends/",
    "onnx_frontend/",
    "torch_frontend/",
    "torch_backend/",
    "models/sources/",
    "models/baseline.py",
    "models/detection.py",
    "models/vanilla_cnn.py",
    "detectors/dense.py",
    "detectors/eager.py",
    "detectors/end_to_end.py",
    "detectors/levels.py",
    "detectors/operators/",
    "detectors/original.py",
    "detectors/picture.py",
    "detectors/random_weights.py",
    "detectors/rcnn.py",
    "detectors/yolo.py",
    "models/weights.py",
)


def module_name(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(file): file for file in FILES}


def package(module: str) -> str:
    """The package of a module; the package's own face counts as the public API that it offers."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "api"


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def imports(file: Path) -> Iterator[tuple[str, int]]:
    """Modules of tunekit that a file imports anywhere, and the line."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.ImportFrom) and node.module:
            for name in node.names:
                module = f"{node.module}.{name.name}"
                found = module if module in MODULES else node.module
                if found in MODULES:
                    yield found, node.lineno
        elif isinstance(node, ast.Import):
            for name in node.names:
                if name.name in MODULES:
                    yield name.name, node.lineno


def docstrings(file: Path) -> Iterator[str]:
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            text = ast.get_docstring(node)
            if text is not None:
                yield text


def test_every_package_has_its_layer() -> None:
    placed = list(chain.from_iterable(LAYERS))
    assert len(placed) == len(set(placed))
    assert {package(module) for module in MODULES} == set(placed)


def test_no_import_runs_up() -> None:
    layer = {name: number for number, names in enumerate(LAYERS) for name in names}
    upward = [
        f"{file.relative_to(PACKAGE)}:{line} imports {module}"
        for file in FILES
        for module, line in imports(file)
        if layer[package(module)] > layer[package(module_name(file))]
    ]
    assert upward == []


def test_no_circle_of_imports() -> None:
    """Neither of packages nor of files: who reads a file can read what it stands on first."""
    arrows = {
        module: {target for target, _ in imports(file) if target not in ("tunekit", module)}
        for module, file in MODULES.items()
        if module != "tunekit"
    }
    # A module imports its package first, which may offer what the module has.
    left = {
        module: {target for target in targets if not module.startswith(f"{target}.")}
        for module, targets in arrows.items()
    }
    while free := [module for module, targets in left.items() if not targets & left.keys()]:
        for module in free:
            del left[module]
    assert sorted(left) == []


def test_no_package_is_larger_than_a_sixth_of_the_project() -> None:
    lines: dict[str, int] = {}
    for module, file in MODULES.items():
        lines[package(module)] = lines.get(package(module), 0) + len(file.read_text().splitlines())
    total = sum(lines.values())
    assert {name: n for name, n in lines.items() if n > LARGEST_PACKAGE * total} == {}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_file_is_short_or_says_why_it_is_not(file: Path) -> None:
    lines = file.read_text().splitlines()
    assert len(lines) <= LONGEST_FILE or any("Long because" in line for line in lines[:12])


def test_frameworks_load_where_they_are_used() -> None:
    early = []
    for file in FILES:
        path = str(file.relative_to(PACKAGE))
        if path.startswith(MAY_LOAD_AT_ONCE):
            continue
        for node in tree(file).body:
            names = (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [name.name for name in node.names]
                if isinstance(node, ast.Import)
                else []
            )
            early += [f"{path}:{node.lineno}" for n in names if n.partition(".")[0] in HEAVY]
    assert early == []


def test_every_package_says_what_it_is() -> None:
    silent = [
        str(file.relative_to(PACKAGE))
        for file in FILES
        if file.name == "__init__.py"
        and len((ast.get_docstring(tree(file)) or "").split()) < 4
        # Alembic finds its scripts in a folder of their own.
        and file.parent.name != "versions"
    ]
    assert silent == []


def test_every_name_of_tunekit_in_a_docstring_exists() -> None:
    unknown = [
        f"{file.relative_to(PACKAGE)}: {name}"
        for file in FILES
        for text in docstrings(file)
        for name in sorted(set(re.findall(r"\btunekit(?:\.\w+)+", text)))
        if not _exists(name)
    ]
    assert unknown == []


def test_a_list_of_modules_in_a_packages_docstring_is_true() -> None:
    """A line "- `name` what it is" speaks of a file or folder beside it."""
    unknown = []
    for file in FILES:
        if file.name != "__init__.py":
            continue
        for line in (ast.get_docstring(tree(file)) or "").splitlines():
            if line.startswith("- `"):
                for name in re.findall(r"`([a-z_/]+)`", line.partition(" what ")[0]):
                    beside = file.parent / name.strip("/")
                    if not (beside.is_dir() or beside.with_suffix(".py").is_file()):
                        unknown.append(f"{file.relative_to(PACKAGE)}: {name}")
    assert unknown == []


def test_no_two_classes_of_one_name() -> None:
    """A word means one thing. What a file keeps to itself, and pydantic's bases, are not words."""
    seen: dict[str, list[str]] = {}
    for module, file in MODULES.items():
        # A row of the database has the name of the entry that is made of it.
        if module.startswith("tunekit.catalogue.db."):
            continue
        for node in tree(file).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                seen.setdefault(node.name, []).append(module)
    twice = {name: modules for name, modules in seen.items() if len(modules) > 1}
    assert twice == {}


def _exists(name: str) -> bool:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        module = ".".join(parts[:length])
        if module in MODULES:
            rest = parts[length:]
            if not rest:
                return True
            return _defines(MODULES[module], rest[0]) or hasattr(
                importlib.import_module(module), rest[0]
            )
    return False


def _defines(file: Path, name: str) -> bool:
    return any(
        getattr(node, "name", None) == name
        or (
            isinstance(node, ast.Assign) and any(getattr(t, "id", "") == name for t in node.targets)
        )
        or (isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == name)
        for node in tree(file).body
    )


@pytest.mark.parametrize(
    "file", sorted((PACKAGE.parent / "benchmarks").glob("*.py")), ids=lambda file: str(file.name)
)
def test_what_a_benchmark_imports_is_there(file: Path) -> None:
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "tunekit":
            module = importlib.import_module(str(node.module))
            for name in node.names:
                assert hasattr(module, name.name) or f"{node.module}.{name.name}" in MODULES
