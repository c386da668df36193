"""Records in MetaSchedule's own files: written for stock TVM, and read back, damaged or not.

A folder holds `database_workload.json`, a line for each workload (its structural hash, its module
in base64), and `database_tuning_record.json`, a line for each record (the workload's line, the
trace, all run seconds, the target, the arguments). What the format has no place for is lost on the
way out: why candidates failed, when and on which host and with which options something was
measured, how far a noisy host was corrected for, which record won a final.

`CatalogueDatabase` is the catalogue as a database of MetaSchedule's own; it loads TVM when it is
first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunekit.interchange.metaschedule_database import CatalogueDatabase

__all__ = ["CatalogueDatabase"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tunekit.interchange import metaschedule_database

    return getattr(metaschedule_database, name)
