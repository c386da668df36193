"""The recipe of a verb, and the options that are laid over it: each told once, for all verbs.

An option stands for a key of the recipe, and its help is that key's description. Keys that have no
option of their own are given with `--set key=value`.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from tunekit.cli.complete import complete_recipes
from tunekit.errors import UsageError

Verb = Callable[..., None]


@dataclass(frozen=True)
class KeyOption:
    """An option of the command line that stands for keys of a recipe.

    Attributes:
        flag: as it is typed.
        type: of its value.
        keys: that get the value, dotted; the first describes it.
        help: in place of the key's description.
        metavar: what stands for the value in the help.
        envvar: where its value comes from when it is not typed.
        more: the key that gets the other values, where it may be typed several times.
    """

    flag: str
    type: Any
    keys: tuple[str, ...]
    help: str | None = None
    metavar: str | None = None
    envvar: str | None = None
    more: str | None = None

    @property
    def parameter(self) -> str:
        """Its name as a parameter of a function."""
        return self.flag.removeprefix("--").replace("-", "_")

    def as_parameter(self) -> inspect.Parameter:
        """For the signature that typer reads."""
        from tunekit.recipe import description

        option = typer.Option(
            self.flag,
            help=self.help or description(self.keys[0]),
            metavar=self.metavar,
            envvar=self.envvar,
            show_default=False,
        )
        many = list[self.type] if self.more else self.type  # type: ignore[name-defined]
        return _keyword(self.parameter, Annotated[many | None, option])

    def settings(self, value: Any) -> dict[str, Any]:
        """What its value says of the recipe's keys."""
        if self.more is None:
            return dict.fromkeys(self.keys, value)
        first, *others = value
        return {**dict.fromkeys(self.keys, first), self.more: others}


BUDGET = (
    KeyOption("--trials", int, ("tuning.trials",)),
    KeyOption("--trials-per-task", int, ("tuning.trials_per_task",)),
    KeyOption("--trials-per-task-factor", int, ("tuning.trials_per_task_factor",)),
    KeyOption("--min-trials-per-task", int, ("tuning.min_trials_per_task",)),
    KeyOption("--max-seconds", float, ("tuning.max_seconds",)),
    KeyOption("--patience", int, ("tuning.patience",)),
)
"""How much is searched."""

SEARCH = (
    KeyOption("--seed", int, ("tuning.seed",)),
    KeyOption("--repeat", int, ("tuning.measure.repeat",)),
    KeyOption("--min-repeat-ms", int, ("tuning.measure.min_repeat_ms",)),
    KeyOption("--timeout", float, ("tuning.measure.timeout_s",)),
    KeyOption("--jobs", int, ("tuning.measure.jobs",)),
    KeyOption("--overlap", bool, ("tuning.measure.overlap",)),
    KeyOption("--threads", int, ("tuning.measure.threads", "reference.threads")),
)
"""How it is searched and measured."""

BUILD = (
    KeyOption(
        "--target",
        str,
        ("target",),
        help="native (this machine's CPU), a TVM target string or tag, or cuda. Given several "
        "times, the first is tuned for, and the standalone library has kernels for all: it takes "
        "the most capable of those that its CPU can run.",
        metavar="TARGET",
        more="more_targets",
    ),
    KeyOption("--layout", str, ("layout",)),
)
"""What is built."""

CATALOGUE = (KeyOption("--catalogue", str, ("catalogue",), envvar="TUNEKIT_CATALOGUE"),)
"""Where measurements are."""

ARTIFACTS = (KeyOption("--artifacts", Path, ("output",)),)
"""Where libraries are."""

DEVICES = (
    KeyOption(
        "--rpc-tracker",
        str,
        ("tuning.rpc.tracker",),
        help="Measure on devices of this RPC tracker. Default: the recipe's, or TVM_TRACKER_HOST "
        "and TVM_TRACKER_PORT.",
        metavar="HOST:PORT",
    ),
    KeyOption(
        "--rpc-key",
        str,
        ("tuning.rpc.key",),
        help="Kind of device to measure on. Default: the recipe's, or TVM_TRACKER_KEY.",
        metavar="KEY",
    ),
    KeyOption(
        "--cc",
        str,
        ("cc",),
        metavar="COMPILER",
        envvar="TUNEKIT_CC",
    ),
)
"""Where candidates are measured, if not here."""

# What a folder may be given with: not what it is made of.
_OF_FOLDERS = {"--catalogue"}
_RPC_KEYS = frozenset(key for option in DEVICES[:2] for key in option.keys)


