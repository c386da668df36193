"""A model as its framework has it: what an import starts from and is measured against."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tunekit.accuracy import Comparison, compare
from tunekit.errors import ModelFileError
from tunekit.models.samples import Use, Values, draw, likely_values
from tunekit.models.spec import TensorSpec

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch
    import tvm

    Array = npt.NDArray[np.generic]


class SourceModel(ABC):
    """A model with named inputs of fixed shape, a reference function and a way into Relax.

    Building the model (weights read or drawn) is put off until a method needs it.

    Attributes:
        name: for people.
        digest: identifies structure, weights, inputs and seed.
        seed: of random weights and inputs.
        is_single: whether the import computes floating-point numbers of any width in float32.
        detour: how the model was imported where its own way in did not take it; told to people.
    """

    framework: Literal["pytorch", "onnx"]
    finds_objects: bool = False
    """Whether it is a detector, which is checked with pictures in which there is something."""

    def __init__(self, name: str, digest: str, seed: int) -> None:
        self.name = name
        self.digest = digest
        self.seed = seed
        self.is_single = False
        self.detour = ""

    @property
    @abstractmethod
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs, in the order that `main` takes them."""

    @property
    @abstractmethod
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The outputs, flat and in order."""

    def sample_inputs(self, seed: int) -> dict[str, Array]:
        """One array for each input, of values that the recipe gives or that are likely.

        The same seed gives the same arrays, here and in any other process.
        """
        likely = self.likely_values
        return {
            spec.name: draw(spec, likely.get(spec.name), seed, index)
            for index, spec in enumerate(self.inputs)
        }

    @cached_property
    def likely_values(self) -> dict[str, Values]:
        """What the inputs hold, by name; one that is not there holds anything."""
        open_ended = any(spec.values is None for spec in self.inputs)
        return likely_values(self.inputs, self.uses() if open_ended else {})

    @abstractmethod
    def uses(self) -> Mapping[str, Use]:
        """How the model uses its inputs, as far as that can be seen; needs no sample inputs."""

    @abstractmethod
    def reference(self, inputs: Mapping[str, Array]) -> list[Array]:
        """The model's outputs in its own framework, flat and in order.

        Raises:
            ModelFileError: the model does not accept the inputs.
        """

    def exact_reference(self, inputs: Mapping[str, Array]) -> list[Array] | None:
        """The outputs computed in float64, in the dtypes of `reference`; None where the source
        cannot."""
        return None

    def compare(self, reference: Sequence[Array], actual: Sequence[Array]) -> Comparison:
        """How far outputs are from those of the reference."""
        return compare(reference, actual)

    def require_telling(self, references: Sequence[Sequence[Array]]) -> None:
        """Refuse a check in which nothing can differ.

        Args:
            references: the model's own outputs on each set of sample inputs.

        Raises:
            ModelFileError: they are all NaN.
        """
        import numpy as np

        outputs = [output for outputs in references for output in outputs if output.size]
        if outputs and all(np.isnan(output).all() for output in outputs):
            raise ModelFileError(
                f"{self.name}: {self.framework} itself gives nothing but NaN on the sample inputs",
                hint="say what the inputs hold: model.inputs[].values, such as {min: 0, max: 1}",
            )

    def operators(self) -> list[str]:
        """The operators in their order, as people would look for them; none where they cannot be
        looked at."""
        return []

    def looking_at(self, operators: Sequence[int]) -> SourceModel:
        """The model with the first results of these of its operators in place of its outputs.

        Sources whose `operators` are none need not have it.
        """
        raise NotImplementedError

    def rounding_step(self, outputs: Sequence[Array]) -> float:
        """One step of outputs that are rounded, as part of the largest number; 0 where none is.

        By so much a right result may differ, where a sum lies halfway between two steps:
        quantized outputs, and those computed in half or bfloat16.
        """
        return 0.0

    @abstractmethod
    def to_relax(self) -> tvm.IRModule:
        """The model as a Relax module.

        `main` has one parameter for each input, of its name and in its order; weights are
        constants, batch normalization is folded; several outputs come as one flat tuple in order.

        Raises:
            ImportFailed: an operator cannot be imported.
        """

    @abstractmethod
    def torch_module(self, *, traced: bool = False) -> torch.nn.Module | None:
        """The model as a torch module in evaluation mode, None where there is none.

        Args:
            traced: in operations that can be traced, where some of its own cannot.
        """

    @abstractmethod
    def write_onnx(self, path: Path) -> None:
        """Write the model as ONNX with the inputs' names and fixed shapes.

        Raises:
            ImportFailed: torch cannot export it.
        """
