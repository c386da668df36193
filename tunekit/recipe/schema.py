"""What a recipe can say: frozen pydantic models, strict about types, with no unknown keys.

The docstring under each field is its description in the JSON Schema that editors use.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from tunekit.environment import DEFAULT_CATALOGUE
from tunekit.recipe.axes import (
    AxisName,
    AxisSpec,
    Size,
    as_suffix,
    axes_may_be_lists,
    each_size,
    require_axes,
    require_size,
    with_named_axes,
)
from tunekit.recipe.detector import DetectorSpec
from tunekit.recipe.inputs import InputSpec
from tunekit.recipe.part import RecipePart
from tunekit.recipe.values import (
    FOLDER,
    REFERENCE_RUNTIMES,
    SOURCE_PREFIXES,
    OneTarget,
    ReferenceRuntime,
    bad,
    distinct,
    existing_file,
    known_source,
    plain,
    source_folder,
    with_keys_of_today,
)

Layout = Literal["NCHW", "NHWC", "NCHWc", "auto"]
Algorithms = Literal["auto", "direct"]

DEFAULT_TRIALS = 512
_LARGEST_SEED = 2**31 - 1
_TRACKER = r"^(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+)(:[0-9]{1,5})?$"  # host, host:port, [IPv6]:port


class ModelSpec(RecipePart):
    """The model: where it comes from and what goes into it."""

    model_config = ConfigDict(json_schema_extra=axes_may_be_lists)

    source: Annotated[str, Field(min_length=1)]
    """torchvision:<model>, python:<package.module>:<callable>, or a .pt2 or .onnx file
    (relative to the recipe)."""

    folder: Annotated[Path | None, Field(strict=False)] = None
    """Where modules of a python: source are looked for first (relative to the recipe); by default
    the recipe's own folder. The working directory and PYTHONPATH come after it."""

    arguments: Annotated[dict[str, Any], BeforeValidator(plain)] = Field(default_factory=dict)
    """Keyword arguments for the torchvision builder or the callable."""

    weights: Annotated[Path | None, Field(strict=False)] = None
    """A state dict saved by torch.save (relative to the recipe); by default the weights are
    random."""

    seed: Annotated[int, Field(ge=0, le=_LARGEST_SEED)] = 0
    """Seed of random weights and of the sample inputs."""

    precision: Literal["model", "float32"] = "model"
    """What floats are computed in, inputs and outputs aside: as the model says, or float32."""

    axes: dict[AxisName, AxisSpec] = Field(default_factory=dict)
    """Axes of several sizes, by names that stand in the shapes of inputs: {batch: [1, 2, 4, 8]}.
    The model is tuned for all of them in one session, and one library runs them all. Several axes
    have each size of one with each of the others."""

    size: dict[AxisName, int] = Field(default_factory=dict)
    """Of each axis the one size that is meant, for example {batch: 4}; by default all are."""

    inputs: Annotated[tuple[InputSpec, ...], Field(strict=False)] = ()
    """The inputs in order; may be left out for .pt2 and .onnx files with fixed shapes."""

    detector: DetectorSpec | None = None
    """How a detector is compiled, if it is one and not all as by default."""

    @model_validator(mode="before")
    @classmethod
    def _axes_have_names(cls, data: Any) -> Any:
        return with_named_axes(data)

    @model_validator(mode="before")
    @classmethod
    def _beside_the_recipe(cls, data: Any, info: ValidationInfo) -> Any:
        of_code = isinstance(data, dict) and str(data.get("source")).startswith("python:")
        return {"folder": ".", **data} if of_code and FOLDER in (info.context or {}) else data

    @field_validator("source")
    @classmethod
    def _known_source(cls, source: str, info: ValidationInfo) -> str:
        return known_source(source, info)

    @field_validator("folder")
    @classmethod
    def _existing_folder(cls, folder: Path | None, info: ValidationInfo) -> Path | None:
        return None if folder is None else source_folder(folder, info)

    @field_validator("weights")
    @classmethod
    def _existing_weights(cls, weights: Path | None, info: ValidationInfo) -> Path | None:
        return None if weights is None else existing_file(weights, info)

    @field_validator("inputs")
    @classmethod
    def _distinct_inputs(cls, inputs: tuple[InputSpec, ...]) -> tuple[InputSpec, ...]:
        names = [spec.name for spec in inputs]
        for name in names:
            if names.count(name) > 1:
                raise bad(f"two inputs are named {name!r}; names must differ")
        return inputs

    @model_validator(mode="after")
    def _fits_source(self) -> ModelSpec:
        if self.is_file:
            if self.detector is not None:
                raise bad(f"detector cannot be given for {self.source}: only torch modules are")
            for key in ("weights", "arguments"):
                if getattr(self, key):
                    raise bad(f"{key} cannot be given for {self.source}: the file holds its own")
        elif all(item.is_bound for item in self.inputs):
            raise bad(
                "inputs are missing: at least one with a name and a shape, for example "
                "{name: input, shape: [1, 3, 224, 224]}"
            )
        return self

    @model_validator(mode="after")
    def _known_axes(self) -> ModelSpec:
        require_axes(self.axes, [item.shape for item in self.inputs])
        require_size(self.axes, self.size)
        return self

    @property
    def each_size(self) -> tuple[Size, ...]:
        """The sizes that are meant, where there are several."""
        return () if self.size else tuple(each_size(self.axes))

    def at(self, size: Size) -> ModelSpec:
        """The model of one size."""
        return self.model_copy(update={"size": dict(size)})

    @property
    def smallest(self) -> ModelSpec:
        """The model at its smallest size, which random weights are made at: all sizes have them."""
        return self.at({name: axis.sizes[0] for name, axis in self.axes.items()})

    def shape_of(self, item: InputSpec) -> tuple[int, ...]:
        """The shape of an input at the model's one size."""
        return tuple(
            extent if isinstance(extent, int) else self.size[extent] for extent in item.shape
        )

    @property
    def is_file(self) -> bool:
        """Whether the source is a model file, and not something built by Python code."""
        return self.source.partition(":")[0] not in SOURCE_PREFIXES


