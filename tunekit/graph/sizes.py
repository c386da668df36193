"""A recipe's model at each of its sizes: prepared one after another, and searched as one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tunekit.cache import ContentCache
from tunekit.graph.pipeline import PreparedModel, prepare_model, recipe_target
from tunekit.graph.task import Task
from tunekit.graph.tasks import heaviest_first
from tunekit.models import joint_digest
from tunekit.models.sizes import AxesOf, load_sizes, told_at
from tunekit.wording import counted

if TYPE_CHECKING:
    from tunekit.catalogue.conditions import Conditions
    from tunekit.machine.host import Host
    from tunekit.machine.target import ResolvedTarget
    from tunekit.recipe import Recipe


@dataclass(frozen=True)
class PreparedSizes:
    """A recipe's model, ready to be tuned or compiled at all its sizes.

    Attributes:
        recipe: the recipe, with its target and layout resolved.
        models: the model at each size, in order; one where it has no axes of several sizes.
        tasks: the distinct kernels of all sizes, heaviest first. The weight of one is its calls in
            a run of each size, as often as the recipe says that this size is run.
        output_axes: the axes of each output's dimensions; none where it has one size.
    """

    recipe: Recipe
    models: Sequence[PreparedModel]
    tasks: Sequence[Task]
    output_axes: Sequence[AxesOf] = ()

    @property
    def smallest(self) -> PreparedModel:
        """The model at its smallest size."""
        return self.models[0]

    @property
    def target(self) -> ResolvedTarget:
        """What they are for."""
        return self.smallest.target

    @property
    def host(self) -> Host:
        """Where their kernels are measured."""
        return self.smallest.host

    @property
    def conditions(self) -> Conditions:
        """Under which their seconds compare."""
        return self.smallest.conditions

    @property
    def preparation(self) -> str:
        """How their kernels came about."""
        return self.smallest.graph.preparation

    @property
    def digest(self) -> str:
        """Identifies the model at all its sizes."""
        return joint_digest([model.source.digest for model in self.models])


def prepare_sizes(
    recipe: Recipe,
    cache: ContentCache,
    say: Callable[[str], None],
    *,
    target: ResolvedTarget | None = None,
) -> PreparedSizes:
    """Imports and prepares a recipe's model at each of its sizes.

    Args:
        recipe: the recipe.
        cache: of imported models.
        say: told what is done, a line at a time.
        target: the recipe's, where it is resolved already (`recipe_target`).

    Raises:
        TargetError: this host cannot run the target.
        ModelError: the model cannot be read or imported at a size, differs from its reference, or
            its sizes do not make one library.
    """
    if not recipe.model.each_size:
        prepared = prepare_model(recipe, cache, say, target=target)
        return PreparedSizes(prepared.recipe, [prepared], prepared.tasks)
    target = target or recipe_target(recipe)
    models: list[PreparedModel] = []
    loaded = load_sizes(recipe, cache)
    for one, source in zip(recipe.at_each_size, loaded.sources, strict=True):
        with told_at(one.model.size):
            model = prepare_model(one, cache, say, target=target, source=source)
        # What is measured for one size holds for all.
        conditions = models[0].conditions if models else model.conditions
        models.append(replace(model, conditions=conditions))
    tasks = _merged(recipe, models)
    most = sum(len(model.tasks) for model in models)
    say(
        f"{counted(len(models), 'size')}: {counted(len(tasks), 'task')}, "
        f"{most - len(tasks)} of {most} shared"
    )
    layouts = {model.recipe.layout for model in models}
    resolved = recipe.model_copy(
        update={
            "target": models[0].recipe.target,
            "more_targets": models[0].recipe.more_targets,
            "layout": layouts.pop() if len(layouts) == 1 else recipe.layout,
        }
    )
    return PreparedSizes(resolved, models, tasks, loaded.output_axes)


def _merged(recipe: Recipe, models: Iterable[PreparedModel]) -> list[Task]:
    """The tasks of all sizes, equal ones once."""
    axes = recipe.model.axes
    by_hash: dict[str, Task] = {}
    for model in models:
        share = math.prod(axes[name].share(n) for name, n in model.recipe.model.size.items())
        for task in model.tasks:
            known = by_hash.get(task.structural_hash)
            weight = share * task.weight + (known.weight if known else 0)
            by_hash[task.structural_hash] = replace(known or task, weight=weight)
    return heaviest_first(by_hash.values())
