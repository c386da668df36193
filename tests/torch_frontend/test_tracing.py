"""What a trace needs of torch is there, whatever was loaded before."""

from __future__ import annotations

import subprocess
import sys


def test_the_first_trace_of_a_process_works() -> None:
    """torch loads parts of itself in its first trace, which see what tunekit changed for it."""
    code = (
        "import torch\n"
        "from tunekit.torch_frontend import export_program\n"
        "export_program(torch.nn.Linear(3, 4).eval(), [torch.zeros(1, 3)], 'test')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
