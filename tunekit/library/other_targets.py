"""Kernels for further CPUs in a standalone library: of the model's further targets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tunekit.graph.pipeline import more_targets, prepare_again
from tunekit.library.built_variant import BuiltVariant, build_first
from tunekit.library.manifest import OtherTargetEntry
from tunekit.library.variants import variants_of
from tunekit.library.verify import verify, why_not_verified
from tunekit.machine.cpu_features import features_of, instruction_sets
from tunekit.machine.target import why_not_here
from tunekit.wording import Say

if TYPE_CHECKING:
    from tunekit.catalogue import Catalogue
    from tunekit.graph.pipeline import PreparedModel
    from tunekit.library.verify import ReferenceOutputs


@dataclass(frozen=True)
class OtherTarget:
    """The model for a further target.

    Attributes:
        prepared: the model.
        built: its kernels, verified where this machine can run them.
    """

    prepared: PreparedModel
    built: BuiltVariant

    @property
    def entry(self) -> OtherTargetEntry:
        """What the manifest says of it."""
        target, assembled = self.prepared.target, self.built.assembled
        assert assembled is not None
        records = assembled.applied.records.values()
        return OtherTargetEntry(
            target=json.loads(target.spec),
            features=tuple(instruction_sets(features_of(target.tvm), target.architecture)),
            trial_ids=tuple(sorted(record.trial_id for record in records)),
        )


def other_targets(
    prepared: PreparedModel,
    catalogue: Catalogue,
    reference: ReferenceOutputs,
    workshop: Path,
    say: Say,
) -> Sequence[OtherTarget]:
    """The model for each of its further targets, with the best records there are.

    Args:
        prepared: the model for the target that it is tuned for.
        catalogue: where the records are.
        reference: the model's own outputs.
        workshop: takes what is made on the way.
        say: told what is done, a line at a time.

    Raises:
        VerificationFailed: this machine can run one, and its outputs differ from the reference.
        CompileError: one cannot be compiled.
    """
    made = []
    for number, target in enumerate(more_targets(prepared.recipe, prepared.target)):
        say(f"compiling {prepared.recipe.name} for {target.cpu or target.spec}, too")
        other = prepare_again(prepared, target, say)
        if why_not_verified(other) is not None:
            other = as_measured(other, catalogue)
        folder = workshop / f"target{number}"
        folder.mkdir()
        hashes = [task.structural_hash for task in other.tasks]
        records = catalogue.records.to_compile(other.conditions, hashes)
        built = build_first(variants_of(other, records)[0], other, folder, say, compared=False)
        if why_not_here(target) is None:
            built.verified = verify(built.path, other, reference)
        made.append(OtherTarget(other, built))
    return made


def as_measured(prepared: PreparedModel, catalogue: Catalogue) -> PreparedModel:
    """With the conditions under which the newest session measured for the target: what is known
    of it holds, though its devices are not named."""
    sessions = catalogue.sessions.list(limit=1, target_json=prepared.target.spec)
    if not sessions:
        return prepared
    host = sessions[0].host_fingerprint
    return replace(prepared, conditions=replace(prepared.conditions, host=host, cpu_cache=None))
