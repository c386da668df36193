from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.support.onnx_nodes import Array, by_onnxruntime, by_tunekit
from tunekit.errors import ImportFailed
from tunekit.onnx_frontend import proto_to_relax

_MODEL = """
<ir_version: 10, opset_import: ["" : 21]>
control_flow (float[3, 4] x, bool flag) => (float[3, 4] chosen, float[3, 4] known, float[3, 4] last,
    float[5, 3, 4] scans, float[3, 4] masked, int64 kept, float[4] total, float[K, 4] sums,
    float[N, M] joined, int64 count, float[3, 4] mapped)
<bool yes = {1}, int64 five = {5}, int64 zero = {0}, int64 one = {1}, int64[1] axis = {0},
 float[1] half = {0.5},float ten = {10.0}, int64[2] parts = {1, 2}>
{
  chosen = If (flag) <then_branch = a () => (float[3, 4] t) { t = Mul(x, half) },
                      else_branch = b () => (float[3, 4] e) { e = Neg(x) }>
  known = If (yes) <then_branch = c () => (float[3, 4] t2) { t2 = Exp(x) },
                    else_branch = d () => (float[3] e2) { e2 = ReduceSum<keepdims = 0>(x, axis) }>
  last, scans = Loop (five, yes, x) <body = e (int64 i, bool go, float[3, 4] s)
      => (bool go2, float[3, 4] s2, float[3, 4] o) {
    go2 = Identity(go)  f = Cast<to = 1>(i)  s2 = Add(s, f)  o = Mul(s2, half)
  }>
  size = ReduceSum<keepdims = 0>(x)
  masked, kept = Loop (five, flag, x, zero) <body = g (int64 j, bool c, float[3, 4] m, int64 n)
      => (bool c2, float[3, 4] m2, int64 n2) {
    m2 = Add(m, half)  n2 = Add(n, one)  r = ReduceSum<keepdims = 0>(m2)  limit = Add(size, ten)
    c2 = Less(r, limit)
  }>
  first = ReduceSum<keepdims = 0>(x, axis)
  total, sums = Scan <num_scan_inputs = 1, scan_input_directions = [1], body = k (float[4] acc,
      float[4] row) => (float[4] acc2, float[4] sum) { acc2 = Add(acc, row)  sum = Tanh(acc2) }>
    (first, x)
  pieces = SplitToSequence <axis = 0> (x, parts)
  piece = SequenceAt (pieces, one)
  empty = SequenceEmpty <dtype = 1> ()
  grown = SequenceInsert (empty, piece)
  more = SequenceInsert (grown, x, zero)
  fewer = SequenceErase (pieces, zero)
  longer = SequenceInsert (fewer, x)
  joined = ConcatFromSequence <axis = 0> (more)
  count = SequenceLength (longer)
  images = SequenceMap (longer, ten) <body = l (float[P, 4] item, float by) => (float[P, 4] out) {
    out = Div(item, by)
  }>
  mapped = SequenceAt (images, one)
}
"""


@pytest.fixture
def model() -> onnx.ModelProto:
    return onnx.parser.parse_model(_MODEL)


