"""The bundle of a detector checks itself, and finds objects in pictures in C."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compiled_detectors import Compiled
from PIL import Image
from shell import shell

from tunekit.bundle import Bundle, export_library
from tunekit.library.program import expected_values
from tunekit.library.verify import ReferenceOutputs, Verified
from tunekit.machine.host import detect_host

EXAMPLE = Path(__file__).parents[2] / "examples" / "06_detect.c"


@pytest.fixture(scope="module")
def bundle(compiled: Compiled) -> Bundle:
    bundle = export_library(compiled.library)
    shell("make", "all", "CFLAGS=-O1 -Werror", "CXX=no-such-compiler", cwd=bundle.folder)
    return bundle


@pytest.fixture(scope="module")
def scene(compiled: Compiled) -> Any:
    """A picture of the canvas' size, in bytes."""
    [picture] = compiled.source.sample_inputs(5).values()
    return np.rint(picture[0].transpose(1, 2, 0) * 255).astype("uint8")


def found_in(bundle: Bundle, *pictures: Path, least: float) -> tuple[list[dict[str, Any]], str]:
    done = shell("build/detect", "--least", str(least), *pictures, cwd=bundle.folder)
    return json.loads(done.stdout), done.stderr


def test_it_gives_what_the_library_gave_where_it_was_packed(bundle: Bundle) -> None:
    said = shell("make", "check", "CXX=no-such-compiler", cwd=bundle.folder).stdout
    assert "self test: passed" in said
    assert len(re.findall(r"sample [01], \w+: relative error .* within 1e-05", said)) >= 8
    assert "is right on this machine" in said
    assert bundle.manifest.framework == "library"
    assert "compares with what the library itself gave" in (bundle.folder / "README.md").read_text()


def test_what_another_program_found_is_matched(
    bundle: Bundle, compiled: Compiled, tmp_path: Path
) -> None:
    """As in a bundle for another machine, where nobody ran the library."""
    folder = shutil.copytree(bundle.folder, tmp_path / "bundle")
    program = folder / "example" / "check.c"
    text = program.read_text()
    assert "#define MATCHED 0" in text
    program.write_text(text.replace("#define MATCHED 0", "#define MATCHED 1"))
    shell("make", "build/check", "CFLAGS=-O1 -Wall -Wextra -Wpedantic -Werror", cwd=folder)
    names = [output.name for output in compiled.source.outputs]
    for number, sample in enumerate(bundle.manifest.samples):
        inputs = compiled.source.sample_inputs(compiled.recipe.model.seed + number + 1)
        for file, array in zip(sample.outputs, compiled.source.reference(inputs), strict=True):
            (folder / file).write_bytes(array.tobytes())
    said = shell("build/check", "samples", cwd=folder).stdout
    found = re.findall(r"sample [01]: (\d+) of (\d+) detections have a partner", said)
    assert len(found) == 2
    assert all(0 < int(wanted) <= int(matched) + 1 for matched, wanted in found)

    boxes = folder / bundle.manifest.samples[1].outputs[names.index("boxes")]
    moved = np.frombuffer(boxes.read_bytes(), "float32") + 9
    boxes.write_bytes(moved.tobytes())
    said = shell("build/check", "samples", cwd=folder, code=1).stdout
    assert re.search(r"sample 1: 0 of \d+ detections .*: WRONG", said)
    assert "is WRONG on this machine" in said


def test_a_detector_without_stages_has_its_example_and_is_matched(
    compiled: Compiled, tmp_path: Path
) -> None:
    """As those whose graph is not cut by operators in C: RT-DETR, and YOLO that chooses itself."""
    other = "aarch64" if detect_host().architecture == "x86_64" else "x86_64"
    target = {"kind": "llvm", "mtriple": f"{other}-linux-gnu", "num-cores": 2}
    manifest = compiled.library.manifest.model_copy(update={"stages": (), "target": target})
    library = replace(compiled.library, manifest=manifest)
    folder = export_library(library, folder=tmp_path / "bundle").folder
    assert "build/detect --least 0.5" in (folder / "README.md").read_text()
    said = shell("make", "check", "CXX=no-such-compiler", cwd=folder).stdout
    assert len(re.findall(r"sample [01]: \d+ of \d+ detections have a partner", said)) == 2
    assert (folder / "build/detect").is_file()


