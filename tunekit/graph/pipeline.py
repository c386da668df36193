"""From a recipe to tasks: the steps that tuning, compiling and benchmarking have in common."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunekit.cache import ContentCache
from tunekit.catalogue.conditions import Conditions
from tunekit.catalogue.entries import toolchain_key
from tunekit.errors import TargetError
from tunekit.graph.algorithms import accurate
from tunekit.graph.cpu_cache import cpu_cache_of
from tunekit.graph.implementation import Choice, is_direct
from tunekit.graph.open_sizes import require_fixed_sizes
from tunekit.graph.prepare import PreparedGraph, prepare
from tunekit.graph.task import Task
from tunekit.graph.tasks import extract_tasks, heaviest_first
from tunekit.machine.host import Host, detect_host, remote_host
from tunekit.machine.target import ResolvedTarget, resolve_target
from tunekit.machine.toolchain import versions
from tunekit.processes.slow_step import told_if_slow

if TYPE_CHECKING:
    from tvm.ir import IRModule

    from tunekit.models.importer import ImportedModel
    from tunekit.models.source import SourceModel
    from tunekit.recipe import Recipe


@dataclass(frozen=True)
class PreparedModel:
    """A recipe's model, ready to be tuned or compiled.

    Attributes:
        recipe: the recipe, with its target and layout resolved.
        source: the model as its framework has it.
        imported: the model in Relax, checked against its reference.
        target: what it is for.
        graph: its kernels, with every convolution computed directly.
        tasks: the distinct kernels, heaviest first: those of `graph`, and those that other
            algorithms would put in place of some of them.
        host: where they are measured: this machine, or the devices that the recipe names.
        conditions: under which their seconds compare.
        recipe_as_given: the recipe as it was given.
    """

    recipe: Recipe
    source: SourceModel
    imported: ImportedModel
    target: ResolvedTarget
    graph: PreparedGraph
    tasks: list[Task]
    host: Host
    conditions: Conditions
    recipe_as_given: Recipe

    def with_choice(self, choice: Choice) -> tuple[PreparedGraph, list[Task]]:
        """The graph with these algorithms, and its tasks."""
        if all(algorithm == "direct" for algorithm in choice.values()):
            return self.graph, [task for task in self.tasks if is_direct(task.implementation)]
        graph = prepare(self.imported.module, self.target, self.graph.layout, choice=choice)
        return graph, extract_tasks(graph, self.target)


def recipe_target(recipe: Recipe, *, only_compiled: bool = False) -> ResolvedTarget:
    """A recipe's target; one for other machines need not be one that this machine can run.

    Args:
        recipe: names it.
        only_compiled: nothing is measured: also without devices it need not be one.

    Raises:
        TargetError: not understood, or the machine that should run it cannot.
    """
    if recipe.tuning.rpc is not None:
        return resolve_target(recipe.target, measured_elsewhere=True)
    target = resolve_target(recipe.target, measured_elsewhere=only_compiled)
    # TVM asks a GPU what to compile for.
    return resolve_target(recipe.target) if target.kind == "cuda" else target


def more_targets(recipe: Recipe, target: ResolvedTarget) -> list[ResolvedTarget]:
    """A recipe's further targets; this machine need not be able to run them.

    Raises:
        TargetError: one is not understood, or cannot be in one library with the others.
    """
    found: list[ResolvedTarget] = []
    for spec in recipe.more_targets:
        other = resolve_target(spec, measured_elsewhere=True)
        if {other.kind, target.kind} != {"llvm"}:
            raise TargetError(
                f"target '{spec}' and '{recipe.target}' cannot be in one library: only kernels for "
                "CPUs can",
                hint="compile once for each",
            )
        if other.architecture != target.architecture:
            raise TargetError(
                f"target '{spec}' is for {other.architecture}, and '{recipe.target}' for "
                f"{target.architecture}: a library is for CPUs of one architecture",
                hint="compile once for each architecture",
            )
        if other.spec in (target.spec, *(known.spec for known in found)):
            raise TargetError(f"target '{spec}' is listed twice", hint="leave one out")
        found.append(other)
    return found


def measuring_host(recipe: Recipe, target: ResolvedTarget) -> Host:
    """The host that a recipe's trials are measured on."""
    if recipe.tuning.rpc is None:
        return detect_host()
    return remote_host(recipe.tuning.rpc.key, target.spec, target.architecture, target.cores)


