from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tunekit.cache import ContentCache
from tunekit.errors import ModelFileError
from tunekit.models import load_source, source_digest
from tunekit.models.export import onnx_file, torch_state

IMAGE = ("input", (1, 3, 32, 32))
SMALL = ("input", (1, 3, 8, 8))


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v2", "efficientnet_b0", "convnext_tiny", "vit_b_32"]
)
def test_random_weights_give_outputs_that_tell_errors(spec: Any, name: str) -> None:
    size = 224 if name.startswith("vit") else 32
    source = load_source(spec(f"torchvision:{name}", ("input", (1, 3, size, size))))
    first, second = (source.reference(source.sample_inputs(seed))[0] for seed in (0, 1))
    assert 0.05 < first.std() < 20
    # Another input gives another output: nothing on the way is stuck.
    assert np.abs(first - second).max() > 0.1 * np.abs(first).max()


def test_random_weights_follow_from_the_seed_alone(spec: Any, tmp_path: Path) -> None:
    code = "python:tunekit.models.vanilla_cnn:vanilla_cnn"
    arrays = [
        load_source(spec(code, SMALL, seed=seed)).reference(
            load_source(spec(code, SMALL)).sample_inputs(5)
        )[0]
        for seed in (3, 3, 4)
    ]
    np.testing.assert_array_equal(arrays[0], arrays[1])
    assert np.abs(arrays[0] - arrays[2]).max() > 0.01


def test_another_process_rebuilds_the_same_model_from_its_state(spec: Any, tmp_path: Path) -> None:
    given = spec("python:tunekit.models.vanilla_cnn:vanilla_cnn", SMALL, seed=3)
    source = load_source(given)
    state = torch_state(source, ContentCache(tmp_path / "cache"))
    program = (
        "import sys, numpy as np; from pathlib import Path\n"
        "from tunekit.models import load_source; from tunekit.recipe.schema import ModelSpec\n"
        "spec = ModelSpec.model_validate_json(sys.argv[1])\n"
        "source = load_source(spec, state=Path(sys.argv[2]))\n"
        "np.save(sys.argv[3], source.reference(source.sample_inputs(0))[0])\n"
    )
    output = tmp_path / "output.npy"
    subprocess.run(
        [sys.executable, "-c", program, given.model_dump_json(), state, output], check=True
    )
    expected = source.reference(source.sample_inputs(0))[0]
    np.testing.assert_allclose(np.load(output), expected, rtol=1e-5, atol=1e-6)


def test_calibrated_weights_are_kept_and_read_back(spec: Any, tmp_path: Path) -> None:
    given = spec("python:tunekit.models.vanilla_cnn:vanilla_cnn", SMALL)
    cache = ContentCache(tmp_path)
    first = load_source(given, cache)
    inputs = first.sample_inputs(0)
    expected = first.reference(inputs)[0]
    [entry] = (tmp_path / "torch-state").iterdir()
    np.testing.assert_array_equal(load_source(given, cache).reference(inputs)[0], expected)
    # A damaged state is made again, not read.
    state = entry / "state.pth"
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 0xFF
    state.write_bytes(content)
    np.testing.assert_allclose(
        load_source(given, cache).reference(inputs)[0], expected, rtol=1e-5, atol=1e-6
    )


def test_weights_that_look_trained_are_left_alone(spec: Any) -> None:
    source = load_source(spec("trained", SMALL))
    inputs = source.sample_inputs(0)
    expected = (inputs["input"] - 0.25) / np.sqrt(np.float32(1 + 1e-5))
    np.testing.assert_allclose(source.reference(inputs)[0], expected, rtol=1e-5, atol=1e-6)


