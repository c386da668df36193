from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_nodes import by_tunekit

from tunekit.cache import ContentCache
from tunekit.errors import ImportFailed, ModelFileError
from tunekit.models import import_model, load_source
from tunekit.models.sources.onnx_file import OnnxModel

FLOAT = TensorProto.FLOAT


def model_of(
    *nodes: onnx.NodeProto,
    shape: list[Any],
    weights: dict[str, np.ndarray] | None = None,
    outputs: tuple[str, ...] = ("y",),
) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("x", FLOAT, shape)],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
    )
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("com.example", 1)],
        ir_version=10,
    )


@pytest.fixture
def vanilla(tmp_path: Path) -> Path:
    from tunekit.models.vanilla_cnn import onnx_model

    path = tmp_path / "vanilla.onnx"
    onnx.save(onnx_model(channels=4, classes=3, shape=(1, 3, 16, 16)), str(path))
    return path


def test_the_onnx_route_gives_what_the_torch_route_gives(
    spec: Any,
    tmp_path: Path,
    run_module: Callable[..., Any],
    operators: Callable[[Any], Counter[str]],
) -> None:
    code = "python:tunekit.models.vanilla_cnn:vanilla_cnn"
    by_torch = load_source(spec(code, ("input", (1, 3, 16, 16)), arguments={"channels": 4}))
    by_torch.write_onnx(tmp_path / "vanilla.onnx")
    by_onnx = load_source(spec(str(tmp_path / "vanilla.onnx")))
    assert (by_onnx.framework, by_torch.framework) == ("onnx", "pytorch")
    assert by_onnx.inputs == by_torch.inputs
    module = by_onnx.to_relax()
    # Run by the ONNX route, judged by torch.
    assert run_module(module, by_torch)["output"].within(1e-5)
    ours, theirs = operators(module), operators(by_torch.to_relax())
    assert ours["nn.batch_norm"] == ours["multiply"] == 0
    assert (ours["nn.conv2d"], ours["add"]) == (theirs["nn.conv2d"], theirs["add"])


def test_the_recipe_fixes_open_sizes_and_names_stay(spec: Any, vanilla: Path) -> None:
    source = load_source(spec(str(vanilla), ("input", (2, 3, 24, 40))))
    module = source.to_relax()
    [parameter] = module["main"].params
    assert parameter.name == "input"
    assert [int(size) for size in parameter.ty.shape] == [2, 3, 24, 40]
    assert [(item.name, item.shape) for item in source.outputs] == [("scores", (2, 3))]


def test_batch_norm_and_several_outputs_of_an_onnx_file(
    spec: Any, run_module: Callable[..., Any], operators: Callable[[Any], Counter[str]]
) -> None:
    random = np.random.default_rng(0)
    weights = {
        "w": random.standard_normal((4, 3, 3, 3)),
        "scale": random.uniform(0.5, 2, 4),
        "shift": random.standard_normal(4),
        "mean": random.standard_normal(4),
        "variance": random.uniform(0.5, 2, 4),
    }
    model = model_of(
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("BatchNormalization", ["c", "scale", "shift", "mean", "variance"], ["b"]),
        helper.make_node("Constant", [], ["last"], value_ints=[-1]),
        helper.make_node("Gather", ["b", "last"], ["second"], axis=1),
        helper.make_node("Relu", ["b"], ["first"]),
        shape=[1, 3, 8, 8],
        weights={name: value.astype("float32") for name, value in weights.items()},
        outputs=("second", "first"),
    )
    source = OnnxModel("small", "digest", 0, [], model)
    module = source.to_relax()
    assert operators(module)["nn.batch_norm"] == operators(module)["multiply"] == 0
    errors = run_module(module, source)
    assert list(errors) == ["second", "first"]
    assert all(result.within(1e-5) for result in errors.values()), errors


def test_an_unsupported_operator_is_named_with_its_node_and_nothing_else_is_printed(
    capfd: pytest.CaptureFixture[str],
) -> None:
    model = model_of(
        helper.make_node("Relu", ["x"], ["r"], name="first"),
        helper.make_node("Strange", ["r"], ["y"], name="second", domain="com.example"),
        shape=[1, 4],
    )
    with pytest.raises(ImportFailed) as caught:
        OnnxModel("small", "digest", 0, [], model).to_relax()
    message = str(caught.value)
    assert "ONNX operator com.example.Strange cannot be imported" in message
    assert "node 1 'second'" in message
    assert caught.value.hint
    assert capfd.readouterr() == ("", "")


def test_an_operator_that_cannot_be_converted_is_named_with_its_node(
    capfd: pytest.CaptureFixture[str],
) -> None:
    model = model_of(
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("MatMul", ["r", "w"], ["y"], name="product"),
        shape=[1, 4],
        weights={"w": np.zeros((3, 3), "float32")},
    )
    with pytest.raises(ImportFailed, match="operator MatMul at node 1 'product' cannot be"):
        OnnxModel("small", "digest", 0, [], model).to_relax()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("inputs", (1, 3, 16, 16), "no input 'inputs'; did you mean 'input'?"),
        ("input", (1, 4, 16, 16), r"shape \[\?, 3, \?, \?\].* gives \[1, 4, 16, 16\]"),
        ("input", (3, 16, 16), r"shape \[\?, 3, \?, \?\].* gives \[3, 16, 16\]"),
    ],
)
def test_inputs_that_do_not_fit_say_which_and_what_was_expected(
    spec: Any, vanilla: Path, name: str, shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ModelFileError, match=message):
        load_source(spec(str(vanilla), (name, shape)))


