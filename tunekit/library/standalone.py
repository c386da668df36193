"""The standalone library that ships beside the one for TVM's virtual machine: of the same kernels,
and with the same outputs, bit by bit."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tunekit.cache import file_digest
from tunekit.errors import CompileError, SandboxError
from tunekit.library.built_variant import BuiltVariant, export_variant
from tunekit.library.manifest import AxisEntry, OtherTargetEntry, StandaloneEntry
from tunekit.library.other_targets import OtherTarget, other_targets
from tunekit.library.program import program_of, toolchain_of
from tunekit.library.variants import assemble
from tunekit.machine.cpu_features import features_of, instruction_sets
from tunekit.machine.target import why_not_here
from tunekit.models.sizes import input_axes
from tunekit.processes.sandbox import run_library
from tunekit.recipe.axes import in_words
from tunekit.standalone.axes import SizedAxis
from tunekit.standalone.build import Linked, Part, build
from tunekit.version import __version__
from tunekit.wording import Say

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from tunekit.catalogue import Catalogue
    from tunekit.graph.pipeline import PreparedModel
    from tunekit.graph.sizes import PreparedSizes
    from tunekit.library.verify import ReferenceOutputs
    from tunekit.machine.target import ResolvedTarget

    Array = npt.NDArray[np.generic]

_TIMEOUT_S = 1800.0
# What C would not take as the beginning of a name is given this one.
_PREFIX = "model_"
# NAME.h would hide a header of C or POSIX, one that theirs include, or one of the bundle's own;
# libNAME.so a library that programs link; NAME_open a function of POSIX or of the runtime's.
_TAKEN = re.compile(
    "assert|complex|ctype|errno|fenv|float|inttypes|iso646|limits|locale|math|setjmp|signal|"
    "std[a-z]+|string|tgmath|threads|time|uchar|wchar|wctype|"
    "aio|cpio|dirent|dlfcn|fcntl|fmtmsg|fnmatch|ftw|glob|grp|iconv|langinfo|libgen|monetary|mqueue|"
    "ndbm|netdb|nl_types|poll|pthread|pwd|regex|sched|search|semaphore|spawn|strings|stropts|syslog|"
    "tar|termios|trace|ulimit|unistd|utime|utmpx|wordexp|"
    "alloca|endian|error|features|link|memory|"
    "matched|read_input|relative_error|"
    "c|dl|gcc|m|rt|util|"
    "dbm|mq|sem|shm|tk|tunekit"
)


def c_name(name: str) -> str:
    """A recipe's name as the names of C functions, a header and a library may begin."""
    identifier = re.sub(r"\W", "_", name, flags=re.ASCII)
    if not identifier[0].isalpha() or _TAKEN.fullmatch(identifier):
        return _PREFIX + identifier
    return identifier


@dataclass(frozen=True)
class Chosen:
    """What ships of a model: of one that has several sizes, at one of them.

    Attributes:
        prepared: the model.
        built: the variant that ships.
        reference: the model's own outputs.
        others: the model for further targets.
    """

    prepared: PreparedModel
    built: BuiltVariant
    reference: ReferenceOutputs
    others: Sequence[OtherTarget] = ()


def write_standalone(
    sizes: PreparedSizes,
    chosen: Sequence[Chosen],
    folder: Path,
    workshop: Path,
    say: Say,
    *,
    catalogue: Catalogue,
) -> StandaloneEntry | str:
    """Writes the standalone library of what ships into `folder`.

    Args:
        sizes: the model.
        chosen: what ships of it at each size.
        folder: gets the library.
        workshop: takes what is made on the way.
        say: told what is done, a line at a time.
        catalogue: has the records of the kernels for further targets.

    Returns:
        What the manifest says of it, or why there is none.
    """
    try:
        toolchain_of(sizes.recipe, sizes.target)
        chosen = [
            replace(one, others=_other_targets(one, catalogue, workshop / f"size{number}", say))
            for number, one in enumerate(chosen)
        ]
        built = link_standalone(sizes, chosen, folder, workshop)
    except (CompileError, SandboxError) as error:
        if os.strerror(errno.ENOSPC) in str(error):
            raise  # which says nothing of the model
        say(f"warning: no standalone library: {error.message}")
        return error.message
    target, name = sizes.target, c_name(sizes.recipe.name)
    return StandaloneEntry(
        library=built.shared.name,
        name=name,
        sha256=file_digest(built.shared),
        size_bytes=built.shared.stat().st_size,
        weights_bytes=built.weights,
        features=tuple(instruction_sets(features_of(target.tvm), target.architecture)),
        other_targets=other_entries(chosen),
        axes=tuple(
            AxisEntry(name=axis.name, sizes=tuple(axis.sizes), is_padded=axis.is_padded)
            for axis in _axes(sizes)
        ),
    )


def _other_targets(
    one: Chosen, catalogue: Catalogue, workshop: Path, say: Say
) -> Sequence[OtherTarget]:
    workshop.mkdir()
    return other_targets(one.prepared, catalogue, one.reference, workshop, say)


def other_entries(chosen: Sequence[Chosen]) -> tuple[OtherTargetEntry, ...]:
    """What the manifest says of the further targets, with the trials of all sizes."""
    entries = []
    for of_target in zip(*(one.others for one in chosen), strict=True):
        trials = sorted({trial for other in of_target for trial in other.entry.trial_ids})
        entries.append(of_target[0].entry.model_copy(update={"trial_ids": tuple(trials)}))
    return tuple(entries)


