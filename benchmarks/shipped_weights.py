"""Real weights: does the library answer as the package that ships them does?

    pip install -e '.[zoo]'
    python benchmarks/shipped_weights.py [NAME ...] [--again] [--trials N]

Each of these packages ships a trained ONNX model and runs it by ONNX Runtime. The package's own
code reads the samples and makes sense of the outputs, once with its session and once with one that
runs tunekit's library: compiled with default schedules, or tuned with so many trials. What comes
out of both is compared as people read it, texts, labels, boxes and times; where the right answer is
known, as with text that was drawn here, both are compared to it.

Rows are written to benchmarks/results/shipped_weights.json as they come, and models that have one
are left out. docs/results/zoo.md is made from the file by docs/generate.py.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from zoo_networks import NETWORKS

import tunekit
from tunekit.errors import TunekitError
from tunekit.machine.host import detect_host

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "shipped_weights.json"
WORDS = (
    *("tunekit", "Schedule", "layout 16", "2.47 GHz", "OpenVINO", "ResNet-50", "800 trials"),
    *("kernel", "vector", "cache line", "x86-64", "AArch64", "SQLite", "convolution"),
)
CODES = ("K7QM", "3HXA", "PW29", "d8nf", "R4tz", "6bVE", "mu5y", "JC8h")
RATE = 16000

Array = NDArray[Any]
Answers = list[Any]
Change = Callable[[Any], Any]


class LibrarySession:
    """ONNX Runtime's session, as far as these packages use one, that runs a library of tunekit's.

    Attributes:
        original: the session whose place it takes.
        library: what runs in it.
        pairs: what both computed of the inputs of each call, tunekit's first.
    """

    def __init__(self, original: Any, library: tunekit.LoadedModel) -> None:
        self.original, self.library = original, library
        self.pairs: list[tuple[Array, Array]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.original, name)

    def run(self, names: Sequence[str] | None, feed: dict[str, Any]) -> list[Array]:
        """One row after the other: the library has a batch of one."""
        known = {tensor.name: tensor for tensor in self.library.inputs}
        given = {
            name: np.asarray(value, dtype=known[name].dtype)
            for name, value in feed.items()
            if name in known
        }
        first = self.library.inputs[0]
        rows = len(given[first.name]) // first.shape[0]
        batches = [
            {name: value[row : row + 1] if rows > 1 else value for name, value in given.items()}
            for row in range(rows)
        ]
        found = [self._outputs(batch) for batch in batches]
        outputs = [
            np.concatenate(parts) if rows > 1 else parts[0] for parts in zip(*found, strict=True)
        ]
        expected = self.original.run(names, feed)
        copies = [output.copy() for output in outputs]  # Some packages write into what they get.
        self.pairs += list(zip(copies, expected, strict=True))
        return outputs

    def _outputs(self, batch: dict[str, Array]) -> list[Array]:
        return self.library.call([batch[tensor.name] for tensor in self.library.inputs])

    def relative_error(self) -> float:
        """The largest difference of a call, relative to the largest value of its output."""
        return max(
            float(np.abs(own - other).max() / max(float(np.abs(other).max()), 1e-12))
            for own, other in self.pairs
        )


@dataclass(frozen=True)
class Task:
    """A model, and what its package makes of samples.

    Attributes:
        network: its name in the zoo.
        what: the samples, in words.
        answers: of the samples, by a function that changes the package's session or leaves it.
        truth: the right answers, where they are known.
    """

    network: str
    what: str
    answers: Callable[[Change], Answers]
    truth: Sequence[Any] | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="of models in the zoo; all of TASKS if left out")
    parser.add_argument("--again", action="store_true", help="models that have a row, too")
    parser.add_argument("--trials", type=int, default=0, help="of a search; default schedules if 0")
    options = parser.parse_args()
    rows: dict[str, Any] = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
    for task in TASKS:
        if options.names and task.network not in options.names:
            continue
        if task.network in rows and not options.again:
            continue
        try:
            rows[task.network] = compared(task, options.trials)
        except TunekitError as error:
            print(f"{task.network}: {error.message}", flush=True)
            continue
        RESULTS.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n", "utf-8")
        print(task.network, rows[task.network], flush=True)


def compared(task: Task, trials: int) -> dict[str, Any]:
    """How many answers are the same, and how many right, by the package and by the library."""
    original = task.answers(lambda session: session)
    recipe = tunekit.Recipe.model_validate(NETWORKS[task.network].recipe(), strict=False)
    sessions: list[LibrarySession] = []
    with tempfile.TemporaryDirectory() as folder:
        work = {"output": folder, "catalogue": Path(folder, "catalogue.db")}
        if trials:
            tunekit.tune(recipe, trials=trials, **work)
        else:
            tunekit.compile(recipe, **work)
        with tunekit.load(Path(folder, task.network)) as library:

            def replaced(session: Any) -> LibrarySession:
                sessions.append(LibrarySession(session, library))
                return sessions[-1]

            answers = task.answers(replaced)
    row = {
        "samples": task.what,
        "answers": len(original),
        "same": sum(own == other for own, other in zip(answers, original, strict=True)),
        "relative_error": float(f"{max(each.relative_error() for each in sessions):.1e}"),
        "trials": trials,
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": detect_host().cpu_name,
    }
    if task.truth is not None:
        for whose, given in (("right", answers), ("right_original", original)):
            row[whose] = sum(own == true for own, true in zip(given, task.truth, strict=True))
    return row


def drawn(text: str, width: int, height: int, *, margin: int = 8, size: int = 30) -> Any:
    """A picture of a line of text, dark on light."""
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.new("RGB", (width, height), (250, 250, 245))
    font = ImageFont.load_default(size=size)
    ImageDraw.Draw(picture).text((margin, height // 2), text, (20, 20, 30), font, anchor="lm")
    return picture


def page() -> Any:
    """A picture of all words, each at a place of its own."""
    from PIL import Image

    picture = Image.new("RGB", (640, 480), (250, 250, 245))
    for number, word in enumerate(WORDS):
        column, row = number % 2, number // 2
        picture.paste(drawn(word, 300, 50), (10 + 320 * column, 15 + 65 * row))
    return picture


def scaled(picture: Any) -> Array:
    """A picture as PP-OCR takes it: (1, 3, height, width) between -1 and 1, blue first."""
    values = np.asarray(picture, np.float32)[..., ::-1] / 127.5 - 1
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None])


def session_of(network: str) -> Any:
    """ONNX Runtime's session of a file in the zoo."""
    from onnxruntime import InferenceSession

    source = NETWORKS[network].recipe()["model"]["source"]
    return InferenceSession(source, providers=["CPUExecutionProvider"])


