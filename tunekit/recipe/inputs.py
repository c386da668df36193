"""What a recipe says of a model's inputs.

The docstring under each field is its description in the JSON Schema that editors use.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from tunekit.recipe.axes import Extent
from tunekit.recipe.input_values import (
    VALUE_SCHEMA,
    bound_value,
    require_range,
    with_shape_of_value,
    without_shape_where_bound,
)
from tunekit.recipe.part import RecipePart
from tunekit.recipe.values import bad

DType = Literal[
    "float32", "float16", "float64", "int64", "int32", "int16", "int8",
    "uint64", "uint32", "uint16", "uint8", "bool",
]  # fmt: skip

_IMAGE_AXES = 4
_PIXELS = ("uint8", "float32", "float16")


class ValueRange(RecipePart):
    """Bounds of an input's values."""

    min: int | float
    """The smallest value."""

    max: int | float
    """The largest value; it occurs too."""

    @model_validator(mode="after")
    def _smallest_first(self) -> ValueRange:
        if self.min > self.max:
            raise bad(f"min ({self.min}) is more than max ({self.max})")
        return self


class Normalize(RecipePart):
    """How the values of an input become the model's: (value * scale - mean) / std."""

    mean: Annotated[tuple[float, ...], Field(strict=False, min_length=1)] = (0.0,)
    """Of each channel, or one for all."""

    std: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(strict=False, min_length=1)] = (
        1.0,
    )
    """Standard deviation, likewise."""

    scale: Annotated[float, Field(gt=0)] | None = None
    """By default 1/255 for uint8 inputs, so that mean and std are those of pixels from 0 to 1, and
    1 for others."""

    def require_channels(self, channels: int | str, shape: Sequence[int | str]) -> None:
        """Refuses lists that are not as long as the input has channels."""
        for name, numbers in (("mean", self.mean), ("std", self.std)):
            if len(numbers) not in (1, channels):
                raise bad(
                    f"normalize.{name} has {len(numbers)} numbers, and an input of shape "
                    f"{list(shape)} {channels} channels; layout: NHWC says that they come last"
                )


class InputSpec(RecipePart):
    """One input of the model."""

    model_config = ConfigDict(json_schema_extra=without_shape_where_bound)

    name: Annotated[str, Field(min_length=1)]
    """The input's name: the one that the library and its manifest use."""

    shape: Annotated[tuple[Extent, ...], Field(strict=False)]
    """Sizes in the model's own order, for example [1, 3, 224, 224]; [] is a single number. In place
    of a size the name of one of the model's axes, or a list of sizes. May be left out where value
    is given."""

    dtype: DType = "float32"
    """Element type; where value is given without it, that of the value."""

    values: ValueRange | None = None
    """What sample inputs are drawn from, for example {min: 0, max: 1} where a mask of ones and
    zeros is expected, or {min: 0, max: 30521} for token ids. By default integers that index an
    embedding or a table stay within it, masks are ones with zeros at the end, other integers are 0
    to 7, and floats are normally distributed."""

    layout: Literal["NCHW", "NHWC"] | None = None
    """NHWC where the input has its channels last ([1, 224, 224, 3], as image libraries have
    pixels) and the model takes them first: the library moves them."""

    normalize: Normalize | None = None
    """Pixels are normalized by the library: for a model that takes floats, from an input of this
    shape and dtype. For example dtype: uint8, normalize: {mean: [0.485, 0.456, 0.406],
    std: [0.229, 0.224, 0.225]}."""

    value: Annotated[Any, BeforeValidator(bound_value), WithJsonSchema(VALUE_SCHEMA)] = None
    """Makes the input a constant: a number, a list of numbers, or an .npy file (relative to the
    recipe). For inputs whose values decide shapes, such as a size or axes. The library then has no
    such input."""

    @model_validator(mode="before")
    @classmethod
    def _as_its_value(cls, data: Any, info: ValidationInfo) -> Any:
        return with_shape_of_value(data, info)

    @model_validator(mode="after")
    def _possible_values(self) -> InputSpec:
        if self.values is None:
            return self
        if self.value is not None:
            raise bad("values and value are both given; keep one")
        require_range(self.dtype, self.values.min, self.values.max)
        return self

    @model_validator(mode="after")
    def _possible_preprocessing(self) -> InputSpec:
        if not self.has_preprocessing:
            return self
        given = "layout" if self.normalize is None else "normalize"
        if self.value is not None:
            raise bad(f"value and {given} are both given; a constant is what the model takes")
        if self.dtype not in _PIXELS:
            raise bad(f"{given} is for inputs of {' or '.join(_PIXELS)}, not of {self.dtype}")
        if len(self.shape) != _IMAGE_AXES:
            raise bad(
                f"{given} is for images, of four sizes such as [1, 224, 224, 3]; this shape has "
                f"{len(self.shape)}"
            )
        if self.normalize is not None:
            channels = self.shape[_IMAGE_AXES - 1 if self.layout == "NHWC" else 1]
            self.normalize.require_channels(channels, self.shape)
        return self

    @property
    def has_preprocessing(self) -> bool:
        """Whether the library takes another array than the model."""
        return self.layout is not None or self.normalize is not None

    @property
    def sample_values(self) -> ValueRange | None:
        """What sample inputs are drawn from, where that is known: pixels take all values."""
        if self.values is None and self.has_preprocessing and self.dtype == "uint8":
            return ValueRange(min=0, max=255)
        return self.values

    @property
    def is_bound(self) -> bool:
        """Whether it is a constant, and no input of the library."""
        return self.value is not None