def link_standalone(
    sizes: PreparedSizes,
    chosen: Sequence[Chosen],
    folder: Path,
    workshop: Path,
    *,
    static: bool = False,
) -> Linked:
    """Links the standalone library of what ships, at every size and for every target, into
    `folder`; what this machine can run of it gives the same outputs, bit by bit, as TVM's virtual
    machine.

    Args:
        sizes: the model.
        chosen: what ships of it at each size.
        folder: gets the library.
        workshop: takes what is made on the way.
        static: make an archive, too.

    Raises:
        CompileError: it cannot be linked, or gives something else.
        SandboxError: it crashed or hung.
    """
    name, toolchain = c_name(sizes.recipe.name), toolchain_of(sizes.recipe, sizes.target)
    # The same target at every size, one after another.
    further = zip(*(one.others for one in chosen), strict=True)
    targets = [
        list(chosen),
        *(
            [
                Chosen(other.prepared, other.built, one.reference)
                for one, other in zip(chosen, others, strict=True)
            ]
            for others in further
        ),
    ]
    # Of those that its CPU can run, the library takes the first.
    targets.sort(key=lambda of_target: _capability(of_target[0].prepared.target), reverse=True)
    axes = _axes(sizes)
    parts = [
        [
            _sized(part_of(one, workshop / f"part{number}-{size}"), one.prepared, sizes)
            for size, one in enumerate(of_target)
        ]
        for number, of_target in enumerate(targets)
    ]
    linked = build(
        name,
        [part for of_target in parts for part in of_target],
        folder,
        toolchain,
        manifest=library_summary(sizes),
        static=static,
        axes=axes,
    )
    path: Path | None = linked.shared
    for number, of_target in enumerate(targets):
        first = of_target[0]
        if first.built.verified is None or why_not_here(first.prepared.target) is not None:
            continue
        if path is None:
            # Behind the one that is taken here, so it is compared by itself.
            alone = workshop / f"alone{number}"
            alone.mkdir()
            path = build(name, parts[number], alone, toolchain, axes=axes).shared
        for one in of_target:
            require_equal(path, name, one)
        path = None
    return linked


def _axes(sizes: PreparedSizes) -> list[SizedAxis]:
    """The axes of a library of several sizes; none where it has one."""
    model = sizes.recipe.model
    axes = model.axes if model.each_size else {}
    return [SizedAxis(name, axis.sizes, axis.is_padded) for name, axis in axes.items()]


def _sized(part: Part, prepared: PreparedModel, sizes: PreparedSizes) -> Part:
    """A part that knows which size it is for, where there are several."""
    if not _axes(sizes):
        return part
    model = prepared.recipe.model
    program = replace(
        part.program,
        size=[model.size[name] for name in model.axes],
        input_axes=input_axes(model, part.program.input_names),
        output_axes=sizes.output_axes,
    )
    return replace(part, program=program)


def _capability(target: ResolvedTarget) -> tuple[int, int]:
    features = instruction_sets(features_of(target.tvm), target.architecture)
    return target.vector_bits, len(features)


def part_of(one: Chosen, workshop: Path) -> Part:
    """What the standalone library of what ships is built from.

    Raises:
        NotStandalone: the model needs TVM's virtual machine.
        CompileError: it cannot be compiled.
    """
    prepared, shipped = one.prepared, one.built
    exported = shipped.exported
    if exported is None:
        # From the cache, where only the library is.
        workshop.mkdir()
        assembled = assemble(shipped.variant, prepared)
        exported = export_variant(assembled, prepared, workshop / "again.so")
    assert exported.kernels is not None
    program = program_of(prepared, exported, one.reference, shipped.verified)
    return Part(program, exported.kernels)


def require_equal(path: Path, name: str, one: Chosen) -> None:
    """Refuses a library whose outputs are not the same, bit by bit, as the other one's.

    Raises:
        CompileError: they are not.
        SandboxError: it crashed or hung.
    """
    assert one.built.verified is not None
    actual = run_library(
        path,
        [*one.reference.inputs, one.reference.self_test],
        input_names=[spec.name for spec in one.prepared.source.inputs],
        threads=one.prepared.target.cores,
        timeout_s=_TIMEOUT_S,
        standalone=name,
    )
    for number, (expected, outputs) in enumerate(
        zip(one.built.verified.outputs, actual, strict=True)
    ):
        if not all(_same_bits(*pair) for pair in zip(expected, outputs, strict=True)):
            size = in_words(one.prepared.recipe.model.size)
            raise CompileError(
                f"its outputs are not those of model.so, on input set {number + 1}"
                + (f" at {size}" if size else ""),
                hint="this is a defect of tunekit: please report it",
            )


def _same_bits(first: Array, second: Array) -> bool:
    return first.shape == second.shape and first.tobytes() == second.tobytes()


def library_summary(sizes: PreparedSizes) -> str:
    """What a library tells of itself, as JSON."""
    axes = {axis.name: list(axis.sizes) for axis in _axes(sizes)}
    return json.dumps(
        {
            "name": sizes.recipe.name,
            "tunekit": __version__,
            "target": json.loads(sizes.target.spec),
            "more_targets": list(sizes.recipe.more_targets),
            "layout": sizes.recipe.layout,
            "model_digest": sizes.digest,
            **({"axes": axes} if axes else {}),
        }
    )
