from __future__ import annotations

import sys
from pathlib import Path

# Kernels that several test modules share.
sys.path.insert(0, str(Path(__file__).parent))
