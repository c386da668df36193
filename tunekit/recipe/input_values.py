"""What a recipe says of an input's values: a range to draw samples from, or the value itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationInfo
from pydantic_core import PydanticCustomError

from tunekit.recipe.values import bad, existing_file, plain
from tunekit.wording import shown

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

VALUE_SCHEMA = {
    "anyOf": [
        {"type": "number"},
        {"type": "boolean"},
        {"type": "array"},
        {"type": "string", "pattern": r"\.npy$"},
        {"type": "null"},
    ],
    "default": None,
}
"""JSON Schema of `value`."""

_DTYPES: dict[type, str] = {bool: "bool", int: "int64", float: "float32"}
_FILE_DTYPES = frozenset(
    {
        *("float32", "float16", "float64"),
        *("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool"),
    }
)


def bound_value(value: Any, info: ValidationInfo) -> Any:
    """A number, a list of numbers of one shape, or the path of an .npy file (made absolute)."""
    if value is None or isinstance(value, bool | int | float):
        return plain(value)
    if isinstance(value, list | tuple):
        items = _listed(value)
        shape_of(items)
        return plain(items)
    if isinstance(value, str) and value.endswith(".npy"):
        return str(existing_file(Path(value), info))
    raise bad(f"must be a number, a list of numbers or an .npy file, not {shown(value)}")


def with_shape_of_value(data: Any, info: ValidationInfo) -> Any:
    """An input's keys, with the shape and dtype of its `value` where it does not say them."""
    if not isinstance(data, dict) or data.get("value") is None:
        return data
    if "shape" in data and "dtype" in data:
        return data
    try:
        value = bound_value(data["value"], info)
    except PydanticCustomError as error:
        raise bad(str(error), ("value",)) from None
    if isinstance(value, str):
        array = read_array(Path(value))
        shape, dtype = array.shape, str(array.dtype)
    else:
        shape, dtype = shape_of(value), _DTYPES[_kind(value)]
    return {"shape": shape, "dtype": dtype, **data}


def without_shape_where_bound(schema: dict[str, Any]) -> None:
    """Lets editors accept an input that has a value in place of a shape."""
    schema["required"] = [key for key in schema["required"] if key != "shape"]
    schema["anyOf"] = [{"required": ["shape"]}, {"required": ["value"]}]


def read_array(file: Path) -> npt.NDArray[np.generic]:
    """The array in an .npy file.

    Raises:
        PydanticCustomError: it is damaged, or of a dtype that no input has.
    """
    import numpy as np

    try:
        array: npt.NDArray[np.generic] = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise bad(f"{file} cannot be read as an .npy file: {error}", ("value",)) from None
    if str(array.dtype) not in _FILE_DTYPES:
        raise bad(f"{file} holds {array.dtype}, which no input can have", ("value",))
    return array


def shape_of(value: Any) -> tuple[int, ...]:
    """The shape of a number or of a list of numbers, which must be regular."""
    if not isinstance(value, list):
        if not isinstance(value, bool | int | float):
            raise bad(f"must hold numbers only, not {shown(value)}")
        return ()
    shapes = {shape_of(item) for item in value}
    if len(shapes) > 1:
        raise bad("must be regular: its lists are of different lengths")
    return (len(value), *(shapes.pop() if shapes else ()))


def require_range(dtype: str, low: float, high: float) -> None:
    """Refuse bounds that an element type cannot have."""
    if dtype.startswith("float"):
        return
    for bound in (low, high):
        if not float(bound).is_integer():
            raise bad(f"must be whole numbers for {dtype}, not {bound}", ("values",))
    import numpy as np

    limits = (0, 1) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    if low < limits[0] or high > limits[1]:
        raise bad(f"must lie in {limits[0]} to {limits[1]} for {dtype}", ("values",))


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else value


def _kind(value: Any) -> type:
    """The widest type of the numbers in a value: bool, int or float."""
    if not isinstance(value, list):
        return type(value)
    kinds = {_kind(item) for item in value}
    return next((kind for kind in (float, int, bool) if kind in kinds), int)
