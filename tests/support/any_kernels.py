"""Kernels that models bring and no space was made for, each with inputs that it accepts.

TVM's own operators write most of them: scans, sorts and scatters with loops of their own,
reductions of every form, tensors without axes or elements, and all types of numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class AnyKernel:
    """A tensor expression and its inputs.

    Attributes:
        name: of its function.
        compute: makes the output, or a list of them, of a TE tensor for each input.
        inputs: arrays.
    """

    name: str
    compute: Callable[..., Any]
    inputs: tuple[Array, ...]


def numbers(*shape: int, dtype: str = "float32", low: float = -2.0) -> Array:
    """Drawn numbers, another time the same: in [low, 2), whole ones from -9 or 0 to 9."""
    generator = np.random.default_rng(len(shape))
    if dtype == "bool":
        return np.asarray(generator.integers(0, 2, shape)).astype(dtype)
    if dtype.startswith(("int", "uint")):
        return np.asarray(generator.integers(-9 if dtype[0] == "i" else 0, 9, shape)).astype(dtype)
    return np.asarray(generator.uniform(low, 2.0, shape)).astype(dtype)


def places(bound: int, *shape: int) -> Array:
    """Indices below a bound, none twice along the last axis where they are few enough."""
    generator = np.random.default_rng(bound)
    if shape and shape[-1] <= bound:
        rows = [generator.permutation(bound)[: shape[-1]] for _ in range(int(np.prod(shape[:-1])))]
        return np.stack(rows).reshape(shape).astype("int64")
    return np.asarray(generator.integers(0, bound, shape)).astype("int64")


def any_kernels() -> list[AnyKernel]:
    """All of them."""
    groups = (_moving, _scanning, _reducing, _contracting, _windows, _degenerate)
    return [kernel for group in groups for kernel in group()]


def _moving() -> Iterator[AnyKernel]:
    from tvm import tirx, topi

    matrix, indices = numbers(5, 8), places(8, 5, 3)
    for mode in ("update", "add", "max"):
        yield AnyKernel(
            f"scatter_elements_{mode}",
            lambda data, at, new, mode=mode: topi.scatter_elements(data, at, new, 1, mode),
            (matrix, indices, numbers(5, 3)),
        )
        yield AnyKernel(
            f"scatter_nd_{mode}",
            lambda data, at, new, mode=mode: topi.scatter_nd(data, at, new, mode),
            (matrix, places(5, 1, 3), numbers(3, 8)),
        )
    yield AnyKernel(
        "index_put",
        lambda data, row, column, new: topi.index_put(data, [row, column], new, True),
        (matrix, places(5, 4), places(8, 4), numbers(4)),
    )
    yield AnyKernel("gather", lambda d, at: topi.gather(d, 1, at), (matrix, indices))
    yield AnyKernel("gather_nd", topi.gather_nd, (matrix, places(5, 2, 3)))
    yield AnyKernel(
        "take_one", lambda d, at: topi.take(d, at, axis=0, mode="wrap"), (matrix, places(9))
    )
    yield AnyKernel(
        "embedding_sum",
        lambda d, at: topi.sum(topi.take(d, at, axis=0, mode="clip"), axis=1),
        (numbers(20, 16), places(20, 4, 8)),
    )
    yield AnyKernel(
        "one_hot",
        lambda at: topi.one_hot(at, tirx.const(1, "int64"), tirx.const(0, "int64"), 7, 0, "int64"),
        (places(7, 5),),
    )
    yield AnyKernel("flip", lambda d: topi.flip(d, 1), (matrix,))
    yield AnyKernel("slice", lambda d: topi.strided_slice(d, [3, 0], [0, 5], [-1, 2]), (matrix,))
    yield AnyKernel("split", lambda d: list(topi.split(d, [2, 5], 1)), (matrix,))
    yield AnyKernel("tile", lambda d: topi.tile(d, (2, 3)), (matrix,))
    yield AnyKernel("trilu", lambda d: topi.trilu(d, tirx.const(0, "int64"), True), (matrix,))
    yield AnyKernel("mirror", lambda d: topi.nn.mirror_pad(d, [1, 0], [2, 1]), (matrix,))
    yield AnyKernel("wrap", lambda d: topi.nn.circular_pad(d, [1, 0], [2, 1]), (matrix,))
    yield AnyKernel(
        "pad_twice",
        lambda d: topi.nn.pad(topi.nn.relu(topi.nn.pad(d, [1, 0], [2, 1], -3.0)), [1, 1], [1, 1]),
        (matrix,),
    )
    yield AnyKernel("where", topi.where, (numbers(5, 8, dtype="bool"), matrix, numbers(8)))
    yield AnyKernel(
        "concatenate", lambda *d: topi.concatenate(d, 1), (matrix, numbers(5, 0), numbers(5, 3))
    )
    yield AnyKernel("stack_numbers", lambda a, b: topi.stack((a, b), 0), (numbers(), numbers()))
    for method in ("linear", "nearest_neighbor", "cubic"):
        yield AnyKernel(
            f"resize_{method}",
            lambda d, method=method: topi.image.resize2d(
                d, (0.0,) * 4, (7, 11), "NCHW", method, "half_pixel", "round"
            ),
            (numbers(1, 3, 5, 6),),
        )


def _scanning() -> Iterator[AnyKernel]:
    from tvm import topi

    for dtype in ("float32", "int64"):
        yield AnyKernel(
            f"cumsum_{dtype}", lambda d: topi.cumsum(d, 1), (numbers(4, 9, dtype=dtype),)
        )
        yield AnyKernel(f"sort_{dtype}", lambda d: topi.sort(d, 1), (numbers(4, 9, dtype=dtype),))
    yield AnyKernel(
        "cumsum_between",
        lambda d: topi.multiply(topi.cumsum(topi.nn.relu(d), 1), 2.0),
        (numbers(4, 9),),
    )
    yield AnyKernel("argsort", lambda d: topi.argsort(d, dtype="int64"), (numbers(4, 9),))
    yield AnyKernel("topk", lambda d: topi.topk(d, 3, ret_type="both"), (numbers(4, 9),))
    yield AnyKernel("searchsorted", topi.searchsorted, (np.sort(numbers(16)), numbers(24)))
    boxes = np.array([[0, 1, 1, 20, 22], [0, 3, 2, 9, 30]], "float32")
    yield AnyKernel(
        "roi_align",
        lambda d, r: topi.vision.roi_align_nchw(d, r, 3, 0.5, "avg", 2),
        (numbers(1, 4, 16, 16), boxes),
    )
    yield AnyKernel(
        "roi_pool",
        lambda d, r: topi.vision.roi_pool_nchw(d, r, 3, 0.5),
        (numbers(1, 4, 16, 16), boxes),
    )
    yield AnyKernel(
        "valid_boxes",
        lambda d: topi.vision.get_valid_counts(d, 0.2, 0, 1),
        (numbers(1, 10, 6, low=0.0),),
    )


def _reducing() -> Iterator[AnyKernel]:
    from tvm import topi

    for shape in ((9,), (4, 16), (5, 7)):
        size = "x".join(map(str, shape))
        for name in ("argmin", "sum", "max"):
            reduce = getattr(topi, name)
            yield AnyKernel(f"{name}_all_{size}", reduce, (numbers(*shape),))
            yield AnyKernel(
                f"{name}_last_{size}",
                lambda d, reduce=reduce: reduce(d, axis=-1),
                (numbers(*shape),),
            )
    yield AnyKernel("all_of_bools", topi.all, (numbers(4, 9, dtype="bool"),))
    for dtype in ("int64", "float64", "float16", "uint8"):
        yield AnyKernel(
            f"sum_{dtype}", lambda d: topi.sum(d, axis=-1), (numbers(6, 16, dtype=dtype),)
        )
        yield AnyKernel(
            f"argmax_{dtype}", lambda d: topi.argmax(d, axis=1), (numbers(6, 16, dtype=dtype),)
        )
        if dtype.startswith("float"):
            yield AnyKernel(f"softmax_{dtype}", topi.nn.softmax, (numbers(6, 16, dtype=dtype),))
    yield AnyKernel(
        "two_results", lambda d: [topi.sum(d, axis=1), topi.max(d, axis=1)], (numbers(4, 16),)
    )
    yield AnyKernel(
        "sum_and_values", lambda d: [topi.sum(d, axis=1), topi.nn.relu(d)], (numbers(4, 16),)
    )
    yield AnyKernel("sum_of_sums", lambda d: topi.sum(topi.sum(d, axis=1)), (numbers(4, 16),))
    yield AnyKernel(
        "sums_beside", lambda d: topi.subtract(d, topi.sum(d, axis=0)), (numbers(4, 16),)
    )
    for axis in (0, 1, 2):
        yield AnyKernel(
            f"softmax_over_{axis}",
            lambda d, axis=axis: topi.nn.softmax(d, axis),
            (numbers(2, 3, 8),),
        )
    yield AnyKernel("softmax_of_one", topi.nn.softmax, (numbers(1),))
    yield AnyKernel(
        "middle_norm",
        lambda d, gain, shift: topi.nn.layer_norm(d, gain, shift, [1]),
        (numbers(4, 5, 7), numbers(5), numbers(5)),
    )


def _contracting() -> Iterator[AnyKernel]:
    from tvm import te, topi

    square = numbers(8, 8)
    yield AnyKernel("dot", lambda a, b: topi.sum(a * b), (numbers(16), numbers(16)))
    yield AnyKernel("trace", lambda a: topi.einsum("ii->", a), (square,))
    yield AnyKernel(
        "attention_scores",
        lambda a, b: topi.einsum("bhid,bhjd->bhij", a, b),
        (numbers(2, 2, 5, 8), numbers(2, 2, 6, 8)),
    )
    yield AnyKernel(
        "three_matrices", lambda a, b, c: topi.matmul(topi.matmul(a, b), c), (square,) * 3
    )
    yield AnyKernel("product_with_itself", lambda a: topi.matmul(a, a, False, True), (square,))
    yield AnyKernel("product_and_sum", lambda a, b: topi.sum(topi.matmul(a, b)), (square,) * 2)
    yield AnyKernel(
        "product_twice",
        lambda a, b: (lambda m: [m, topi.nn.relu(m)])(topi.matmul(a, b)),
        (square,) * 2,
    )
    yield AnyKernel("row_by_column", topi.matmul, (numbers(1, 8), numbers(8, 1)))
    for dtype in ("int8", "int64", "float64", "float16"):
        yield AnyKernel(f"product_{dtype}", topi.matmul, (numbers(8, 8, dtype=dtype),) * 2)

    def largest_product(a: Any, b: Any) -> Any:
        k = te.reduce_axis((0, 8))
        return te.compute((8, 8), lambda i, j: te.max(a[i, k] * b[k, j], axis=k))

    yield AnyKernel("largest_product", largest_product, (square,) * 2)

    def part_of_a_product(a: Any, b: Any) -> Any:
        k = te.reduce_axis((0, 5))
        return te.compute((6, 4), lambda i, j: te.sum(a[i + 1, k + 2] * b[k, j], axis=k))

    yield AnyKernel("part_of_a_product", part_of_a_product, (square,) * 2)


def _windows() -> Iterator[AnyKernel]:
    from tvm import te, topi

    image, blocks = numbers(1, 4, 8, 8), numbers(1, 2, 9, 9, 8)
    yield AnyKernel(
        "plain_convolution",
        lambda d, w: topi.nn.conv2d(topi.nn.relu(d), w, 1, 1, 1, "NCHW", "OIHW"),
        (image, numbers(4, 4, 3, 3)),
    )
    yield AnyKernel(
        "transposed",
        lambda d, w: topi.nn.conv2d_transpose_nchw(d, w, (2, 2), (1,) * 4, "float32", (1, 1)),
        (image, numbers(4, 6, 3, 3)),
    )
    yield AnyKernel(
        "volume",
        lambda d, w: topi.nn.conv3d_ncdhw(d, w, 1, 1, 1, 1),
        (numbers(1, 3, 4, 5, 5), numbers(4, 3, 3, 3, 3)),
    )
    yield AnyKernel(
        "dilation",
        lambda d, w: topi.image.dilation2d_nchw(d, w, 1, 0, 1),
        (image, numbers(4, 3, 3)),
    )
    for kind in ("max", "avg"):
        yield AnyKernel(
            f"{kind}_pool_of_integers",
            lambda d, kind=kind: topi.nn.pool2d(
                d, [3, 3], [2, 2], [1, 1], [1, 1, 1, 1], kind, layout="NCHW8c"
            ),
            (numbers(1, 2, 9, 9, 8, dtype="int32"),),
        )
        yield AnyKernel(
            f"{kind}_pool_to_any_size",
            lambda d, kind=kind: topi.nn.adaptive_pool(d, (2, 4), kind, layout="NCHW8c"),
            (blocks,),
        )

    def like_a_convolution(combine: Callable[[Any, Any, Any], Any]) -> Callable[..., Any]:
        def compute(data: Any, weight: Any) -> Any:
            axes = ic, kh, kw, ib = [te.reduce_axis((0, n)) for n in (2, 3, 3, 8)]
            return te.compute(
                (1, 2, 6, 6, 8),
                lambda n, o, h, w, ob: combine(
                    data[n, ic, h + kh, w + kw, ib], weight[o, ic, kh, kw, ib, ob], axes
                ),
            )

        return compute

    packed = numbers(2, 2, 3, 3, 8, 8)
    sums = like_a_convolution(lambda a, b, axes: te.sum(a * b, axis=axes))
    yield AnyKernel(
        "largest_sums",
        like_a_convolution(lambda a, b, axes: te.max(a + b, axis=axes)),
        (blocks, packed),
    )
    for dtype in ("int32", "float64"):
        yield AnyKernel(f"convolution_{dtype}", sums, (blocks.astype(dtype), packed.astype(dtype)))


def _degenerate() -> Iterator[AnyKernel]:
    from tvm import topi

    yield AnyKernel("nothing_given", lambda: topi.full((3, 4), "float32", 2.0), ())
    yield AnyKernel("number_given", lambda: topi.full((), "int64", 2), ())
    yield AnyKernel("numbers_added", topi.add, (numbers(), numbers()))
    yield AnyKernel("number_and_matrix", topi.multiply, (numbers(), numbers(4, 5)))
    yield AnyKernel("to_a_number", lambda d: topi.nn.relu(topi.squeeze(d)), (numbers(1, 1),))
    for shape in ((0, 4), (4, 0)):
        size = "x".join(map(str, shape))
        yield AnyKernel(f"empty_{size}", topi.nn.relu, (numbers(*shape),))
        yield AnyKernel(f"empty_sum_{size}", lambda d: topi.sum(d, axis=1), (numbers(*shape),))
        yield AnyKernel(
            f"empty_product_{size}", topi.matmul, (numbers(*shape), numbers(*shape[::-1]))
        )
    yield AnyKernel("empty_softmax", topi.nn.softmax, (numbers(0, 4),))
    for dtype in ("bool", "uint8", "int8", "int64", "float16", "float64"):
        yield AnyKernel(
            f"to_float_{dtype}", lambda d: topi.cast(d, "float32"), (numbers(33, dtype=dtype),)
        )
    yield AnyKernel(
        "bfloat16_inside",
        lambda d: topi.cast(topi.sum(topi.cast(d, "bfloat16"), axis=1), "float32"),
        (numbers(4, 16),),
    )
    yield AnyKernel("bools", topi.logical_and, (numbers(4, 16, dtype="bool"),) * 2)

    def steps(x: Any) -> Any:
        for _ in range(10):
            x = topi.add(topi.multiply(x, topi.sigmoid(x)), topi.tanh(x))
        return x

    # Each step reads the one before three times.
    yield AnyKernel("long_chain", steps, (numbers(4, 16),))
    yield AnyKernel(
        "two_outputs", lambda d: (lambda r: [r, topi.tanh(r)])(topi.nn.relu(d)), (numbers(4, 16),)
    )
