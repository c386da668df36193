"""Weights: read from a file, or random ones that do not hide errors."""

from __future__ import annotations

import contextlib
import importlib
import math
import pickle
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from tunekit.errors import ModelFileError
from tunekit.processes.quiet import quiet
from tunekit.wording import did_you_mean, first_line

_NAMED = 3
_NEGLIGIBLE = 1e-5
_FEWEST_EXAMPLES = 2
_MOST_EXAMPLES = 32
_BATCH_ELEMENTS = 1_500_000
_WRAPPERS = ("state_dict", "model_state_dict", "model")


def load_weights(module: torch.nn.Module, path: Path) -> None:
    """Load a state dict (`torch.save`, or `.safetensors`) into a module.

    Checkpoints that keep it under "state_dict" or "model", and names that begin with "module."
    (DataParallel), are understood.

    Raises:
        ModelFileError: the file is missing or damaged, or names or shapes do not fit.
    """
    state = _unwrapped(_read(path), path)
    own = module.state_dict()
    if all(name.startswith("module.") for name in state) and not any(
        name.startswith("module.") for name in own
    ):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    # Only a counter for training, which older files lack.
    missing = [
        name for name in own if name not in state and not name.endswith("num_batches_tracked")
    ]
    unexpected = [name for name in state if name not in own]
    if missing or unexpected:
        raise ModelFileError(
            f"weights {path} do not fit the model: "
            + "; ".join(
                part
                for part in (
                    _named("missing", missing),
                    _named("not of the model", unexpected)
                    + (did_you_mean(unexpected[0], missing) if unexpected else ""),
                )
                if part
            ),
            hint="save them with torch.save(model.state_dict(), path) from the same model, and "
            "check the recipe's model.arguments",
        )
    wrong = [
        f"{name} is {_shape(value)} in place of {_shape(own[name])}"
        for name, value in state.items()
        if value.shape != own[name].shape
    ]
    if wrong:
        raise ModelFileError(
            f"weights {path} do not fit the model: {_named('of another shape', wrong)}",
            hint="check the recipe's model.arguments, such as the number of classes",
        )
    # Where modules read of which version names and shapes are: the module's own, as was checked.
    of_version: Any = OrderedDict(state)
    of_version._metadata = getattr(own, "_metadata", {})
    module.load_state_dict(of_version, strict=False)


def is_untrained(module: torch.nn.Module) -> bool:
    """Whether every batch normalization (at least one) still has its initial statistics."""
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    return bool(layers) and all(
        layer.running_mean is not None
        and layer.running_var is not None
        and not layer.running_mean.any()
        and bool((layer.running_var == 1).all())
        for layer in layers
    )


def calibrate(module: torch.nn.Module, inputs: Sequence[torch.Tensor], seed: int) -> None:
    """Make a module's initial weights such that its outputs are of order one and tell errors.

    Initial weights hide errors: outputs vanish (1e-14 for EfficientNet), and a layer that starts
    at zero, or a shift that does, can be imported wrongly without a trace. So layers and biases
    that are zero get random values, scales of one a spread, and the statistics of batch
    normalization those of one batch of inputs. Deterministic by `seed`.
    """
    random = torch.Generator().manual_seed(seed)
    _randomize_all(module, random)
    if not any(isinstance(layer, _BatchNorm) for layer in module.modules()):
        return
    with batch_statistics(module):
        _run_batch(module, inputs, random)


def randomize(module: torch.nn.Module, seed: int) -> None:
    """Give layers and biases that are zero random values, and scales of one a spread."""
    _randomize_all(module, torch.Generator().manual_seed(seed))


def _randomize_all(module: torch.nn.Module, random: torch.Generator) -> None:
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            _randomize(name, parameter, random)


