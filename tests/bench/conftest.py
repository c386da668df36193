"""What the tests of the benchmark share."""

from __future__ import annotations

import sys
from pathlib import Path

# For the tests' own modules and the race's toys, and for contestants: they get this process's
# sys.path.
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "race")]