def test_a_weights_file_is_what_the_model_computes_with(spec: Any, tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 4))
    weights = tmp_path / "weights.pth"
    for state in (
        module.state_dict(),
        {"state_dict": {f"module.{name}": v for name, v in module.state_dict().items()}},
    ):
        torch.save(state, weights)
        source = load_source(spec("small_linear", SMALL, weights=weights))
        inputs = source.sample_inputs(0)
        with torch.no_grad():
            expected = module(torch.from_numpy(inputs["input"])).numpy()
        np.testing.assert_allclose(source.reference(inputs)[0], expected, rtol=1e-5, atol=1e-6)


def test_weights_that_do_not_fit_name_what_differs(spec: Any, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"

    def message(state: object) -> str:
        torch.save(state, path)
        with pytest.raises(ModelFileError) as caught:
            load_source(spec("small_linear", SMALL, weights=path)).torch_module()
        assert caught.value.exit_code == 2
        return str(caught.value)

    right = {"1.weight": torch.zeros(4, 192), "1.bias": torch.zeros(4)}
    assert "missing: 1.bias" in message({"1.weight": right["1.weight"]})
    assert "not of the model: 1.bia; did you mean '1.bias'?" in message(
        {"1.weight": right["1.weight"], "1.bia": right["1.bias"]}
    )
    assert "1.weight is 5x192 in place of 4x192" in message(
        {**right, "1.weight": torch.zeros(5, 192)}
    )
    assert "no state dict" in message([1, 2])
    assert "more than weights" in message(torch.nn.Linear(2, 2))


def test_damaged_or_missing_weights_are_told_as_such(spec: Any, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"1.weight": torch.zeros(4, 192)}, path)
    whole = path.read_bytes()
    for content in (whole[:500], b"text", b""):
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match=r"weights .* cannot be read"):
            load_source(spec("small_linear", SMALL, weights=path)).torch_module()
    path.unlink()
    with pytest.raises(ModelFileError, match="there is no weights file"):
        load_source(spec("small_linear", SMALL, weights=path))


def test_a_program_of_torch_export_is_read_and_gives_its_inputs(
    spec: Any, tmp_path: Path, run_module: Any
) -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).eval()
    fixed, open_sizes = tmp_path / "fixed.pt2", tmp_path / "open.pt2"
    example = (torch.randn(2, 3, 8, 8),)
    torch.export.save(torch.export.export(module, example), str(fixed))
    batch = torch.export.Dim("batch", min=1, max=16)
    torch.export.save(
        torch.export.export(module, example, dynamic_shapes=({0: batch},)), str(open_sizes)
    )

    by_itself = load_source(spec(str(fixed)))
    assert [(item.name, item.shape) for item in by_itself.inputs] == [("input", (2, 3, 8, 8))]
    assert run_module(by_itself.to_relax(), by_itself)["output"].within(1e-5)

    renamed = load_source(spec(str(open_sizes), ("image", (5, 3, 8, 8))))
    relax_module = renamed.to_relax()
    [parameter] = relax_module["main"].params
    assert parameter.name == "image"
    assert [int(size) for size in parameter.ty.shape] == [5, 3, 8, 8]
    assert renamed.outputs[0].shape == (5, 4, 6, 6)
    with pytest.raises(ModelFileError, match=r"shape \[2, 3, 8, 8\].* gives \[1, 3, 8, 8\]"):
        load_source(spec(str(fixed), ("input", (1, 3, 8, 8))))
    with pytest.raises(ModelFileError, match="sizes that are not fixed"):
        load_source(spec(str(open_sizes)))