def test_where_nobody_ran_it_the_self_test_expects_no_detection_at_its_place(
    compiled: Compiled,
) -> None:
    inputs = compiled.source.sample_inputs(1)
    outputs = compiled.source.reference(inputs)
    reference = ReferenceOutputs([inputs], [outputs], inputs, outputs)
    assert expected_values(compiled.source, 1e-3, reference, None) == []
    assert expected_values(compiled.source, 1e-3, reference, Verified((0.0,), [outputs]))


def test_what_c_finds_is_what_the_library_finds(
    bundle: Bundle, compiled: Compiled, scene: Any, tmp_path: Path
) -> None:
    file = tmp_path / 'a "street".ppm'
    Image.fromarray(scene).save(file)
    entries, said = found_in(bundle, file, least=0.0)
    picture = (scene.astype("float32") / 255).transpose(2, 0, 1)[None]
    outputs: Any = compiled.library.run(image=picture)
    assert f"{len(entries)} objects in 1 pictures" in said
    assert len(entries) == int(outputs["count"][0]) > 0
    for row, entry in enumerate(entries):
        assert entry["image_id"] == 0
        assert entry["file_name"] == file.name
        assert entry["category_id"] == outputs["labels"][row]
        left, top, width, height = entry["bbox"]
        corners = [left, top, left + width, top + height]
        assert corners == pytest.approx(outputs["boxes"][row].tolist(), abs=0.01)
        assert entry["score"] == pytest.approx(float(outputs["scores"][row]), abs=1e-5)


def test_pictures_of_other_sizes_have_boxes_in_their_own_pixels(
    bundle: Bundle, scene: Any, tmp_path: Path
) -> None:
    files = [tmp_path / "one.ppm", tmp_path / "two.ppm"]
    Image.fromarray(scene).save(files[0])
    Image.fromarray(scene.repeat(2, 0).repeat(2, 1)).save(files[1])
    entries, _ = found_in(bundle, *files, least=0.0)
    boxes = [
        np.array([entry["bbox"] for entry in entries if entry["image_id"] == number])
        for number in range(2)
    ]
    assert 1.5 * boxes[0].max() < boxes[1].max() <= 256.01


def test_what_is_no_picture_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    file = tmp_path / "text.ppm"
    file.write_text("P6 10 10 255\nshort")
    assert "ends too early" in shell("build/detect", file, cwd=bundle.folder, code=1).stderr
    file.write_text("hello")
    assert "no PPM of 8 bits" in shell("build/detect", file, cwd=bundle.folder, code=1).stderr
    assert "usage: " in shell("build/detect", cwd=bundle.folder, code=2).stderr


def test_a_bad_picture_leaves_the_others_and_the_form_whole(
    bundle: Bundle, scene: Any, tmp_path: Path
) -> None:
    good, bad, huge = (tmp_path / f"{name}.ppm" for name in ("good", "bad", "huge"))
    Image.fromarray(scene).save(good)
    bad.write_text("hello")
    huge.write_bytes(b"P6 999999 999999 255\n")
    done = shell("build/detect", "--least", "0", bad, good, huge, good, cwd=bundle.folder, code=1)
    entries = json.loads(done.stdout)
    assert {entry["image_id"] for entry in entries} == {1, 3}
    assert f"{len(entries)} objects in 2 pictures" in done.stderr
    assert f"{bad}: no PPM of 8 bits" in done.stderr
    assert f"{huge}: " in done.stderr


def test_the_example_is_the_one_of_bundles(bundle: Bundle) -> None:
    assert EXAMPLE.read_text() == (bundle.folder / "example" / "detect.c").read_text()