def test_branches_loops_scans_and_sequences_give_what_onnx_runtime_gives(
    model: onnx.ModelProto,
) -> None:
    x = np.random.default_rng(0).standard_normal((3, 4)).astype("float32")
    names = [output.name for output in model.graph.output]
    for flag in (True, False):
        feed = {"x": x, "flag": np.array(flag)}
        for name, right, given in zip(
            names, by_onnxruntime(model, feed), by_tunekit(model, feed), strict=True
        ):
            assert (right.shape, right.dtype) == (given.shape, given.dtype), name
            np.testing.assert_allclose(given, right, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            """y = If (flag) <then_branch = a () => (float[3, 4] t) { t = Neg(x) },
                 else_branch = b () => (float[3] e) { e = ReduceSum<keepdims = 0>(x, one) }>""",
            ["If", "the values of input flag decide its condition", "different shapes"],
        ),
        (
            """n = Cast<to = 7>(flag)
               y = Loop (n, , x) <body = e (int64 i, bool go, float[3, 4] s)
                 => (bool go2, float[3, 4] s2) { go2 = Identity(go)  s2 = Neg(s) }>""",
            ["Loop", "the values of input flag decide its trip count"],
        ),
        (
            """y = Loop ( , flag, x) <body = e (int64 i, bool go, float[3, 4] s)
                 => (bool go2, float[3, 4] s2) { go2 = Identity(go)  s2 = Neg(s) }>""",
            ["Loop", "no trip count", "run time only"],
        ),
        (
            """y = Loop (million, , x) <body = e (int64 i, bool go, float[3, 4] s)
                 => (bool go2, float[3, 4] s2) { go2 = Identity(go)  s2 = Neg(s) }>""",
            ["Loop", "would be written out"],
        ),
        ("y = RandomNormalLike (x)", ["RandomNormalLike", "random numbers"]),
        ("s = SequenceConstruct (x)\n y = SequenceAt (s, one)", ["position 1", "sequence of 1"]),
        ("y = SequenceConstruct (x)", ["output 'y' is a sequence"]),
    ],
)
def test_what_only_a_run_can_know_is_refused_in_a_sentence(text: str, words: list[str]) -> None:
    model = onnx.parser.parse_model(
        f"""<ir_version: 10, opset_import: ["" : 21]>
        g (float[3, 4] x, bool flag) => (y) <int64 one = {{1}}, int64 million = {{1000000}}>
        {{ {text} }}"""
    )
    with pytest.raises(ImportFailed) as caught:
        proto_to_relax(model, ["x", "flag"], "g")
    for word in words:
        assert word in str(caught.value)


def _nested_functions() -> onnx.ModelProto:
    """Functions that call each other, with attributes by reference and another opset."""
    node = helper.make_node
    scaled = helper.make_function(
        "local",
        "Scaled",
        ["x"],
        ["y"],
        [
            helper.make_node("Constant", [], ["factor"]),
            node("Mul", ["x", "factor"], ["y"]),
        ],
        [helper.make_opsetid("", 18)],
        ["factor"],
    )
    reference = scaled.node[0].attribute.add()
    reference.name, reference.ref_attr_name = "value_float", "factor"
    reference.type = onnx.AttributeProto.FLOAT
    # Axes are an attribute in its opset, and an input in the model's.
    inner = node("Scaled", ["s"], ["y"], domain="local")
    by_reference = inner.attribute.add()
    by_reference.name, by_reference.ref_attr_name = "factor", "by"
    by_reference.type = onnx.AttributeProto.FLOAT
    summed = helper.make_function(
        "local",
        "Summed",
        ["x"],
        ["y"],
        [node("ReduceSum", ["x"], ["s"], axes=[1], keepdims=0), inner],
        [helper.make_opsetid("", 11), helper.make_opsetid("local", 1)],
        ["by"],
    )
    graph = helper.make_graph(
        [
            node("Summed", ["x"], ["y"], domain="local", by=3.0),
            node("Scaled", ["x"], ["z"], domain="local", factor=0.5),
        ],
        "functions",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [3, 4])],
        [onnx.ValueInfoProto(name="y"), onnx.ValueInfoProto(name="z")],
    )
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("local", 1)]
    return helper.make_model(
        graph, opset_imports=imports, functions=[scaled, summed], ir_version=10
    )


def test_functions_of_the_model_have_attributes_and_operator_sets_of_their_own() -> None:
    x: Array = np.random.default_rng(0).standard_normal((3, 4)).astype("float32")
    summed, scaled = by_tunekit(_nested_functions(), {"x": x})
    np.testing.assert_allclose(summed, x.sum(1) * 3, rtol=1e-5)
    np.testing.assert_allclose(scaled, x * 0.5)


# Torch's exporter calls what it deprecates.
@pytest.mark.filterwarnings("ignore")
def test_functions_that_torch_keeps_are_interpreted() -> None:
    torch: Any = pytest.importorskip("torch")
    network = torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.GELU(), torch.nn.LayerNorm(8)
    ).eval()
    x = torch.randn(3, 4)
    program = torch.onnx.export(network, (x,), dynamo=True, optimize=False, verbose=False)
    [given] = by_tunekit(program.model_proto, {program.model_proto.graph.input[0].name: x.numpy()})
    np.testing.assert_allclose(given, network(x).detach().numpy(), rtol=1e-4, atol=1e-5)