class Measure(RecipePart):
    """How a candidate is built and timed."""

    repeat: Annotated[int, Field(ge=1, le=1000)] = 60
    """Timed runs of one candidate; all are kept. Kernels longer than min_repeat_ms get fewer."""

    min_repeat_ms: Annotated[int, Field(ge=0, le=60_000)] = 1
    """Shortest timed run in milliseconds: the kernel is called as often as that takes."""

    timeout_s: Annotated[float, Field(gt=0, le=3600)] = 10.0
    """Seconds for all runs of one candidate; longer counts as a failure."""

    build_timeout_s: Annotated[float, Field(gt=0, le=3600)] = 30.0
    """Seconds to build one candidate; longer counts as a failure."""

    jobs: Annotated[int | None, Field(ge=1, le=1024)] = None
    """Candidates built at once; by default as many as there are usable cores."""

    threads: Annotated[int | None, Field(ge=1, le=1024)] = None
    """Threads a candidate runs with; by default as many as there are usable cores."""

    cache: Literal["auto", "warm", "weights", "flush"] = "auto"
    """What a timed run finds in the CPU's caches: everything (warm), everything but the weights,
    which then come from memory (weights), or its first argument only (flush). auto is weights
    where the model's constants take more than half of the last cache, as they then come from
    memory in each run of the model too, and warm elsewhere."""

    overlap: bool = False
    """Begin to measure while other candidates of the batch are still being built: sooner done,
    but builds disturb what is measured beside them."""


class Rpc(RecipePart):
    """Devices to measure on, in place of this machine: those of a key of an RPC tracker."""

    tracker: Annotated[str, Field(pattern=_TRACKER)]
    """Where the tracker listens, as host:port; port 9190 where none is given."""

    key: Annotated[str, Field(pattern=r"^[^\s:]+$", max_length=64)]
    """Kind of device to ask it for: what the devices' servers were started with as --key."""

    wait_s: Annotated[float, Field(gt=0, le=86_400)] = 60.0
    """Seconds to wait for a device while the tracker has none of the key."""


class Tuning(RecipePart):
    """The budget of the search, and how it measures."""

    trials: Annotated[int | None, Field(ge=0, le=10_000_000)] = None
    """Candidates to measure in all. By default 512, unless trials_per_task_factor is given."""

    trials_per_task: Annotated[int | None, Field(ge=1, le=1_000_000)] = None
    """At most this many candidates for one task."""

    trials_per_task_factor: Annotated[int | None, Field(ge=1, le=1_000_000)] = None
    """Candidates in all = this x the number of tasks; in place of trials."""

    min_trials_per_task: Annotated[int | None, Field(ge=1, le=1_000_000)] = None
    """Every task has this many trials before any gets more; by default up to 16, less where half
    the budget would not reach, and less for tasks that hardly take time."""

    max_seconds: Annotated[float | None, Field(gt=0, le=1e9)] = None
    """Wall seconds that the session may search, all its runs together; by default as long as the
    trials take. The running batch is finished, and the best are decided on after it."""

    patience: Annotated[int | None, Field(ge=1, le=10_000_000)] = None
    """Stop when this many trials brought the estimated latency down by less than 1 %."""

    seed: Annotated[int, Field(ge=0, le=_LARGEST_SEED)] = 0
    """Seed of the search."""

    measure: Measure = Measure()
    """How a candidate is built and timed."""

    rpc: Rpc | None = None
    """Where a candidate is timed, if not on this machine."""

    @model_validator(mode="after")
    def _floor_below_ceiling(self) -> Tuning:
        floor, ceiling = self.min_trials_per_task, self.trials_per_task
        if floor is not None and ceiling is not None and floor > ceiling:
            raise bad(
                f"min_trials_per_task ({floor}) is more than trials_per_task ({ceiling}), which is "
                "the most that a task gets"
            )
        return self

    @model_validator(mode="after")
    def _evicted_here(self) -> Tuning:
        if self.rpc is not None and self.measure.cache == "weights":
            raise bad(
                "measure.cache cannot be weights where candidates are measured on other machines: "
                "warm and flush can be had there"
            )
        return self

    @model_validator(mode="after")
    def _one_budget(self) -> Tuning:
        if self.trials is not None and self.trials_per_task_factor is not None:
            raise bad(
                "trials and trials_per_task_factor are both given; keep one: trials is the number "
                "in all, trials_per_task_factor is multiplied by the number of tasks"
            )
        return self

    def budget(self, tasks: int) -> int:
        """Candidates to measure in all for a model of so many tasks."""
        if self.trials_per_task_factor is not None:
            total = self.trials_per_task_factor * tasks
        else:
            total = DEFAULT_TRIALS if self.trials is None else self.trials
        if self.trials_per_task is not None:
            total = min(total, self.trials_per_task * tasks)
        return total


