"""How to do all of a page again: commands, recipes, versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunekit.page.parts import Code, Facts, Section

if TYPE_CHECKING:
    from tunekit.attribution.results import Explanation
    from tunekit.benchmark.results import Report
    from tunekit.catalogue import SessionReport
    from tunekit.page.material import Material


def again_section(material: Material) -> Section | None:
    """The commands in the order in which one calls them, the recipes that they read, and the
    versions of sessions, which benchmarks have with their conditions; None where nothing was done.
    """
    sessions, benchmarks = material.sessions, material.benchmarks
    commands = [
        *map(_tune, sessions),
        *map(_bench, benchmarks),
        *map(_explain, material.explanations),
    ]
    if not commands:
        return None
    recipes = _newest_recipes(material)
    lines = "\n".join(dict.fromkeys(commands))
    return Section(
        "How to do it again",
        [
            Code(lines),
            *(
                Code(text, f"{name}.yaml" if len(recipes) > 1 else "")
                for name, text in recipes.items()
            ),
            *(Facts(sorted(report.toolchain.items())) for report in sessions),
        ],
    )


def _newest_recipes(material: Material) -> dict[str, str]:
    """The text of each recipe by its name, as it was last."""
    dated = [
        # Explanations have no date: where a benchmark or a session has the recipe, it is theirs.
        *(("", explanation.name, explanation.recipe) for explanation in material.explanations),
        *(
            (report.environment.date, report.model.name, report.recipe)
            for report in material.benchmarks
        ),
        *(
            (report.session.created_at.isoformat(), report.session.name, report.session.recipe_yaml)
            for report in material.sessions
        ),
    ]
    return {name: text for _, name, text in sorted(dated) if text}


def _tune(report: SessionReport) -> str:
    return f"tunekit tune {report.session.name}.yaml --trials {report.session.budget_trials}"


def _bench(report: Report) -> str:
    # A page may show rows besides that had no turn in this race.
    raced = {name for turns in report.order for name in turns}
    rows = [row for row in report.runtimes if row.name in raced] or report.runtimes
    names = ",".join(dict.fromkeys(row.runtime for row in rows))
    command = (
        f"tunekit bench {report.model.name}.yaml --rounds {report.protocol.rounds} "
        f"--threads {report.protocol.threads} --runtimes {names}"
    )
    at_once = next((row.at_once for row in report.runtimes if row.at_once), None)
    if at_once is not None:
        command += f" --instances {at_once.instances}" + (" --shared" if at_once.shared else "")
    return command


def _explain(explanation: Explanation) -> str:
    _, *others = (runtime.name for runtime in explanation.runtimes)
    return (
        f"tunekit explain {explanation.name}.yaml --runtimes {','.join(others) or 'none'} "
        f"--rounds {explanation.rounds} --threads {explanation.threads} "
        f"--sort {explanation.sorted_by}"
    )
