"""`torchvision:<model>`: a builder of torchvision's registry, with random weights."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekit.cache import ContentCache, KeyPart
from tunekit.errors import ModelFileError
from tunekit.models.binding import bound_values, given_inputs
from tunekit.wording import did_you_mean, first_line

if TYPE_CHECKING:
    import torch

    from tunekit.models.sources.torch_model import TorchModel
    from tunekit.recipe.schema import ModelSpec


def fingerprint(spec: ModelSpec) -> Mapping[str, KeyPart]:
    """Nothing beyond the recipe and torchvision's version determines the model."""
    return {}


def load(
    spec: ModelSpec, digest: str, cache: ContentCache | None, state: Path | None
) -> TorchModel:
    """The model; raises ModelFileError for a name that torchvision does not have."""
    import torchvision.models

    from tunekit.models.sources.torch_model import TorchModel, Weights

    name = spec.source.partition(":")[2]
    # Its documentation names some by their module: video.r3d_18, detection.ssd300_vgg16.
    name = name.rpartition(".")[2]
    known = torchvision.models.list_models()
    if name.lower() not in known:
        raise ModelFileError(
            f"torchvision has no model {name!r}{did_you_mean(name, known)}",
            hint="python -c 'import torchvision.models as m; print(*m.list_models())' lists them",
        )
    arguments: dict[str, Any] = {"weights": None, **spec.arguments}
    builder = torchvision.models.get_model_builder(name)
    finds = builder.__module__.startswith("torchvision.models.detection.")
    # Detection and segmentation models would download weights for a part of them.
    if "weights_backbone" in inspect.signature(builder).parameters:
        arguments.setdefault("weights_backbone", None)

    def build() -> torch.nn.Module:
        try:
            module: torch.nn.Module = builder(**arguments)
        except (TypeError, ValueError, KeyError) as error:
            raise ModelFileError(
                f"torchvision's {name} does not take these arguments: {first_line(error)}",
                hint="check the recipe's model.arguments",
            ) from error
        return module

    kind = TorchModel
    if finds or spec.detector is not None:
        from tunekit.models.sources.detector_model import DetectorModel

        kind = DetectorModel
    return kind(
        name,
        digest,
        spec.seed,
        given_inputs(spec),
        build,
        Weights(
            spec.weights,
            state,
            random=arguments["weights"] is None,
            cache=cache,
            made_at=spec.smallest if spec.size else None,
        ),
        bound_values(spec),
        spec.detector,
    )