def prepare_model(
    recipe: Recipe,
    cache: ContentCache,
    say: Callable[[str], None],
    *,
    target: ResolvedTarget | None = None,
    source: SourceModel | None = None,
) -> PreparedModel:
    """Imports and prepares a recipe's model. What is refused is refused before time is spent.

    Args:
        recipe: the recipe.
        cache: of imported models.
        say: told what is done, a line at a time.
        target: the recipe's, where it is resolved already (`recipe_target`).
        source: its model, where it is loaded already.

    Raises:
        TargetError: this host cannot run the target.
        ModelError: the model cannot be read, imported, or differs from its reference.
    """
    from tunekit.models import import_model, load_source

    target = target or recipe_target(recipe)
    more = more_targets(recipe, target)
    source = source or load_source(recipe.model, cache)
    if source.finds_objects and target.kind != "llvm":
        raise TargetError(
            f"{source.name} is a detector, and its boxes are chosen by kernels for CPUs, not for "
            f"{target.kind}",
            hint="target: native; or compile its body alone for the GPU",
        )
    imported = import_model(
        source,
        max_relative_error=recipe.reference.import_relative_error,
        cache=cache,
        say=say,
    )
    require_fixed_sizes(imported.module, [output.name for output in source.outputs], source.name)
    return _prepared(recipe, source, imported, target, more, say)


def prepare_again(
    prepared: PreparedModel, target: ResolvedTarget, say: Callable[[str], None]
) -> PreparedModel:
    """The same model, prepared for another target."""
    recipe = prepared.recipe_as_given.model_copy(
        update={"target": json.loads(target.spec), "more_targets": ()}
    )
    return _prepared(recipe, prepared.source, prepared.imported, target, [], say)


def _prepared(
    recipe: Recipe,
    source: SourceModel,
    imported: ImportedModel,
    target: ResolvedTarget,
    more: Sequence[ResolvedTarget],
    say: Callable[[str], None],
) -> PreparedModel:
    with told_if_slow(say, f"{source.name}: preparing its kernels"):
        graph = prepare(imported.module, target, recipe.layout, say)
        tasks = extract_tasks(graph, target)
        if recipe.algorithms == "auto":
            limit = recipe.winograd_relative_error
            tasks = _with_alternatives(tasks, graph, imported.module, target, limit)
    resolved = recipe.model_copy(
        update={
            "target": json.loads(target.spec),
            "more_targets": tuple(json.loads(other.spec) for other in more),
            "layout": graph.layout,
        }
    )
    host = measuring_host(recipe, target)
    conditions = Conditions(
        target=target.spec,
        host=host.fingerprint,
        toolchain=toolchain_key(versions()),
        cpu_cache=cpu_cache_of(recipe.tuning, tasks, target),
    )
    return PreparedModel(resolved, source, imported, target, graph, tasks, host, conditions, recipe)


def _with_alternatives(
    tasks: list[Task], graph: PreparedGraph, module: IRModule, target: ResolvedTarget, limit: float
) -> list[Task]:
    """The tasks, and those that the other algorithms of the graph's convolutions would bring where
    their error is within the limit."""
    by_hash = {task.structural_hash: task for task in tasks}
    options = {problem: accurate(problem, limit) for problem in graph.problems}
    for algorithm in sorted({a for some in options.values() for a in some} - {"direct"}):
        choice = {problem: algorithm for problem, some in options.items() if algorithm in some}
        variant = prepare(module, target, graph.layout, choice=choice)
        for task in extract_tasks(variant, target):
            by_hash.setdefault(task.structural_hash, task)
    return heaviest_first(by_hash.values())
