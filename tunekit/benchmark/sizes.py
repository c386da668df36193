"""A benchmark of a model at several sizes: each by itself, in one report with a row for each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tunekit.benchmark.results import Report, RuntimeResult
from tunekit.recipe import Recipe, Size, dump_recipe, recipe_digest
from tunekit.recipe.axes import in_words


def bench_sizes(recipe: Recipe, bench: Callable[[Recipe], Report]) -> Report:
    """One report of all sizes of a recipe's model.

    A runtime has a row at each size, and is compared with others at that size. FPS counts what the
    sizes count: of a batch of 4 each run gives four.

    Args:
        recipe: has several sizes.
        bench: of a recipe of one size.
    """
    sizes = recipe.model.each_size
    reports = [bench(one) for one in recipe.at_each_size]
    told = list(zip(sizes, reports, strict=True))
    return reports[0].model_copy(
        update={
            "recipe": dump_recipe(recipe),
            "recipe_digest": recipe_digest(recipe),
            "model": reports[0].model.model_copy(update={"name": recipe.name}),
            "order": [
                [_at(name, size) for name in turn] for size, one in told for turn in one.order
            ],
            "runtimes": [_row(row, size) for size, one in told for row in one.runtimes],
            "verdict": "; ".join(f"at {in_words(size)} {one.verdict}" for size, one in told),
            "warnings": _warnings(told),
        }
    )


def _at(name: str, size: Size) -> str:
    return f"{name} ({in_words(size)})"


def _row(row: RuntimeResult, size: Size) -> RuntimeResult:
    ratio = row.ratio
    if ratio is not None:
        ratio = ratio.model_copy(update={"against": _at(ratio.against, size)})
    return row.model_copy(
        update={
            "name": _at(row.name, size),
            "fps": row.fps and row.fps * math.prod(size.values()),
            "ratio": ratio,
            "size": dict(size),
        }
    )


def _warnings(told: Sequence[tuple[Size, Report]]) -> list[str]:
    """Of each size, but once what is said of all."""
    common = [note for note in told[0][1].warnings if all(note in one.warnings for _, one in told)]
    return [
        *common,
        *(
            f"at {in_words(size)}: {note}"
            for size, one in told
            for note in one.warnings
            if note not in common
        ),
    ]
