"""What docs/results/deployment.md says of how a library is called and where its weights are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deployment_page import NONE, Table, plain

RESULTS = Path(__file__).resolve().parent.parent / "benchmarks/results"
FORMS = {
    "tuned": "its C API",
    "tuned-c": "a program in C",
    "tuned-ctypes": "Python, ctypes",
    "tuned-vm": "TVM's machine",
}


def forms(table: Table) -> str:
    """A row for each model: milliseconds by each form, and how many times as fast as TVM's."""
    models = _read("forms.json")
    if models is None:
        return NONE
    rows = [
        (
            f"`{name}`",
            *(plain(model["forms"][form]["ms"]) for form in FORMS),
            *(_ratio(model["forms"][form]["vs_vm"]) for form in FORMS if form != "tuned-vm"),
        )
        for name, model in models.items()
    ]
    against = [f"{title} against TVM's" for form, title in FORMS.items() if form != "tuned-vm"]
    titles = ("recipe", *(f"{title} ms" for title in FORMS.values()), *against)
    when = sorted({f"{model['cpu']}, {model['date']}" for model in models.values()})
    return "\n".join([*table(titles, rows), "", f"{'; '.join(when)}; two threads."])


def weights(table: Table) -> str:
    """A row for each model and number of threads, weights in the file and in huge pages."""
    document = _read("weight_pages.json")
    if document is None:
        return NONE
    titles = (
        *("recipe", "library MiB", "threads", "in the file ms", "in huge pages ms"),
        *("times as fast", "open ms, in the file", "open ms, in huge pages"),
    )
    rows = [
        (
            f"`{model['recipe']}`",
            plain(model["library_mib"]),
            str(row["threads"]),
            plain(row["ms"]["shared"]),
            plain(row["ms"]["huge_pages"]),
            _ratio((row["ratio"], *row["interval"])),
            *(
                plain(model["open_and_first_run_ms"][way]["open"])
                for way in ("shared", "huge_pages")
            ),
        )
        for model in document["models"]
        for row in model["threads"]
    ]
    where = f"{document['host']['cpu']}, {document['date'][:10]}."
    return "\n".join([*table(titles, rows), "", where])


def _read(name: str) -> Mapping[str, Any] | None:
    path = RESULTS / name
    content: Mapping[str, Any] | None = (
        json.loads(path.read_text("utf-8")) if path.is_file() else None
    )
    return content


def _ratio(values: Sequence[float]) -> str:
    return "{:.2f} ({:.2f} to {:.2f})".format(*values)
