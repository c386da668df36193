"""The zoo's list can be used as it stands, and its driver tells what becomes of a network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _zoo_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def test_every_network_has_a_name_of_its_own_and_a_recipe() -> None:
    import zoo_networks

    from tunekit.recipe import Recipe

    assert len(zoo_networks.NETWORKS) >= 120
    assert len(zoo_networks.ALL) == len({network.name for network in zoo_networks.ALL})
    for network in zoo_networks.ALL:
        if not network.source.startswith("package:"):
            Recipe.model_validate(network.recipe())


def test_a_network_that_is_broken_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    """A small network gets in; one whose package is missing is refused in its row."""
    program = f"""
import sys
sys.path.insert(0, {str(ROOT / "benchmarks")!r})
import zoo, zoo_networks
missing = zoo_networks.Network("missing", "other", "package:no_such_package/model.onnx")
zoo.NETWORKS.clear()
zoo.NETWORKS.update(missing=missing, nbeats=zoo_networks.OTHERS[1])
zoo.main()
"""
    output = tmp_path / "zoo.json"
    command = [sys.executable, "-c", program, "--stage", "import", "--no-seconds"]
    command += ["-o", str(output)]
    for _ in range(2):  # The second time there is nothing left to do.
        done = subprocess.run(
            command, cwd=tmp_path, env={**os.environ}, capture_output=True, text=True, check=True
        )
    assert "0 of 2 networks" in done.stdout
    rows: dict[str, Any] = json.loads(output.read_text("utf-8"))
    assert rows["missing"]["import"]["state"] == "refused"
    assert "no-such-package, which is not installed" in rows["missing"]["import"]["message"]
    assert rows["nbeats"]["import"]["state"] == "right"
    assert set(rows["nbeats"]["import"]) == {"state", "relative_error", "date"}