def test_a_wrong_dtype_and_open_sizes_without_a_recipe_are_refused(
    spec: Any, vanilla: Path
) -> None:
    with pytest.raises(ModelFileError, match="dtype float32, and the recipe gives int64"):
        load_source(spec(str(vanilla), ("input", (1, 3, 16, 16)), dtype="int64"))
    with pytest.raises(ModelFileError, match="sizes that are not fixed") as caught:
        load_source(spec(str(vanilla)))
    assert "model.inputs" in str(caught.value.hint)


def test_a_damaged_file_is_told_as_such(
    spec: Any, vanilla: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    truncated = tmp_path / "truncated.onnx"
    truncated.write_bytes(vanilla.read_bytes()[:-1000])
    text = tmp_path / "text.onnx"
    text.write_text("this is no model\n" * 10)
    empty = tmp_path / "empty.onnx"
    empty.touch()
    for path in (truncated, text, empty):
        with pytest.raises(ModelFileError, match=path.name) as caught:
            load_source(spec(str(path), ("input", (1, 3, 16, 16))))
        assert caught.value.exit_code == 2
        assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(ModelFileError, match="there is no model file"):
        load_source(spec(str(tmp_path / "absent.onnx"), ("input", (1, 3, 16, 16))))
    assert capfd.readouterr() == ("", "")


def test_the_written_onnx_file_is_the_model_with_fixed_sizes(
    spec: Any, vanilla: Path, tmp_path: Path
) -> None:
    source = load_source(spec(str(vanilla), ("input", (1, 3, 16, 16))))
    source.write_onnx(tmp_path / "out.onnx")
    again = load_source(spec(str(tmp_path / "out.onnx")))
    assert again.inputs == source.inputs
    inputs = source.sample_inputs(1)
    np.testing.assert_array_equal(again.reference(inputs)[0], source.reference(inputs)[0])


def test_the_written_onnx_file_has_the_shapes_of_outputs_that_cannot_be_inferred(
    tmp_path: Path, spec: Any
) -> None:
    model = model_of(
        helper.make_node("Shape", ["x"], ["sizes"]),
        helper.make_node(
            "ConstantOfShape", ["sizes"], ["ones"], value=helper.make_tensor("", FLOAT, [1], [1])
        ),
        helper.make_node("NonZero", ["ones"], ["found"]),
        helper.make_node("Reshape", ["x", "flat"], ["z"]),
        helper.make_node("Concat", ["found", "found"], ["y"], axis=0),
        shape=["batch", 4],
        weights={"flat": np.array([-1])},
        outputs=("y", "z"),
    )
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    onnx.save(model, str(tmp_path / "open.onnx"))
    source = load_source(spec(str(tmp_path / "open.onnx"), ("x", (3, 4))))
    source.write_onnx(tmp_path / "out.onnx")
    outputs = onnx.load(str(tmp_path / "out.onnx")).graph.output
    shapes = [[dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in outputs]
    assert shapes == [[4, 12], [12]]


def test_an_attribute_that_no_converter_heeds_is_refused() -> None:
    statistics = {name: np.ones(3, "float32") for name in ("scale", "bias", "mean", "variance")}
    model = model_of(
        helper.make_node(
            "BatchNormalization", ["x", *statistics], ["y"], name="per_element", spatial=0
        ),
        shape=[1, 3],
        weights=statistics,
    )
    model.opset_import[0].version = 7
    with pytest.raises(ImportFailed) as caught:
        OnnxModel("small", "digest", 0, [], model).to_relax()
    assert "per_element" in str(caught.value)
    assert "its attribute spatial is 0, which is not heeded" in str(caught.value)


def test_constants_without_elements_are_results_and_parts_of_others(
    tmp_path: Path, spec: Any
) -> None:
    """Also from the cache, and in a library: TVM writes such constants and cannot read them."""
    model = model_of(
        helper.make_node("Relu", ["x"], ["y"]),
        helper.make_node("Identity", ["nothing"], ["z"]),
        helper.make_node("Concat", ["nothing", "x"], ["all"], axis=1),
        shape=[2, 4],
        weights={"nothing": np.zeros((2, 0), "float32")},
        outputs=("y", "z", "all"),
    )
    onnx.save(model, str(tmp_path / "empty.onnx"))
    cache = ContentCache(tmp_path / "cache")
    for _ in range(2):
        source = load_source(spec(str(tmp_path / "empty.onnx")))
        imported = import_model(source, max_relative_error=1e-6, cache=cache)
        assert len(imported.module["main"].params) == 1
    x = np.array([[1, -2, 3, -4], [-1, 2, -3, 4]], "float32")
    relu, nothing, everything = by_tunekit(model, {"x": x})
    np.testing.assert_array_equal(relu, np.maximum(x, 0))
    np.testing.assert_array_equal(everything, x)
    assert nothing.shape == (2, 0)
