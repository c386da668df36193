"""A process that writes to a catalogue until it is done or killed; run by the tests.

    python writer.py URL RECIPE_DIGEST CALLS TRIALS_PER_CALL

Says "session ID", then "ack ID ..." with the ids of the trials that each call returned, at once.
"""

from __future__ import annotations

import sys

from tunekit.catalogue import Catalogue, NewSession, NewTask, NewTrial, NewWorkload
from tunekit.errors import CatalogueError


def main(url: str, recipe_digest: str, calls: int, trials_per_call: int) -> None:
    with Catalogue.open(url) as catalogue:
        session = catalogue.sessions.begin(
            NewSession(
                name="written",
                recipe_yaml="",
                recipe_digest=recipe_digest,
                model_digest=None,
                model_name="",
                target_json="{}",
                host={},
                host_fingerprint="host",
                toolchain={},
                budget_trials=calls * trials_per_call,
                seed=0,
            )
        )
        print("session", session.id, flush=True)
        workloads = [NewWorkload(f"hash{n}", f"module {n}", "fused", f"op{n}") for n in range(3)]
        tasks = catalogue.trials.ensure_tasks(
            session.id, [NewTask(w, w.name, 1.0) for w in workloads]
        )
        for call in range(calls):
            ids = catalogue.trials.add(
                session.id,
                [
                    NewTrial(
                        tasks[n % 3],
                        f"{recipe_digest} {call} {n}",
                        f"trace {call} {n} " * 200,
                        samples_s=(1e-3 + call * 1e-6,),
                    )
                    for n in range(trials_per_call)
                ],
            )
            print("ack", *ids, flush=True)
        catalogue.sessions.close(session.id, "finished")


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    except CatalogueError as error:
        print(f"error: {error.message}\n  hint: {error.hint}", file=sys.stderr)
        sys.exit(error.exit_code)
