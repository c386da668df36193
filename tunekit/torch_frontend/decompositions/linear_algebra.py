"""Of small matrices: systems of equations, inverses, determinants, triangular factors.

Written out row by row, as for the 3x3 matrices of transformations; larger ones are refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tunekit.frontends.problems import Unsupported
from tunekit.torch_frontend.table import decomposes

_LARGEST = 8


def _require_small(size: int) -> None:
    if size > _LARGEST:
        raise Unsupported(
            f"the matrices are {size}x{size}, and up to {_LARGEST}x{_LARGEST} is possible"
        )


def _eliminated(matrix: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gauss's elimination, with the largest element of each column as its pivot.

    Args:
        matrix: (..., n, n).
        right: (..., n, m), what stands at the right of the equations.

    Returns:
        The upper triangle, the right-hand sides, the order of the rows (..., n), and the sign of
        that order (...).
    """
    size = matrix.shape[-1]
    _require_small(size)
    both = torch.cat([matrix, right], -1)
    rows = torch.arange(size)
    order = rows.expand(both.shape[:-1])
    sign = torch.ones_like(both[..., 0, 0])
    for step in range(size - 1):
        column = both[..., step].abs()
        candidates = torch.where(rows >= step, column, torch.full_like(column, -1))
        pivot = candidates.argmax(-1, keepdim=True)
        swapped = torch.where(rows == step, pivot, torch.where(rows == pivot, step, rows))
        both = both.gather(-2, swapped.unsqueeze(-1).expand(both.shape))
        order = order.gather(-1, swapped)
        sign = torch.where(pivot[..., 0] == step, sign, -sign)
        top = both[..., step : step + 1, :]
        factors = both[..., step] / top[..., step]
        factors = torch.where(rows > step, factors, torch.zeros_like(factors))
        both = both - factors.unsqueeze(-1) * top
    return both[..., :size], both[..., size:], order, sign


def _substituted(triangle: Tensor, right: Tensor, *, upper: bool, is_unit: bool = False) -> Tensor:
    """X of `triangle @ X = right`."""
    size = triangle.shape[-1]
    _require_small(size)
    solved: dict[int, Tensor] = {}
    for row in reversed(range(size)) if upper else range(size):
        rest = right[..., row, :]
        for column in range(row + 1, size) if upper else range(row):
            rest = rest - triangle[..., row, column, None] * solved[column]
        solved[row] = rest if is_unit else rest / triangle[..., row, row, None]
    return torch.stack([solved[row] for row in range(size)], -2)


def _solved(matrix: Tensor, right: Tensor) -> Tensor:
    triangle, changed, _, _ = _eliminated(matrix, right)
    return _substituted(triangle, changed, upper=True)


def _unit(matrix: Tensor) -> Tensor:
    return torch.eye(matrix.shape[-1], dtype=matrix.dtype).expand(matrix.shape)


def _all_well(matrix: Tensor) -> Tensor:
    return torch.zeros(matrix.shape[:-2], dtype=torch.int32)


@decomposes("linalg_inv_ex.default")
def _inverse(A: Tensor, *, check_errors: bool = False) -> tuple[Tensor, Tensor]:  # noqa: N803
    return _solved(A, _unit(A)), _all_well(A)


@decomposes("_linalg_solve_ex.default")
def _solve(
    A: Tensor,  # noqa: N803
    B: Tensor,  # noqa: N803
    *,
    left: bool = True,
    check_errors: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of a solution only the numbers are given, not the factors."""
    is_vector = B.dim() == 1 or B.shape == A.shape[:-1]
    right = B.unsqueeze(-1) if is_vector else B
    # torch's own types lack it.
    leading: Sequence[int] = torch.broadcast_shapes(A.shape[:-2], right.shape[:-2])  # type: ignore[no-untyped-call]
    matrix = A.expand(*leading, *A.shape[-2:])
    right = right.expand(*leading, *right.shape[-2:])
    result = _solved(matrix, right) if left else _solved(matrix.mT, right.mT).mT
    factors = torch.zeros_like(A)
    pivots = torch.zeros(A.shape[:-1], dtype=torch.int32)
    return result.squeeze(-1) if is_vector else result, factors, pivots, _all_well(A)


@decomposes("_linalg_det.default")
def _determinant(A: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # noqa: N803
    triangle, _, _, sign = _eliminated(A, A[..., :0])
    determinant = triangle.diagonal(dim1=-2, dim2=-1).prod(-1) * sign
    return determinant, torch.zeros_like(A), torch.zeros(A.shape[:-1], dtype=torch.int32)


@decomposes("_linalg_slogdet.default")
def _log_determinant(A: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # noqa: N803
    triangle, _, _, sign = _eliminated(A, A[..., :0])
    diagonal = triangle.diagonal(dim1=-2, dim2=-1)
    return (
        diagonal.sign().prod(-1) * sign,
        diagonal.abs().log().sum(-1),
        torch.zeros_like(A),
        torch.zeros(A.shape[:-1], dtype=torch.int32),
    )


@decomposes("linalg_solve_triangular.default")
def _solve_triangular(
    self: Tensor,
    B: Tensor,  # noqa: N803
    *,
    upper: bool,
    left: bool = True,
    unitriangular: bool = False,
) -> Tensor:
    if left:
        return _substituted(self, B, upper=upper, is_unit=unitriangular)
    return _substituted(self.mT, B.mT, upper=not upper, is_unit=unitriangular).mT


@decomposes("linalg_cholesky_ex.default")
def _cholesky(
    self: Tensor, *, upper: bool = False, check_errors: bool = False
) -> tuple[Tensor, Tensor]:
    size = self.shape[-1]
    _require_small(size)
    nothing = torch.zeros_like(self[..., 0, 0])
    factor: list[list[Tensor]] = [[nothing] * size for _ in range(size)]
    for row in range(size):
        for column in range(row + 1):
            rest = self[..., row, column]
            for before in range(column):
                rest = rest - factor[row][before] * factor[column][before]
            factor[row][column] = rest.sqrt() if row == column else rest / factor[column][column]
    result = _as_matrix(factor)
    return result.mT if upper else result, _all_well(self)


def _as_matrix(rows: Sequence[Sequence[Tensor]]) -> Tensor:
    return torch.stack([torch.stack(list(row), -1) for row in rows], -2)
