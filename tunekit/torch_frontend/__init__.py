"""From torch to Relax.

A module is traced (`tracing`), its operators are decomposed into fewer (`decompose`), and the
graph is walked node by node (`importer`): what depends on no input is computed by torch itself,
the rest by one converter per operator. A new operator is a function under `@converts("name")` in
the file of its family, or a decomposition in plain torch.
"""

from tunekit.torch_frontend.importer import program_to_relax
from tunekit.torch_frontend.tracing import export_program, is_data_dependent

__all__ = ["export_program", "is_data_dependent", "program_to_relax"]
