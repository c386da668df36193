"""What a standalone library offers to C: its functions, declared and defined."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunekit.standalone.axes import SizedAxis


@dataclass(frozen=True)
class _Function:
    """A function of every library.

    Attributes:
        result: its type.
        name: behind the library's.
        parameters: with their types.
        call: what it does, as a statement.
        description: for whoever calls it.
    """

    result: str
    name: str
    parameters: str
    call: str
    description: str

    def signature(self, library: str) -> str:
        """As C declares it."""
        space = "" if self.result.endswith("*") else " "
        return f"{self.result}{space}{library}_{self.name}({self.parameters or 'void'})"


_MODEL = "const tunekit_model *model"
# In the order of tunekit_api's members.
_FUNCTIONS = (
    _Function(
        "int",
        "open",
        "tunekit_model **model, const tunekit_options *options",
        "return tk_open(&library, model, options);",
        "Takes memory and starts threads; *model is NULL unless this gives TUNEKIT_OK, and "
        "error(NULL) says why. Another CPU than it was made for gets TUNEKIT_WRONG_CPU.",
    ),
    _Function(
        "void",
        "close",
        "tunekit_model *model",
        "tk_close(model);",
        "Gives back all that open took, once a run that another thread is in has ended. NULL is "
        "fine.",
    ),
    _Function(
        "int32_t", "inputs", _MODEL, "return tk_inputs(model);", "How many inputs the model has."
    ),
    _Function(
        "int32_t", "outputs", _MODEL, "return tk_outputs(model);", "How many outputs it has."
    ),
    _Function(
        "const tunekit_tensor *",
        "describe_input",
        f"{_MODEL}, int32_t index",
        "return tk_describe_input(model, index);",
        "Name, type and sizes of an input; NULL where there is none of that number.",
    ),
    _Function(
        "const tunekit_tensor *",
        "describe_output",
        f"{_MODEL}, int32_t index",
        "return tk_describe_output(model, index);",
        "The same of an output.",
    ),
    _Function(
        "int",
        "bind_input",
        "tunekit_model *model, int32_t index, const void *data, size_t bytes",
        "return tk_bind_input(model, index, data, bytes);",
        "Where run reads an input from; `bytes` has to be the tensor's. The data stays the "
        "caller's, and has to live as long as it is bound. Aligned to 64 bytes it is read where it "
        "is; else, and where an output is written over it, each run copies it first. It cannot lie "
        "in an output that stays with the library. With one axis of several sizes, the bytes of "
        "another size set that, as set_sizes does.",
    ),
    _Function(
        "int",
        "bind_output",
        "tunekit_model *model, int32_t index, void *data, size_t bytes",
        "return tk_bind_output(model, index, data, bytes);",
        "Where run writes an output to, which otherwise stays with the library. Aligned to 64 "
        "bytes it is written where it is; else each run copies it. Outputs cannot overlap.",
    ),
    _Function("int", "run", "tunekit_model *model", "return tk_run(model);", "One inference."),
    _Function(
        "const void *",
        "output",
        f"{_MODEL}, int32_t index",
        "return tk_output_data(model, index);",
        "Where an output is after run: where it was bound, or the library's own place, which holds "
        "it until the next run.",
    ),
    _Function(
        "int32_t",
        "threads",
        _MODEL,
        "return tk_threads(model);",
        "How many threads run the model, the caller's included.",
    ),
    _Function(
        "const char *",
        "error",
        _MODEL,
        "return tk_error(model);",
        'What went wrong last, in words; "" if nothing. With NULL, what the calling thread could '
        "not open, or cpu_ok found.",
    ),
    _Function(
        "int",
        "self_test",
        "tunekit_model *model",
        "return tk_self_test(model);",
        "Runs the model on inputs of its own and compares with what it gave where it was made: "
        "TUNEKIT_DAMAGED if that differs. Kernels that nobody ran there are compared with what the "
        "model's framework gave, and those of a detector with nothing. What is bound stays bound, "
        "and is not written.",
    ),
    _Function(
        "int",
        "cpu_ok",
        "",
        "return tk_cpu_ok(&library);",
        "TUNEKIT_OK if this CPU can run the library.",
    ),
    _Function(
        "const char *",
        "manifest",
        "",
        "return manifest;",
        "What the library was made from, as JSON.",
    ),
    _Function(
        "int32_t",
        "axes",
        _MODEL,
        "return tk_axes(model);",
        "How many axes of the inputs have several sizes.",
    ),
    _Function(
        "const tunekit_axis *",
        "describe_axis",
        f"{_MODEL}, int32_t index",
        "return tk_describe_axis(model, index);",
        "Name and sizes of an axis; NULL where there is none of that number.",
    ),
    _Function(
        "int32_t",
        "input_axis",
        f"{_MODEL}, int32_t index, int32_t dimension",
        "return tk_input_axis(model, index, dimension);",
        "The axis that a dimension of an input is, or -1.",
    ),
    _Function(
        "int",
        "set_sizes",
        "tunekit_model *model, const int64_t *sizes, int32_t count",
        "return tk_set_sizes(model, sizes, count);",
        "Sets a size for each axis; at first the smallest are. TUNEKIT_NO_SIZE where the library "
        "has none that fits. What describe_input and describe_output gave shows the new size, and "
        "what was bound at another size has to be bound again: run gives TUNEKIT_NOT_BOUND.",
    ),
    _Function(
        "int64_t",
        "size",
        f"{_MODEL}, int32_t axis",
        "return tk_size(model, axis);",
        "The size of an axis that is set; 0 where there is no such axis.",
    ),
    _Function(
        "int",
        "trace",
        "tunekit_model *model, tunekit_event *events, int32_t room, int32_t *count",
        "return tk_trace(model, events, room, count);",
        "One inference as run has it, of which what each thread did is written down: the first "
        "`room` of `*count` events, each when it ends.",
    ),
)


def header(name: str) -> str:
    """NAME.h: what a library of this name offers to C."""
    guard = f"{name.upper()}_H"
    functions = "\n".join(
        f"{_comment(function.description)}\n{function.signature(name)};" for function in _FUNCTIONS
    )
    return f"""\