@dataclass(frozen=True)
class RecipeVerb:
    """A verb that works on a recipe, and the options that it lets people lay over it.

    With `takes_folders`, the folder of a library that is compiled already may stand in place of a
    recipe; the verb gets its path.

    The signature that typer reads is made when the verb is used: the descriptions of keys need
    pydantic, which the list of all verbs shall not wait for.
    """

    verb: Verb
    options: tuple[KeyOption, ...]
    takes_folders: bool = False

    def command(self) -> Verb:
        """The function for typer: it makes the recipe and calls the verb with it."""
        own = inspect.signature(self.verb, eval_str=True, locals={"Recipe": object})
        # What an option gives a recipe, a verb may take beside it.
        shared = {option.parameter for option in self.options} & own.parameters.keys()
        rest = [own.parameters[name] for name in own.parameters if name not in {"recipe", *shared}]
        options = [option.as_parameter() for option in self.options]

        def run(recipe: str, **values: Any) -> None:
            if self.takes_folders and Path(recipe).is_dir():
                self._require_none(recipe, values)
                loaded: Any = Path(recipe)
            else:
                loaded = self._recipe(recipe, values)
            if values.get("contest") is not None:
                values["selection"] = values["contest"]
            taken = [*shared, *(param.name for param in rest)]
            self.verb(loaded, **{name: values[name] for name in taken})

        parameters = [
            _keyword(
                "recipe",
                _RECIPE_OR_FOLDER if self.takes_folders else _RECIPE,
                default=inspect.Parameter.empty,
            ),
            *(param.replace(kind=inspect.Parameter.KEYWORD_ONLY) for param in rest[:-2]),
            _keyword("input_", INPUTS),
            _keyword("dim", DIMS),
            *options,
            _keyword("set_", _SETTINGS),
            *([_keyword("contest", _CONTEST)] if "selection" in own.parameters else []),
            # Last, as everywhere: --quiet and --verbose.
            *(param.replace(kind=inspect.Parameter.KEYWORD_ONLY) for param in rest[-2:]),
        ]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {param.name: param.annotation for param in parameters}
        run.__doc__ = self.verb.__doc__
        return run

    def _require_none(self, folder: str, values: Mapping[str, Any]) -> None:
        """Refuses options for a library that is compiled already."""
        flags = {"input_": "--input", "dim": "--dim", "set_": "--set"}
        flags |= {option.parameter: option.flag for option in self.options}
        set_for_all = {
            option.parameter
            for option in self.options
            if option.envvar and os.environ.get(option.envvar) == values[option.parameter]
        }
        given = [
            flags[name]
            for name in flags
            if values[name] and name not in set_for_all and flags[name] not in _OF_FOLDERS
        ]
        if given:
            raise UsageError(
                f"{', '.join(given)}: {folder} is compiled already, and nothing of it changes",
                hint="give its recipe in place of the folder",
            )

    def _recipe(self, recipe: str, values: Mapping[str, Any]) -> Any:
        """The recipe that was named, with what was typed laid over it."""
        from tunekit import api
        from tunekit.models.as_recipe import parse_dims, parse_inputs
        from tunekit.recipe import override, parse_settings

        settings = parse_settings(values["set_"] or [])
        names = {key: f"--set {key}" for key in settings}
        for option in self.options:
            value = values[option.parameter]
            if value or (value is not None and option.more is None):
                said = option.settings(value)
                settings.update(said)
                names.update(dict.fromkeys(said, option.flag))
        devices = {key: settings.pop(key) for key in _RPC_KEYS & settings.keys()}
        loaded = api.load_recipe(
            recipe,
            inputs=parse_inputs(values["input_"] or []),
            dims=parse_dims(values["dim"] or []),
            settings=settings,
            names=names,
        )
        if DEVICES[0] not in self.options:
            return override(loaded, devices, names=names)
        return _with_devices(loaded, devices, names)


def recipe_verb(
    *groups: tuple[KeyOption, ...], takes_folders: bool = False
) -> Callable[[Verb], RecipeVerb]:
    """Makes a verb of a function `(recipe, ..., quiet, verbose)`: on the command line the recipe
    is a file or a model (or a library's folder), with the options of these groups."""
    options = tuple(option for group in groups for option in group)
    return lambda verb: RecipeVerb(verb, options, takes_folders)


def _with_devices(recipe: Any, devices: dict[str, Any], names: Mapping[str, str]) -> Any:
    """The recipe with where to measure laid over it: the flags, completed from the environment.

    TVM's variables count where flags or recipe ask for devices, or where they name tracker and key.
    """
    from tunekit.recipe import override
    from tunekit.rpc.tracker import tracker_in_environment

    tracker, key = (option.keys[0] for option in DEVICES[:2])
    environment = {tracker: tracker_in_environment(), key: os.environ.get("TVM_TRACKER_KEY")}
    asked = tracker in devices or key in devices or recipe.tuning.rpc is not None
    if not asked and not all(environment.values()):
        return recipe
    said = {name: value for name, value in environment.items() if value}
    return override(recipe, {**said, **devices}, names=names)


def _keyword(name: str, annotation: Any, default: Any = None) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


_A_RECIPE = (
    "A recipe (a YAML file), or a model: an .onnx or .pt2 file, torchvision:<model>, or "
    "python:<package.module>:<callable>."
)


def _recipe_argument(metavar: str, text: str) -> Any:
    return typer.Argument(
        metavar=metavar, help=text, show_default=False, autocompletion=complete_recipes
    )


_RECIPE = Annotated[str, _recipe_argument("RECIPE", _A_RECIPE)]
_RECIPE_OR_FOLDER = Annotated[
    str,
    _recipe_argument("RECIPE", f"{_A_RECIPE} Or the folder of a library that is compiled already."),
]

INPUTS = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="NAME=SHAPE",
        help="Shape of an input, like ids=1x128, or with a dtype, ids=1x128:int64; several times.",
        show_default=False,
    ),
]

DIMS = Annotated[
    list[str] | None,
    typer.Option(
        "--dim",
        metavar="NAME=SIZE",
        help="A size that the model's file leaves open, like batch=1, or several for one library, "
        "batch=1,2,4; of a recipe's axis the size that is meant. Several times.",
        show_default=False,
    ),
]

_SETTINGS = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any key of the recipe, like tuning.measure.cache=warm; several times. `tunekit "
        "recipe keys` lists them.",
        show_default=False,
    ),
]

_CONTEST = Annotated[bool | None, typer.Option("--contest/--no-contest", hidden=True)]
"""What `--selection` was called."""