def test_a_file_that_is_no_program_is_told_as_such(spec: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    torch.save({"weights": torch.zeros(3)}, path)
    for content in (path.read_bytes(), b"text", b""):
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match=r"not a file of torch\.export\.save") as caught:
            load_source(spec(str(path)))
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("torchvision:resnet81", "no model 'resnet81'; did you mean 'resnet18'"),
        ("python:torch_modles:small_linear", "cannot import torch_modles"),
        ("python:torch_models:smal_linear", "no 'smal_linear'; did you mean 'small_linear'"),
        ("raises", r"raised RuntimeError: the callable's own words; at .*torch_models\.py:\d+"),
        ("not_a_model", "returned int, which is no model"),
        ("python:torch_models:nn", "is not a callable"),
    ],
)
def test_a_source_that_gives_no_model_says_why(spec: Any, source: str, message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        load_source(spec(source, SMALL))


def test_arguments_reach_the_callable_and_wrong_ones_are_told(spec: Any) -> None:
    assert load_source(spec("small_linear", SMALL, arguments={"width": 7})).outputs[0].shape == (
        1,
        7,
    )
    with pytest.raises(ModelFileError, match="unexpected keyword argument 'widht'"):
        load_source(spec("small_linear", SMALL, arguments={"widht": 7}))
    with pytest.raises(ModelFileError, match="does not take these arguments"):
        load_source(spec("torchvision:resnet18", IMAGE, arguments={"no_such": 1})).torch_module()


def test_inputs_that_the_model_does_not_accept_are_told_with_its_words(spec: Any) -> None:
    source = load_source(spec("torchvision:resnet18", ("input", (1, 4, 32, 32))))
    with pytest.raises(ModelFileError, match=r"4 channels|channels.*4") as caught:
        source.to_relax()
    assert "model.inputs" in str(caught.value.hint)
    mistyped = load_source(spec("two_inputs", ("image", (2, 3, 4)), ("maks", (2, 3, 1))))
    with pytest.raises(ModelFileError, match="no input 'maks'; did you mean 'mask'"):
        mistyped.to_relax()
    lonely = load_source(spec("two_inputs", ("image", (2, 3, 4))))
    with pytest.raises(ModelFileError, match="also needs input mask"):
        lonely.to_relax()


def test_the_digest_follows_what_determines_the_model(spec: Any, tmp_path: Path) -> None:
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"one")
    base = {"weights": weights, "arguments": {"width": 4}}
    digests = {source_digest(spec("small_linear", SMALL, **base))}
    digests.add(source_digest(spec("small_linear", SMALL, **base, seed=1)))
    digests.add(source_digest(spec("small_linear", ("x", SMALL[1]), **base)))
    digests.add(source_digest(spec("small_linear", SMALL, weights=weights)))
    digests.add(source_digest(spec("trained", SMALL, **base)))
    weights.write_bytes(b"two")
    digests.add(source_digest(spec("small_linear", SMALL, **base)))
    assert len(digests) == 6


def test_the_digest_follows_the_code_of_a_callable(
    spec: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("own_model.py", "own_blocks.py"):
        (tmp_path / name).write_text("VALUE = 1\n")
    given = spec("python:own_model:build", SMALL)
    first = source_digest(given)
    assert source_digest(given) == first
    (tmp_path / "own_blocks.py").write_text("VALUE = 2\n")
    assert source_digest(given) != first


def test_a_torch_model_is_written_as_onnx_that_computes_the_same(spec: Any, tmp_path: Path) -> None:
    source = load_source(spec("two_inputs", ("mask", (2, 3, 1)), ("image", (2, 3, 4))))
    cache = ContentCache(tmp_path / "cache")
    path = onnx_file(source, cache)
    assert onnx_file(source, cache) == path
    exported = load_source(spec(str(path)))
    assert [item.name for item in exported.inputs] == ["mask", "image"]
    inputs = source.sample_inputs(0)
    for ours, theirs in zip(source.reference(inputs), exported.reference(inputs), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_sample_inputs_are_the_same_everywhere_and_fit_the_dtype(spec: Any) -> None:
    for dtype in ("float32", "float16", "int64", "uint8", "bool"):
        source = load_source(spec("small_linear", ("x", (3, 50)), dtype=dtype))
        values, again, other = (source.sample_inputs(seed)["x"] for seed in (1, 1, 2))
        assert values.dtype == dtype
        assert len(np.unique(values)) > 1
        np.testing.assert_array_equal(values, again)
        assert not np.array_equal(values, other)