class Reference(RecipePart):
    """What the library is compared with, and how closely it must agree."""

    runtimes: Annotated[
        tuple[ReferenceRuntime, ...], Field(strict=False), AfterValidator(distinct)
    ] = REFERENCE_RUNTIMES
    """Runtimes that `tunekit bench` compares the tuned library with."""

    relative_error: Annotated[float, Field(gt=0, le=1)] = 1e-3
    """Largest allowed (max abs error / max abs reference) of the compiled library."""

    import_relative_error: Annotated[float, Field(gt=0, le=1)] = 1e-3
    """Largest allowed (max abs error / max abs reference) of the imported model."""

    threads: Annotated[int | None, Field(ge=1, le=1024)] = None
    """Threads every runtime gets; by default as many as there are usable cores."""


class Recipe(RecipePart):
    """What is wanted: a model, a target, a budget, and what the result is compared with."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
    """Names the folder of the results: letters, digits, dots, dashes and underscores."""

    model: ModelSpec
    """The model: where it comes from and what goes into it."""

    target: OneTarget = "native"
    """native (this machine's CPU), a TVM target string, tag or mapping, or cuda."""

    more_targets: Annotated[tuple[OneTarget, ...], Field(strict=False)] = ()
    """Further CPUs that the standalone library has kernels for: it takes the most capable of those
    that its CPU can run. Only target is tuned for; these get the records that there are."""

    layout: Layout = "auto"
    """Layout of convolutions: NCHWc blocks channels by the vector width; auto chooses."""

    algorithms: Algorithms = "auto"
    """Algorithms of convolutions: auto measures Winograd's beside the direct one where it can
    win, and keeps the faster; direct rounds as the framework does."""

    winograd_relative_error: Annotated[float, Field(gt=0, le=1)] = 1e-4
    """Winograd's algorithms are measured only where their rounding error (max abs error / max abs
    output of the convolution, in float32 on normally distributed numbers) is at most this. With
    512 channels F(2x2, 3x3) errs by 8e-7 and F(4x4, 3x3) by 2e-5."""

    huge_pages: bool = True
    """The library asks Linux for huge pages for its activations, and in TVM's virtual machine for
    its weights, at its first run: less time for address translation in all others. Candidates are
    timed in such pages too."""

    cc: Annotated[str | None, Field(min_length=1)] = None
    """Compiler that links the library, with options if need be, such as aarch64-linux-gnu-g++; by
    default this machine's own, which links for its own architecture."""

    tuning: Tuning = Tuning()
    """The budget of the search, and how it measures."""

    reference: Reference = Reference()
    """What the library is compared with, and how closely it must agree."""

    catalogue: Annotated[str, Field(min_length=1)] = DEFAULT_CATALOGUE
    """Where measurements are kept: a SQLite file (relative to the working directory) or any
    SQLAlchemy URL."""

    output: Annotated[Path, Field(strict=False)] = Path("artifacts")
    """Folder under which the library gets a folder of its own (relative to the working
    directory)."""

    @model_validator(mode="before")
    @classmethod
    def _keys_of_older_recipes(cls, data: Any) -> Any:
        return with_keys_of_today(data)

    def at(self, size: Size) -> Recipe:
        """The recipe of one size of its model's: its library has a folder within this one's."""
        return self.model_copy(
            update={
                "name": f"{self.name}-{as_suffix(size)}",
                "model": self.model.at(size),
                "output": self.output / self.name,
            }
        )

    @property
    def at_each_size(self) -> tuple[Recipe, ...]:
        """The recipes of its sizes; itself where its model has one."""
        return tuple(map(self.at, self.model.each_size)) or (self,)


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a recipe, for editors."""
    schema = Recipe.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