@contextlib.contextmanager
def batch_statistics(module: torch.nn.Module) -> Iterator[None]:
    """What runs while this is open gives the batch normalizations their statistics, on average.

    The module is in evaluation mode besides, and after it.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    module.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain average over what is seen
        layer.train()
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        module.eval()


def _run_batch(
    module: torch.nn.Module, inputs: Sequence[torch.Tensor], random: torch.Generator
) -> None:
    """Run one batch, of several examples where the inputs hold one.

    Late layers may have a single position left: statistics over one or two values would blow the
    next input up. Large inputs, which have more positions, get fewer examples.
    """
    elements = max(sum(value.numel() for value in inputs), 1)
    examples = min(_MOST_EXAMPLES, max(_FEWEST_EXAMPLES, _BATCH_ELEMENTS // elements))
    enlarged = [
        torch.cat([value, *(_like(value, random) for _ in range(examples - 1))])
        if value.ndim and value.shape[0] == 1
        else value
        for value in inputs
    ]
    last: Exception | None = None
    for batch in (enlarged, list(inputs)):
        try:
            with torch.no_grad(), quiet():
                module(*batch)
            return
        except (RuntimeError, ValueError, TypeError) as error:
            last = error
    assert last is not None
    raise ModelFileError(
        f"the model does not accept the recipe's inputs: {first_line(last)}",
        hint="check the shapes and dtypes of model.inputs",
    ) from last


def _like(value: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    if value.is_floating_point():
        return torch.randn(value.shape, generator=random).to(value.dtype)
    return value.clone()


def _randomize(name: str, parameter: torch.Tensor, random: torch.Generator) -> None:
    if parameter.numel() == 0 or not parameter.is_floating_point():
        return
    noise = torch.randn(parameter.shape, generator=random).to(parameter.dtype)
    negligible = float(parameter.abs().max()) <= _NEGLIGIBLE
    if name.rpartition(".")[2].endswith("bias"):
        if negligible:
            parameter.copy_(0.1 * noise)
    elif parameter.ndim <= 1:  # scales of a normalization
        if negligible or bool((parameter == 1).all()):
            parameter.copy_(1 + 0.2 * noise.clamp(-2, 2))
    elif negligible:
        # Scales of whole branches have one value for each channel, matrices a sum of many.
        terms = parameter.numel() // parameter.shape[0]
        parameter.copy_(noise / math.sqrt(max(terms, 1)))


def _read(path: Path) -> Any:
    if not path.is_file():
        raise ModelFileError(f"there is no weights file {path}")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        with quiet():
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelFileError(
            f"weights {path} cannot be read: {_reason(error)}",
            hint="save only the weights: torch.save(model.state_dict(), path)",
        ) from error
    except Exception as error:
        raise ModelFileError(
            f"weights {path} cannot be read: damaged, or not a file of torch.save: "
            f"{first_line(error)}"
        ) from error


def _reason(error: Exception) -> str:
    text = str(error)
    if "Weights only load failed" in text or "weights_only" in text:
        return "it holds more than weights, or is damaged"
    return f"damaged, or not a file of torch.save: {first_line(error)}"


def _read_safetensors(path: Path) -> Any:
    try:
        safetensors: Any = importlib.import_module("safetensors.torch")
    except ImportError as error:
        raise ModelFileError(
            f"weights {path} need the package safetensors, which is not installed",
            hint="pip install safetensors, or save the weights with torch.save",
        ) from error
    try:
        return safetensors.load_file(path)
    except Exception as error:
        raise ModelFileError(
            f"weights {path} cannot be read: damaged, or not a safetensors file: "
            f"{first_line(error)}"
        ) from error


def _unwrapped(loaded: Any, path: Path) -> dict[str, torch.Tensor]:
    if isinstance(loaded, Mapping):
        for key in _WRAPPERS:
            inner = loaded.get(key)
            if isinstance(inner, Mapping):
                loaded = inner
                break
        if all(isinstance(value, torch.Tensor) for value in loaded.values()):
            return {str(name): value for name, value in loaded.items()}
    raise ModelFileError(
        f"weights {path} hold no state dict (names with tensors), but {type(loaded).__name__}",
        hint="save them with torch.save(model.state_dict(), path)",
    )


def _named(what: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    shown = ", ".join(names[:_NAMED])
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{what}: {shown}{more}"


def _shape(tensor: torch.Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"