def lines_read(network: str) -> Callable[[Change], Answers]:
    """Texts of drawn lines, by PP-OCR's recognition."""

    def answers(change: Change) -> Answers:
        session = change(session_of(network))
        names = session.get_modelmeta().custom_metadata_map["character"].splitlines()
        characters = ["", *names, " "]
        texts = []
        for word in WORDS:
            (scores,) = session.run(None, {"x": scaled(drawn(word, 320, 48))})
            best = scores[0].argmax(-1)
            kept = [int(now) for before, now in pairwise([0, *best]) if now != before]
            texts.append("".join(characters[number] for number in kept))
        return texts

    return answers


def places_found(network: str) -> Callable[[Change], Answers]:
    """Boxes of text in a drawn page, by PP-OCR's detection: left, top, right, bottom in pixels."""
    import cv2

    def answers(change: Change) -> Answers:
        (chances,) = change(session_of(network)).run(None, {"x": scaled(page())})
        _, _, parts, _ = cv2.connectedComponentsWithStats((chances[0, 0] > 0.3).astype(np.uint8))
        return [[int(value) for value in part[:4]] for part in parts[1:]]

    return answers


def directions(change: Change) -> Answers:
    """Whether lines are upright, by PP-OCR's classifier."""
    session = change(session_of("ppocr_v2_direction"))
    found = []
    for word in WORDS:
        for turned in (0, 180):
            picture = drawn(word, 192, 48).rotate(turned)
            (chances,) = session.run(None, {"x": scaled(picture)})
            found.append(int(180 * chances[0].argmax()))
    return found


def kinds_of_files(change: Change) -> Answers:
    """What the files of this repository are, by Magika."""
    from magika import Magika

    magika = Magika()
    magika._onnx_session = change(magika._onnx_session)
    return [str(magika.identify_path(path).output.label) for path in files()]


