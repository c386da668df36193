"""The libraries that tunekit builds itself: tuned, with default schedules, without any."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekit.runtimes.compiled import AnyLibrary
from tunekit.runtimes.runtime import Preparation, Runtime

if TYPE_CHECKING:
    from tunekit.library import Library

_NEEDS: Mapping[str, str] = {"tvm": "apache-tvm"}


def tuned_plan(library: Library) -> dict[str, Any]:
    """What a runner of a tuned library loads: the standalone library where there is one."""
    manifest = library.manifest
    standalone, selection = manifest.standalone, manifest.selection
    shown = {
        "coverage": manifest.coverage,
        "candidate": selection.shipped if selection is not None else "tuned",
    }
    if standalone is None:
        shown["virtual_machine"] = manifest.not_standalone or "it is from an older tunekit"
    path = library.path if standalone is None else library.folder / standalone.library
    return {
        "file": str(path.resolve()),
        "standalone": None if standalone is None else standalone.name,
        "device": manifest.device,
        "input_names": [tensor.name for tensor in manifest.inputs],
        "shown": shown,
    }


class Tuned(AnyLibrary, Runtime):
    """The library that `tunekit compile` writes, by its C functions."""

    name = "tuned"
    needs = _NEEDS

    @classmethod
    def prepare(cls, preparation: Preparation) -> dict[str, Any]:
        from tunekit.library import tuned_library

        return tuned_plan(tuned_library(preparation.recipe, say=preparation.say))


class TunedAgain(Tuned):
    """The same once more: how far two turns of one contestant differ is what no difference is."""

    name = "tuned-again"
    yardstick = False


class _Untuned(AnyLibrary, Runtime):
    """A library for which nothing was measured: there to say what tuning gained."""

    needs = _NEEDS
    yardstick = False

    @staticmethod
    @abstractmethod
    def build(preparation: Preparation) -> Path:
        """Path of the library for TVM's virtual machine, from the cache if it was built before."""

    @classmethod
    def prepare(cls, preparation: Preparation) -> dict[str, Any]:
        from tunekit.library.default_library import standalone_beside
        from tunekit.library.program import STANDALONE_VARIANT
        from tunekit.machine.target import resolve_target

        path = cls.build(preparation)
        standalone = standalone_beside(path)
        return {
            "file": str((standalone or path).resolve()),
            "standalone": None if standalone is None else STANDALONE_VARIANT,
            "device": resolve_target(preparation.recipe.target).device,
            "input_names": [tensor.name for tensor in preparation.source.inputs],
        }


class Default(_Untuned):
    """The prepared model with default schedules: what tuning starts from."""

    name = "default"

    @staticmethod
    def build(preparation: Preparation) -> Path:
        from tunekit.library import build_default

        return build_default(
            preparation.recipe,
            model_digest=preparation.source.digest,
            cache=preparation.cache,
            say=preparation.say,
        )


class Unscheduled(_Untuned):
    """The model compiled with TVM's own default pipeline: naive loops."""

    name = "unscheduled"
    few_samples = True

    @staticmethod
    def build(preparation: Preparation) -> Path:
        from tunekit.library import build_unscheduled

        return build_unscheduled(
            preparation.recipe,
            model_digest=preparation.source.digest,
            cache=preparation.cache,
            say=preparation.say,
        )
