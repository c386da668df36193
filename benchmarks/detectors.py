"""Whole detectors: tuned, raced, and their time by stages.

    python benchmarks/detectors.py [NAME ...] [--trials 800] [--rounds 12] [--again]

For each of DETECTORS, a recipe at a canvas: a search, unless there is a library with records in
artifacts/; the race of the library, tuned and with default schedules, with eager PyTorch,
TorchScript, ONNX Runtime, OpenVINO and, where it is installed, OpenCV, as `tunekit bench` runs it;
and the stages of the library and of eager PyTorch, as `tunekit explain` tells them; of some, only
the stages, of pictures as bytes and with masks pasted into them. Written to
benchmarks/results/detectors/ as they come, NAME.json and NAME.stages.json, and what is there is
left out: what was interrupted is called again. The machine has to be quiet.
In the end docs/detectors_page.py draws them, and docs/generate.py writes docs/results/detectors.md.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from models import is_tuned, without_place

import tunekit
from tunekit.errors import TunekitError
from tunekit.recipe import Normalize, Recipe

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "detectors"
RUNTIMES = ("tuned", "default", "pytorch", "torchscript", "onnxruntime", "openvino", "opencv")


class Detector(NamedTuple):
    """A recipe of recipes/, or a model of torchvision, and the height and width of its canvas;
    `ready` with bytes for a picture and whole masks for a result, as a program around it has and
    wants them."""

    source: str
    height: int
    width: int
    ready: bool = False


DETECTORS = {
    "maskrcnn_800x1088": Detector("maskrcnn_resnet50_x86", 800, 1088),
    "maskrcnn_480": Detector("maskrcnn_resnet50_x86", 480, 480),
    "maskrcnn_800x1088_ready": Detector("maskrcnn_resnet50_x86", 800, 1088, ready=True),
    "maskrcnn_480_ready": Detector("maskrcnn_resnet50_x86", 480, 480, ready=True),
    "yolov8n_640": Detector("yolov8n_detect_x86", 640, 640),
    "fasterrcnn_480": Detector("torchvision:fasterrcnn_resnet50_fpn", 480, 480),
    "fasterrcnn_mobile_320": Detector(
        "torchvision:fasterrcnn_mobilenet_v3_large_320_fpn", 320, 320
    ),
    "retinanet_480": Detector("torchvision:retinanet_resnet50_fpn", 480, 480),
    "ssdlite_320": Detector("torchvision:ssdlite320_mobilenet_v3_large", 320, 320),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="of DETECTORS; all of them if left out")
    parser.add_argument("--trials", type=int, default=800)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--again", action="store_true", help="what is there already, too")
    options = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    for name in options.names or DETECTORS:
        detector = DETECTORS[name]
        try:
            measure(name, recipe_of(name, detector), options, races=not detector.ready)
        except TunekitError as error:
            print(f"{name}: {error.message}", file=sys.stderr, flush=True)
    for script in ("detectors_page.py", "generate.py"):
        subprocess.run([sys.executable, str(ROOT / "docs" / script)], check=True, cwd=ROOT)


def recipe_of(name: str, detector: Detector) -> Recipe:
    """The recipe at the detector's canvas, with a library of its own."""
    shipped = ROOT / "recipes" / f"{detector.source}.yaml"
    shape = (1, 3, detector.height, detector.width)
    if not shipped.is_file():
        return tunekit.load_recipe(
            detector.source, inputs={"image": shape}, settings={"name": name}
        )
    recipe = tunekit.load_recipe(shipped)
    first, *others = recipe.model.inputs
    changed: dict[str, Any] = {"shape": shape}
    choice = recipe.model.detector
    if detector.ready:
        assert choice is not None
        batch, channels, height, width = shape
        picture = {"dtype": "uint8", "layout": "NHWC", "normalize": Normalize()}
        changed = {"shape": (batch, height, width, channels), **picture}
        choice = choice.model_copy(update={"masks": "pasted"})
    inputs = (first.model_copy(update=changed), *others)
    model = recipe.model.model_copy(update={"inputs": inputs, "detector": choice})
    return recipe.model_copy(update={"name": name, "model": model})


def measure(name: str, recipe: Recipe, options: argparse.Namespace, *, races: bool) -> None:
    """Writes what is not there yet, and says how the race ended."""
    race, stages = RESULTS / f"{name}.json", RESULTS / f"{name}.stages.json"
    if options.again or not is_tuned(name):
        tunekit.tune(recipe, trials=options.trials)
    if races and (options.again or not race.is_file()):
        report = tunekit.bench(recipe, runtimes=RUNTIMES, rounds=options.rounds)
        race.write_text(without_place(report.to_json()), "utf-8")
        print(f"{name}: {report.verdict}", flush=True)
    if options.again or not stages.is_file():
        explanation = tunekit.explain(recipe, runtimes=("openvino",))
        # A trace is of no use in a table, and far larger than the rest.
        plain = explanation.model_copy(update={"trace": ()})
        stages.write_text(without_place(plain.to_json()), "utf-8")


if __name__ == "__main__":
    main()