/* The library {name}. tunekit.h says what its types and codes mean. */
#ifndef {guard}
#define {guard}

#include "tunekit.h"

#ifdef __cplusplus
extern "C" {{
#endif

{functions}
/* The functions above as a table. */
const tunekit_api *{name}_api(void);

#ifdef __cplusplus
}}
#endif
#endif
"""


def library_source(
    name: str,
    manifest: str,
    weights_size: int,
    programs: Sequence[str],
    axes: Sequence[SizedAxis] = (),
) -> str:
    """The C source of what a library offers: its functions, over programs of these symbols.

    Args:
        name: of the library, a C identifier.
        manifest: the text that it can tell of itself.
        weights_size: bytes of its weights.
        programs: symbols of its programs, the best first, each at every size.
        axes: of which the inputs have several sizes.
    """
    sizes = math.prod(len(axis.sizes) for axis in axes)
    size_tables = "".join(
        f"static const int64_t sizes_{number}[] = {{{', '.join(map(str, axis.sizes))}}};\n"
        for number, axis in enumerate(axes)
    )
    axis_table = ", ".join(
        f"{{{c_text(axis.name)}, sizes_{number}, {len(axis.sizes)}, {int(axis.is_padded)}}}"
        for number, axis in enumerate(axes)
    )
    externs = "\n".join(f"extern const tk_program {symbol};" for symbol in programs)
    table = ", ".join(f"&{symbol}" for symbol in programs)
    functions = "\n".join(
        f"{function.signature(name)} {{ {function.call} }}" for function in _FUNCTIONS
    )
    members = ", ".join(f"{name}_{function.name}" for function in _FUNCTIONS)
    return f"""\
#include "model.h"

{header(name)}
extern const unsigned char {name}_weights[] __attribute__((visibility("hidden")));
{externs}
static const tk_program *const programs[] = {{{table}}};
static const char manifest[] = {_bytes(manifest)};
{size_tables}static const tunekit_axis axes[] = {{{axis_table or "{0}"}}};
static const tk_library library = {{
    {c_text(name)}, manifest, {name}_weights, {weights_size}u, programs, {len(programs)},
    {sizes}, {len(axes)}, axes}};

{functions}
const tunekit_api *{name}_api(void) {{
  static const tunekit_api table = {{
      TUNEKIT_ABI_VERSION, sizeof(tunekit_api), {c_text(name)}, {members}}};
  return &table;
}}
"""


def _comment(text: str) -> str:
    return textwrap.fill(text, 96, initial_indent="/* ", subsequent_indent=" * ") + " */"


def c_text(value: str) -> str:
    """A string as C writes it: what is not printable ASCII as bytes of UTF-8, in octal."""
    characters = (
        character
        if " " <= character <= "~" and character not in '\\"?'
        else "".join(f"\\{byte:03o}" for byte in character.encode())
        for character in value
    )
    return f'"{"".join(characters)}"'


def _bytes(value: str) -> str:
    """As an array of bytes: compilers need take no string beyond 4095 characters."""
    return "{" + ",".join(map(str, value.encode())) + ",0}"
