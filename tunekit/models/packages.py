"""Models that other packages define or ship, as `python:tunekit.models.packages:<function>`.

Each is built from its configuration, with random weights, which `model.weights` replaces; nothing
is downloaded. The function's arguments are the recipe's `model.arguments`.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekit.errors import ModelFileError
from tunekit.wording import did_you_mean

if TYPE_CHECKING:
    from types import ModuleType

    import torch

# What a name of ultralytics begins or ends with, and what is built from its configuration.
_KINDS = {
    r"^rtdetr": "RTDETRDetectionModel",
    r"-cls$": "ClassificationModel",
    r"-obb$": "OBBModel",
    r"-pose$": "PoseModel",
    r"-seg$": "SegmentationModel",
    "": "DetectionModel",
}
# One configuration is for several sizes: yolov8n-seg is that of yolov8-seg.
_SIZE = re.compile(r"(?<=\d)[nslmx](?=-|$)")


def timm(name: str, **arguments: Any) -> torch.nn.Module:
    """A model of timm, by its name there; `arguments` are those of `timm.create_model`."""
    module: torch.nn.Module = _package("timm").create_model(name, pretrained=False, **arguments)
    return module


def transformers(model: str, part: str = "", **config: Any) -> torch.nn.Module:
    """A model class of transformers from its configuration.

    Args:
        model: the class, such as `BertModel`.
        part: the dotted name of a submodule to take in its place, such as `encoder`.
        config: keys of its configuration class.
    """
    package = _package("transformers")
    if not hasattr(package, model):
        raise ModelFileError(f"transformers has no {model}{did_you_mean(model, dir(package))}")
    kind = getattr(package, model)
    module: torch.nn.Module = kind(kind.config_class(**config))
    return module.get_submodule(part) if part else module


def ultralytics(name: str, end2end: bool = False) -> torch.nn.Module:
    """A network of ultralytics.

    Args:
        name: of its configuration: `yolov8n`, `yolo11n-seg`, `rtdetr-l`.
        end2end: has a YOLO with two heads (YOLOv10 and later) use the one that gives each object
            one box.
    """
    from torch import nn

    kind = next(kind for pattern, kind in _KINDS.items() if re.search(pattern, name))
    tasks = _package("ultralytics", "ultralytics.nn.tasks")
    module: Any = getattr(tasks, kind)(_configuration(tasks, name), verbose=False)
    for layer in module.modules():
        # It ran in training mode once, to find its strides.
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
    if end2end:
        if not hasattr(module.model[-1], "one2one_cv2"):
            raise ModelFileError(
                f"{name} has no head that gives each object one box", hint="leave end2end out"
            )
        module.end2end = True
    network: nn.Module = module
    return network


def _configuration(tasks: Any, name: str) -> dict[str, Any]:
    """What ultralytics builds a network from.

    By a name alone it would take a file of the working directory first, such as a recipe.
    """
    shipped = Path(tasks.__file__).parents[1] / "cfg" / "models"
    files = {file.stem: file for file in sorted(shipped.rglob("*.yaml"))}
    file = files.get(name) or files.get(_SIZE.sub("", name))
    if file is None:
        raise ModelFileError(f"ultralytics has no {name}{did_you_mean(name, files)}")
    size = {"scale": tasks.guess_model_scale(name), "yaml_file": f"{name}.yaml"}
    return {**tasks.yaml_model_load(file), **size}


def segmentation(architecture: str, encoder: str, **arguments: Any) -> torch.nn.Module:
    """A network of segmentation-models-pytorch: `unet` on the encoder `resnet34`."""
    package = _package("segmentation-models-pytorch", "segmentation_models_pytorch")
    module: torch.nn.Module = package.create_model(
        architecture, encoder_name=encoder, encoder_weights=None, **arguments
    )
    return module


def shipped_file(package: str, path: str) -> Path:
    """A model file that lies in an installed package.

    Args:
        package: as it is imported, such as `rapidocr_onnxruntime`.
        path: of the file in its folder.
    """
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise _missing(package.replace("_", "-"))
    return Path(found.origin).parent / path


def _package(name: str, module: str = "") -> ModuleType:
    """The package, imported.

    Raises:
        ModelFileError: it is not installed.
    """
    try:
        return importlib.import_module(module or name)
    except ModuleNotFoundError as error:
        raise _missing(name) from error


def _missing(name: str) -> ModelFileError:
    return ModelFileError(
        f"the model is of the package {name}, which is not installed", hint=f"pip install {name}"
    )
