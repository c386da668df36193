"""Find objects in pictures with a compiled detector: JSON as COCO has it, and boxes drawn.

    pip install pillow
    tunekit recipe copy maskrcnn_resnet50_x86
    tunekit tune maskrcnn_resnet50_x86.yaml
    python examples/06_detect.py artifacts/maskrcnn_resnet50_x86 pictures/ found/

Writes `found/detections.json` and a drawn copy of each picture, and says how many pictures a second
that were, reading and drawing counted.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

import tunekit

LEAST_SCORE = 0.5
SUFFIXES = (".jpg", ".jpeg", ".png")


def on_canvas(picture: Image.Image, height: int, width: int) -> tuple[Any, float]:
    """A picture in the upper left of the canvas that the library takes, and how much smaller."""
    scale = min(height / picture.height, width / picture.width)
    size = (round(picture.width * scale), round(picture.height * scale))
    canvas = np.zeros((1, 3, height, width), np.float32)
    pixels = np.asarray(picture.resize(size, Image.Resampling.BILINEAR), np.float32)
    canvas[0, :, : size[1], : size[0]] = pixels.transpose(2, 0, 1) / 255
    return canvas, scale


def detections(found: dict[str, Any], picture: Image.Image, scale: float) -> list[dict[str, Any]]:
    """What was found in a picture, in its own pixels, as COCO has it."""
    rows = []
    for row in range(int(found["count"][0])):
        if found["scores"][row] < LEAST_SCORE:
            continue
        corners = (found["boxes"][row] / scale).clip(0, [*picture.size, *picture.size])
        left, top, right, bottom = (float(value) for value in corners)
        rows.append(
            {
                "category_id": int(found["labels"][row]),
                "bbox": [left, top, right - left, bottom - top],
                "score": float(found["scores"][row]),
            }
        )
    return rows


def drawn(picture: Image.Image, rows: list[dict[str, Any]]) -> Image.Image:
    """The picture with boxes, labels and scores."""
    pen = ImageDraw.Draw(picture)
    for row in rows:
        left, top, width, height = row["bbox"]
        pen.rectangle((left, top, left + width, top + height), outline="red", width=2)
        pen.text((left + 3, top + 2), f"{row['category_id']} {row['score']:.2f}", fill="red")
    return picture


def main(library: Path, pictures: Path, output: Path) -> None:
    """Looks at every picture of a folder, and writes what it found into another one."""
    files = sorted(file for file in pictures.iterdir() if file.suffix.lower() in SUFFIXES)
    output.mkdir(parents=True, exist_ok=True)
    entries: list[dict[str, Any]] = []
    with tunekit.load(library) as detector:
        _, _, height, width = detector.inputs[0].shape
        start = time.perf_counter()
        for number, file in enumerate(files):
            with Image.open(file) as opened:
                picture = opened.convert("RGB")
            image, scale = on_canvas(picture, height, width)
            rows = detections(detector.run(image), picture, scale)
            entries += [{"image_id": number, "file_name": file.name, **row} for row in rows]
            drawn(picture, rows).save(output / file.name)
        seconds = time.perf_counter() - start
    (output / "detections.json").write_text(json.dumps(entries, indent=1))
    print(f"{len(entries)} objects in {len(files)} pictures, {len(files) / seconds:.1f} a second")


if __name__ == "__main__":
    if len(sys.argv) == 4:
        main(*map(Path, sys.argv[1:]))
    else:
        print(__doc__)
