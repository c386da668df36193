"""Files of a model for the runtimes that a library is compared with; made once, kept by content."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tunekit.cache import ContentCache, content_key
from tunekit.errors import ModelError
from tunekit.models.spec import code_digest

if TYPE_CHECKING:
    from tunekit.models.source import SourceModel

_ONNX_KIND = "onnx"
_ONNX_FILE = "model.onnx"


def onnx_file(source: SourceModel, cache: ContentCache) -> Path:
    """The model as an ONNX file in the cache, with the inputs' names and fixed shapes.

    Raises:
        ImportFailed: torch cannot export it.
    """
    key = content_key(_ONNX_KIND, source.digest, code_digest())
    if cache.get(_ONNX_KIND, key) is None:
        with cache.put(_ONNX_KIND, key) as folder:
            source.write_onnx(folder / _ONNX_FILE)
    return _kept(cache, _ONNX_KIND, key) / _ONNX_FILE


def torch_state(source: SourceModel, cache: ContentCache) -> Path:
    """The weights of a torch model as a file, for `load_source(spec, state=...)` elsewhere.

    A process that loads it has the same numbers without calibrating, or reading, them again.

    Raises:
        ModelError: the model is not torch's.
    """
    from tunekit.models.sources.preprocessed import PreprocessedModel
    from tunekit.models.sources.torch_model import STATE_FILE, STATE_KIND, TorchModel, write_state

    if isinstance(source, PreprocessedModel):
        source = source.own
    if not isinstance(source, TorchModel):
        raise ModelError(f"{source.name} is an ONNX model: it has no torch weights")
    key = source.state_key
    if cache.get(STATE_KIND, key) is None:
        with cache.put(STATE_KIND, key) as folder:
            write_state(source, folder / STATE_FILE)
    return _kept(cache, STATE_KIND, key) / STATE_FILE


def _kept(cache: ContentCache, kind: str, key: str) -> Path:
    folder = cache.get(kind, key)
    if folder is None:
        raise ModelError(
            f"what was just written to the cache {cache.root} is damaged",
            hint="is the disk full or failing? TUNEKIT_CACHE chooses another folder",
        )
    return folder
