"""The page itself: sections laid out in HTML, with what draws its charts inside."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekit.cache import ContentCache, content_key
from tunekit.page.again import again_section
from tunekit.page.library import library_section
from tunekit.page.material import Material
from tunekit.page.matrix import labels, matrix_section
from tunekit.page.operators import operators_section
from tunekit.page.parts import Prose, Section
from tunekit.page.race import race_section
from tunekit.page.tuning import tuning_section
from tunekit.version import __version__

if TYPE_CHECKING:
    from tunekit.benchmark.results import Report
    from tunekit.report.output import Result

_TEMPLATES = Path(__file__).parent
# Without a program of its own the bundle offers the function that embeds a chart.
_BARE: Any = None
_SCRIPT = "vega.js"


def page(material: Material) -> str:
    """The HTML page of a material."""
    sections = _sections(material)
    return _render(
        {
            "title": _title(material),
            "version": __version__,
            "sections": sections,
            "data": _data(material.benchmarks),
        }
    )


def with_page(result: Result, **things: Any) -> Result:
    """A result that can be a page, too; what it shows is named as in `Material`."""
    return replace(result, html=lambda: page(Material(**things)))


def _data(benchmarks: Sequence[Report]) -> list[dict[str, Any]]:
    """The benchmarks as JSON has them; of several without each timed run, which are most of it."""
    data = [json.loads(report.to_json()) for report in benchmarks]
    if len(data) > 1:
        for row in itertools.chain.from_iterable(report["runtimes"] for report in data):
            row["rounds"] = []
    return data


def _sections(material: Material) -> list[Section]:
    benchmarks = material.benchmarks
    sections = []
    if material.remarks:
        sections.append(
            Section("What is missing", [Prose(text, "warning") for text in material.remarks])
        )
    if len(benchmarks) > 1:
        sections.append(matrix_section(benchmarks))
    names = labels(benchmarks) if len(benchmarks) > 1 else [""] * len(benchmarks)
    sections += [
        race_section(report, label=name, of=len(benchmarks))
        for report, name in zip(benchmarks, names, strict=True)
    ]
    sections += [library_section(manifest) for manifest in material.libraries]
    sections += [tuning_section(report) for report in material.sessions]
    sections += [operators_section(explanation) for explanation in material.explanations]
    again = again_section(material)
    return sections if again is None else [*sections, again]


def _title(material: Material) -> str:
    names = [
        *(report.session.name for report in material.sessions),
        *(report.model.name for report in material.benchmarks),
        *(manifest.name for manifest in material.libraries),
        *(explanation.name for explanation in material.explanations),
    ]
    different = list(dict.fromkeys(names)) or ["tunekit"]
    return different[0] if len(different) == 1 else f"{len(different)} models"


def _render(content: dict[str, Any]) -> str:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["script_json"] = _script_json
    style = (_TEMPLATES / "style.css").read_text("utf-8")
    return environment.get_template("page.html.jinja").render(
        **content, style=style, vega=_vega(content["sections"])
    )


def _script_json(value: object) -> Any:
    """JSON that cannot end the script element that it is in."""
    import markupsafe

    return markupsafe.Markup(json.dumps(value).replace("<", "\\u003c"))


def _vega(sections: Sequence[Section]) -> str:
    """What draws charts, where there are any."""
    if not any(part.kind == "chart" for section in sections for part in section.parts):
        return ""
    # A script must not end before it is meant to.
    return _bundle().replace("</script", "<\\/script")


def _bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, which takes seconds to put together once."""
    from importlib import metadata

    cache = ContentCache()
    key = content_key("vega", metadata.version("vl-convert-python"))
    kept = cache.get("vega", key)
    if kept is not None:
        return (kept / _SCRIPT).read_text("utf-8")
    import vl_convert

    bundle = str(vl_convert.javascript_bundle(_BARE))
    with cache.put("vega", key) as folder:
        (folder / _SCRIPT).write_text(bundle, "utf-8")
    return bundle
