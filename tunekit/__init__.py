"""tunekit: from a trained model to the fastest verified shared library for a machine.

Importing this package costs next to nothing: TVM, torch and the like load where they are used.
"""

from __future__ import annotations

__version__ = "0.1.0"
