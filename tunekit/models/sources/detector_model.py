"""Detectors: compiled with fixed shapes, compared with the module itself by matching."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tunekit.accuracy import Comparison
from tunekit.detectors.matching import compare_detections, count_of
from tunekit.detectors.picture import InPicture
from tunekit.detectors.random_weights import of_order_one
from tunekit.detectors.recognition import detector_in
from tunekit.detectors.scenes import scene
from tunekit.errors import ImportFailed, ModelFileError
from tunekit.models.samples import Use
from tunekit.models.sources.torch_calls import Call
from tunekit.models.sources.torch_model import TorchModel
from tunekit.models.weights import batch_statistics, randomize
from tunekit.processes.quiet import quiet
from tunekit.wording import first_line

if TYPE_CHECKING:
    import tvm
    from torch.export import ExportedProgram

    from tunekit.detectors.family import Canvas, Detector
    from tunekit.models.source import Array

_SCENES = 4
"""So many pictures random weights are made with."""
_LARGER = 2
"""So many times as large as the canvas is a sample picture that was brought onto it."""


class DetectorModel(TorchModel):
    """A detector; see `tunekit.detectors`.

    Its reference is the module itself. What is imported is the module with fixed shapes.
    """

    finds_objects = True

    @cached_property
    def detector(self) -> Detector:
        """The detector in the module, which has no weights yet.

        Raises:
            ModelFileError: it cannot be compiled, or there is none.
        """
        found = detector_in(self._built, self.name, self._shapes(), self._detector_spec)
        if found is None:
            raise ModelFileError(f"{self.name} is no detector that tunekit knows")
        return found

    def _shapes(self) -> list[tuple[tuple[int, ...], str]]:
        return [(spec.shape, spec.dtype) for spec in self.inputs]

    def sample_inputs(self, seed: int) -> dict[str, Array]:
        picture, *sizes = self.inputs
        samples = self._detector_spec.samples if self._detector_spec else ()
        given: Array = (
            _picture(samples[seed % len(samples)], picture.shape)
            if samples
            else scene(self.detector.canvas, seed)
        )
        return {picture.name: given} | {
            size.name: np.array(self._picture_size, size.dtype) for size in sizes
        }

    @property
    def _picture_size(self) -> Canvas:
        """Height and width of sample pictures, where they are not of the canvas' own."""
        height, width = self.detector.canvas
        return (_LARGER * height, _LARGER * width)

    def _placed(self, detector: torch.nn.Module) -> torch.nn.Module:
        """A detector of a canvas, with boxes as the recipe wants them."""
        return InPicture(detector, self.detector.canvas) if len(self.inputs) > 1 else detector

    def uses(self) -> Mapping[str, Use]:
        return {}

    def exact_reference(self, inputs: Mapping[str, Array]) -> list[Array] | None:
        # In other numbers it decides otherwise.
        return None

    def compare(self, reference: Sequence[Array], actual: Sequence[Array]) -> Comparison:
        names = [spec.name for spec in self.outputs]
        rule = self.detector.rule
        if len(self.inputs) > 1:
            rule = replace(rule, canvas=self._picture_size)
        return compare_detections(
            dict(zip(names, reference, strict=True)), dict(zip(names, actual, strict=False)), rule
        )

    def require_telling(self, references: Sequence[Sequence[Array]]) -> None:
        names = [spec.name for spec in self.outputs]
        if all(count_of(dict(zip(names, outputs, strict=True))) for outputs in references):
            return
        what = "a sample" if self._detector_spec and self._detector_spec.samples else "the scene"
        raise ModelFileError(
            f"{self.name}: {self.framework} itself finds nothing in {what} that it is checked "
            "with, so that the check would say nothing",
            hint="give pictures in which it finds something: model.detector.samples, .npy files "
            f"of {list(self.inputs[0].shape)}",
        )

    def to_relax(self) -> tvm.IRModule:
        from tunekit.torch_frontend import program_to_relax

        names = [spec.name for spec in self.inputs]
        return program_to_relax(self.program, names, self.name, is_single=self.is_single)

    def torch_module(self, *, traced: bool = False) -> torch.nn.Module:
        module = self.module
        if not traced:
            return module
        return super()._by_position(self._placed(self.detector.traceable())).eval()

    def write_onnx(self, path: Path) -> None:
        """Writes the module itself, for other runtimes; only the older exporter takes it."""
        arguments = tuple(self.arguments(self.sample_inputs(self.seed)))
        try:
            with quiet(), torch.no_grad():
                torch.onnx.export(
                    self.torch_module(traced=True),
                    arguments,
                    str(path),
                    dynamo=False,
                    input_names=[spec.name for spec in self.inputs],
                    output_names=[spec.name for spec in self.outputs],
                )
        except Exception as error:
            path.unlink(missing_ok=True)
            raise ImportFailed(
                f"{self.name}: torch.onnx.export cannot export the model: {first_line(error)}"
            ) from error

    def state(self) -> dict[str, torch.Tensor]:
        _ = self.module  # Which gives it its weights.
        state: dict[str, torch.Tensor] = self._built.state_dict()
        return state

    def _by_position(self, module: torch.nn.Module) -> Call:
        return super()._by_position(self._placed(self.detector.original()))

    def _trace(self) -> ExportedProgram:
        from tunekit.torch_frontend import export_program

        _ = self.outputs  # An input that does not fit is told as such, not as a failed trace.
        arguments = self.arguments(self.sample_inputs(self.seed))
        static = super()._by_position(self._placed(self.detector.static()))
        return export_program(static.eval(), arguments, self.name)

    def _calibrate(self, module: torch.nn.Module) -> None:
        """Gives random weights with which it finds something in each scene."""
        detector = self.detector
        pictures = [
            torch.from_numpy(scene(detector.canvas, self.seed + index)) for index in range(_SCENES)
        ]
        with torch.no_grad(), quiet(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            randomize(detector.module, self.seed)
            part = detector.steadied()
            with batch_statistics(detector.module), of_order_one(part):
                detector.see(torch.cat(pictures[:2]))
            detector.settle(pictures)


def _picture(file: Path, shape: Sequence[int]) -> Array:
    """A sample picture.

    Raises:
        ModelFileError: the file holds something else.
    """
    try:
        picture: Any = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ModelFileError(f"the sample {file} cannot be read: {first_line(error)}") from error
    if picture.shape == tuple(shape[1:]):
        picture = picture[None]
    if picture.shape != tuple(shape) or picture.dtype != np.float32:
        raise ModelFileError(
            f"the sample {file} is {list(picture.shape)} {picture.dtype}, in place of "
            f"{list(shape)} float32"
        )
    return np.ascontiguousarray(picture)
