"""Models: read from where they come from, imported into Relax, and checked.

Importing this loads neither torch nor TVM.
"""

from tunekit.models.importer import ImportedModel, import_model
from tunekit.models.registry import (
    is_digest_of,
    joint_digest,
    load_file,
    load_source,
    require_one_size,
    source_digest,
)
from tunekit.models.spec import TensorSpec

__all__ = [
    "ImportedModel",
    "TensorSpec",
    "import_model",
    "is_digest_of",
    "joint_digest",
    "load_file",
    "load_source",
    "require_one_size",
    "source_digest",
]
