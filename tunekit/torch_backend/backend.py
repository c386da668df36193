"""What torch calls for `torch.compile(model, backend="tunekit")`."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule

from tunekit.errors import Interrupted, TunekitError
from tunekit.torch_backend.graph import TrackedWeights, WeightedGraph
from tunekit.torch_backend.library import check_options, library_of, run

# As many as dynamo makes graphs of one function.
_MOST_MODELS = 8


def tunekit_backend(
    graph: GraphModule,
    examples: Sequence[Any],
    *,
    options: Mapping[str, Any] | None = None,
    mode: str | None = None,
) -> Callable[..., Any]:
    """Compiles a graph with the weights that the model has now.

    The library is made at the first call, and kept in the cache: another process with the same
    model, options and machine starts with it at once. What cannot be compiled runs in PyTorch, and
    a warning says why; so does a model once its weights have changed.

        model = torch.compile(model.eval(), backend="tunekit", options={"trials": 200})
        with torch.inference_mode():
            model(image)

    Args:
        graph: what dynamo found.
        examples: the arguments that it was found with, weights among them.
        options: `trials` to tune, with this budget; without it the library is compiled with what
            the catalogue knows. `catalogue`, and any other key of a recipe, dotted.
        mode: torch's, which means nothing here.

    Returns:
        A function of the graph's arguments.

    Raises:
        UsageError: there is no such option, or it is refused.
    """
    check_options(options or {})
    reason = getattr(graph, "compile_subgraph_reason", None)
    if reason is not None and reason.graph_break:
        text = " ".join(reason.reason.split())
        _warn(f"the model is compiled in parts, with Python in between: {text}")
    return _Compiled(graph, examples, options or {})


@dataclass(eq=False)
class _Model:
    """What runs a graph with one model's weights."""

    weights: TrackedWeights
    run: Callable[..., Any]


class _Compiled:
    """A graph as a function, which has its library made when it is first called: torch is busy
    with a trace of its own before. Models that share the graph have a library each."""

    def __init__(
        self, graph: GraphModule, examples: Sequence[Any], options: Mapping[str, Any]
    ) -> None:
        self._eager = graph
        self._graph = WeightedGraph(graph, examples)
        self._options = options
        self._models: list[_Model] = []
        self._is_full = False
        self._lock = threading.Lock()

    def __call__(self, *arguments: Any) -> Any:
        model = self._known(arguments)
        if model is None:
            with self._lock:
                # Unless another thread was faster.
                model = self._known(arguments) or self._new(arguments)
        return self._eager(*arguments) if model is None else model.run(*arguments)

    def _known(self, arguments: Sequence[Any]) -> _Model | None:
        return next((model for model in self._models if model.weights.are_in(arguments)), None)

    def _new(self, arguments: Sequence[Any]) -> _Model | None:
        """A model that was not met yet; None where there are too many."""
        self._models = [model for model in self._models if not model.weights.are_gone]
        if len(self._models) < _MOST_MODELS:
            self._models.append(self._model_of(arguments))
            return self._models[-1]
        # Somebody makes new weights for each call: no library would be run twice.
        if not self._is_full:
            _warn(f"{_MOST_MODELS} models share a graph; what others there are run in PyTorch")
        self._is_full = True
        return None

    def _model_of(self, arguments: Sequence[Any]) -> _Model:
        model = _Model(TrackedWeights(self._graph.weights(arguments)), self._eager)
        try:
            self._graph.require_compilable(arguments)
            # What is drawn on the way is not missing in the model's own numbers.
            with torch.random.fork_rng(devices=[]):
                library = library_of(self._graph, arguments, self._options)
        except Interrupted:
            raise
        except TunekitError as error:
            hint = f" ({error.hint})" if error.hint else ""
            _warn(f"a graph stays with PyTorch: {error.message}{hint}")
            return model

        def call(*arguments: Any) -> Any:
            if model.weights.were_written(arguments):
                _warn(
                    "the model's weights have changed since it was compiled, so it runs in PyTorch "
                    "(torch.compiler.reset() and torch.compile compile it again)"
                )
                model.run = self._eager
                return self._eager(*arguments)
            return run(library, self._graph.inputs(arguments))

        model.run = call
        return model


def _warn(text: str) -> None:
    warnings.warn(f"tunekit: {text}", stacklevel=2)
