"""Products, norms and small systems of equations compute what torch does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import linalg, nn
from torch_modules import errors_of, wrong_of

from tunekit.errors import ImportFailed

FORMS: dict[str, Callable[[torch.Tensor, torch.Tensor], Any]] = {
    "addr": lambda a, b: torch.addr(a[0], a[0, 0], a[0, 1], beta=0.5, alpha=2),
    "vector_norm": lambda a, b: linalg.vector_norm(b, 3, dim=1, keepdim=True),
    "matrix_norm": lambda a, b: linalg.norm(a, 1, dim=(1, 2)),
    "power": lambda a, b: torch.matrix_power(a, 5),
    "negative_power": lambda a, b: torch.matrix_power(a, -2),
    "cross": lambda a, b: torch.cross(b, b.flip(1), dim=1),
    "solve": lambda a, b: linalg.solve(a, b),
    "solve_left": lambda a, b: linalg.solve(a, b.mT, left=False),
    "inverse_of_swapped": lambda a, b: linalg.inv(a.flip(1)),
    "determinant": lambda a, b: linalg.det(a.flip(1)),
    "log_determinant": lambda a, b: linalg.slogdet(a.flip(1)),
    "cholesky": lambda a, b: linalg.cholesky(a @ a.mT),
    "triangular": lambda a, b: linalg.solve_triangular(a.triu(), b, upper=True),
    "triangular_left": lambda a, b: linalg.solve_triangular(
        a.tril(), b.mT, upper=False, left=False, unitriangular=True
    ),
}


class Forms(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> dict[str, Any]:
        return {name: form(a, b) for name, form in FORMS.items()}


class Inverse(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.inverse(x)


def test_products_norms_and_small_systems_compute_what_torch_does(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    square = random.standard_normal((2, 3, 3), np.float32) + 3 * np.eye(3, dtype=np.float32)
    right = random.standard_normal((2, 3, 4), np.float32)
    errors = errors_of(Forms(), {"a": square, "b": right}, tmp_path)
    assert len(errors) == len(FORMS) + 1
    assert wrong_of(errors, 1e-4) == {}


def test_a_large_system_of_equations_is_refused_with_its_size(tmp_path: Path) -> None:
    with pytest.raises(ImportFailed, match=r"9x9, and up to 8x8"):
        errors_of(Inverse(), {"x": np.eye(9, dtype=np.float32)}, tmp_path)
