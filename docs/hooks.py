"""What the site shows from outside of docs/: the pictures of results, the examples, two papers.

Pages link to these as they lie in the repository, so that the links work there too; here the links
are turned towards the copies.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
PAPERS = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}


def on_files(files: Any, config: Any) -> Any:
    """Adds them to the site's files."""
    for picture in sorted((ROOT / "benchmarks/results").glob("*.svg")):
        files.append(File.generated(config, f"results/{picture.name}", abs_src_path=str(picture)))
    for page, paper in PAPERS.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / paper)))
    files.append(File.generated(config, "examples.md", content=_examples()))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Turns the links that lead out of docs/."""
    up = "../" * page.file.src_uri.count("/")
    markdown = re.sub(
        r"(?<=\]\()(?:\.\./)+benchmarks/results/(?=[\w.]+\.svg)", f"{up}results/", markdown
    )
    for name, paper in PAPERS.items():
        markdown = re.sub(rf"(?<=\]\()(?:\.\./)+{paper}", f"{up}{name}", markdown)
    markdown = re.sub(r"(?<=\]\()(?:\.\./)+examples/[\w.]*", f"{up}examples.md", markdown)
    if page.file.src_uri in PAPERS:
        markdown = markdown.replace("](docs/", "](")
    return markdown


def _examples() -> str:
    """A page with every example: its docstring, and its code."""
    parts = [
        "# Examples",
        "",
        "Each lies in `examples/` and runs in minutes; `make examples` runs them all.",
    ]
    for file in sorted((ROOT / "examples").glob("[0-9]*.py")):
        code = file.read_text("utf-8").strip()
        title = code.partition("\n")[0].strip('"').rstrip(".")
        parts += ["", f"## {int(file.stem[:2])}. {title}", "", f"`examples/{file.name}`", ""]
        parts += ["```python", code, "```"]
    return "\n".join(parts) + "\n"