def files() -> list[Path]:
    """Some of this repository, of all kinds."""
    patterns = ("*.toml", "*.md", "tunekit/*.py", "recipes/*.yaml", "recipes/*.json")
    more = ("tunekit/standalone/c/*", "docs/*.css", "docs/results/samples/*", "Makefile")
    found = [path for pattern in (*patterns, *more) for path in sorted(ROOT.glob(pattern))]
    return [path for path in found if path.is_file()]


def speech(change: Change) -> Answers:
    """When somebody speaks, by Silero: samples from and to."""
    import torch
    from silero_vad import get_speech_timestamps, load_silero_vad

    model = load_silero_vad(onnx=True)
    model.session = change(model.session)
    sound = torch.from_numpy(vowels())
    return [
        (found["start"], found["end"])
        for found in get_speech_timestamps(sound, model, sampling_rate=RATE, threshold=0.3)
    ]


def vowels() -> Array:
    """Twelve seconds of a voice that says vowels, with pauses: pulses of the vocal cords through
    two resonances, in a little noise."""
    random = np.random.default_rng(7)
    formants = ((730, 1090), (270, 2290), (300, 870), (530, 1840))
    sound = 0.003 * random.standard_normal(12 * RATE)
    for number in range(12):
        time = np.arange(int(0.35 * RATE)) / RATE
        pitch = 120 + 25 * np.sin(2 * np.pi * 3 * time)
        pulses = np.diff(np.floor(np.cumsum(pitch) / RATE), prepend=0)
        voice = np.zeros(len(time))
        for formant in formants[number % len(formants)]:
            resonance = np.exp(-70 * time) * np.sin(2 * np.pi * formant * time)
            voice += np.convolve(pulses, resonance)[: len(time)]
        voice *= 0.3 * np.hanning(len(time)) / np.abs(voice).max()
        start = int((0.3 + number // 3 * 3 + number % 3 * 0.45) * RATE)
        sound[start : start + len(time)] += voice
    return sound.astype(np.float32)


def codes_read(network: str) -> Callable[[Change], Answers]:
    """Texts of drawn codes, by ddddocr."""

    def answers(change: Change) -> Answers:
        from ddddocr import DdddOcr

        reader = DdddOcr(show_ad=False, beta=not network.endswith("old"))
        reader.ocr_engine.session = change(reader.ocr_engine.session)
        return [reader.classification(encoded(drawn(code, 160, 64, size=44))) for code in CODES]

    return answers


def boxes_of_targets(change: Change) -> Answers:
    """Boxes of text in a drawn page, by ddddocr."""
    from ddddocr import DdddOcr

    finder = DdddOcr(det=True, show_ad=False)
    finder.detection_engine.session = change(finder.detection_engine.session)
    return list(finder.detection(encoded(page())))


def people(change: Change) -> Answers:
    """What nudenet finds in photographs that matplotlib and ultralytics ship."""
    from nudenet import NudeDetector

    from tunekit.models.packages import shipped_file

    detector = NudeDetector()
    detector.onnx_session = change(detector.onnx_session)
    photographs = (
        shipped_file("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
        shipped_file("ultralytics", "assets/zidane.jpg"),
        shipped_file("ultralytics", "assets/bus.jpg"),
    )
    return [
        (found["class"], found["box"])
        for photograph in photographs
        for found in detector.detect(str(photograph))
    ]


def encoded(picture: Any) -> bytes:
    """A picture as a PNG file."""
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


TASKS = (
    Task("ppocr_v4_recognition", "drawn lines", lines_read("ppocr_v4_recognition"), WORDS),
    Task("ppocr_v6_recognition", "drawn lines", lines_read("ppocr_v6_recognition"), WORDS),
    Task("ppocr_v4_detection", "lines of a drawn page", places_found("ppocr_v4_detection")),
    Task("ppocr_v6_detection", "lines of a drawn page", places_found("ppocr_v6_detection")),
    Task("ppocr_v2_direction", "lines, upright and turned", directions, (0, 180) * len(WORDS)),
    Task("magika", "files of this repository", kinds_of_files),
    Task("silero_vad", "spoken vowels, synthesized", speech),
    Task("ddddocr_common", "drawn codes", codes_read("ddddocr_common")),
    Task("ddddocr_old", "drawn codes", codes_read("ddddocr_old")),
    Task("ddddocr_detection", "words of a drawn page", boxes_of_targets),
    Task("nudenet_320n", "photographs of packages", people),
)


if __name__ == "__main__":
    main()
