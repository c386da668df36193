"""The libraries that tunekit builds itself: tuned, with default schedules, without any."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from tunekit.runtimes.relax_vm import RelaxLibrary
from tunekit.runtimes.runtime import Preparation, Runtime


class _Own(RelaxLibrary, Runtime):
    needs: ClassVar[Mapping[str, str]] = {"tvm": "apache-tvm"}


class Tuned(_Own):
    """The library that `tunekit compile` writes: of those that the records give, the fastest."""

    name = "tuned"

    @classmethod
    def prepare(cls, preparation: Preparation) -> dict[str, Any]:
        from tunekit.library import tuned_library

        library = tuned_library(preparation.recipe, say=preparation.say)
        manifest = library.manifest
        contest = manifest.selection
        return {
            "file": str(Path(library.path).resolve()),
            "device": manifest.device,
            "input_names": [tensor.name for tensor in manifest.inputs],
            "shown": {
                "coverage": manifest.coverage,
                "candidate": contest.shipped if contest is not None else "tuned",
            },
        }


class _Untuned(_Own):
    """A library for which nothing was measured: there to say what tuning gained."""

    yardstick = False

    @staticmethod
    @abstractmethod
    def build(preparation: Preparation) -> Path:
        """Path of the library, from the cache if it was built before."""

    @classmethod
    def prepare(cls, preparation: Preparation) -> dict[str, Any]:
        from tunekit.machine.target import resolve_target

        return {
            "file": str(cls.build(preparation).resolve()),
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

        return build_unscheduled(preparation.recipe, cache=preparation.cache, say=preparation.say)
