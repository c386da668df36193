"""The whole way in Python: a recipe, what is known, tuning with progress, comparing, looking back.

    python examples/03_python_api.py

The command line calls the same functions; no `if __name__ == "__main__"` is needed around them.
"""

from __future__ import annotations

from pathlib import Path

import tunekit


class Printer:
    """A reporter: tunekit says what it does, a line at a time, and how the search goes on."""

    def say(self, line: str) -> None:
        print(f"  {line}")

    def update(self, progress: object) -> None:
        """Progress of the search, several times a second; not shown here."""


def main(
    folder: Path = Path("artifacts/examples"),
    trials: int = 48,
    runtimes: tuple[str, ...] = ("tuned", "default", "onnxruntime"),
) -> None:
    """Tunes the small network of the ready recipes, and compares it."""
    recipe = tunekit.load_recipe(
        "python:tunekit.models.vanilla_cnn:onnx_model",
        inputs={"input": (1, 3, 64, 64)},
        trials=trials,
        output=folder,
        catalogue=folder / "catalogue.db",
        settings={"tuning.measure.repeat": 30},
    )
    folder.mkdir(parents=True, exist_ok=True)

    print("tuning:")
    library = tunekit.tune(recipe, reporter=Printer())

    known = tunekit.lookup(recipe)
    print(f"known: {known.line()}")

    report = tunekit.bench(recipe, runtimes=runtimes, rounds=6)
    for row in report.runtimes:
        print(f"{row.name:12} {row.latency.median_ms:8.3f} ms" if row.latency else row.name)
    print(report.verdict)

    with tunekit.Catalogue.open(folder / "catalogue.db") as catalogue:
        for session in catalogue.sessions.list():
            print(f"session {session.id}: {session.name}, {session.state}")

    try:
        tunekit.compile("torchvision:resnet18", inputs={"image": (1, 3, -1, 224)})
    except tunekit.TunekitError as error:
        print(f"what is refused says why: {error}")
    print(f"library: {library.folder}")


if __name__ == "__main__":
    main()
