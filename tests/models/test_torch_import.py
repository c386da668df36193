from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch_models

from tunekit.errors import ImportFailed
from tunekit.models import load_source

TOLERANCE = 1e-5


def test_every_kind_of_negative_index_reads_inside_of_the_tensor(
    spec: Any, run_module: Callable[..., Any]
) -> None:
    source = load_source(spec("indexing", ("x", (2, 5, 6))))
    errors = run_module(source.to_relax(), source)
    assert len(errors) == 13
    wrong = {name: str(result) for name, result in errors.items() if not result.within(TOLERANCE)}
    assert wrong == {}


def test_batch_norm_goes_into_weights_or_stays_as_multiply_and_add(
    spec: Any, run_module: Callable[..., Any], operators: Callable[[Any], Counter[str]]
) -> None:
    source = load_source(spec("convolutions_and_norms", ("x", (2, 4, 10, 10))))
    module = source.to_relax()
    count = operators(module)
    assert count["nn.batch_norm"] == 0
    # One before a convolution, one behind a convolution that something else uses too.
    assert count["multiply"] == 2
    assert count["reshape"] == count["permute_dims"] == 0
    errors = run_module(module, source)
    assert errors["output"].within(TOLERANCE), errors


def test_resnet_keeps_no_batch_norm_and_one_bias_for_each_convolution(
    spec: Any, operators: Callable[[Any], Counter[str]]
) -> None:
    count = operators(load_source(spec("torchvision:resnet18", ("x", (1, 3, 32, 32)))).to_relax())
    assert count["nn.conv2d"] == 20
    assert count["nn.batch_norm"] == count["multiply"] == 0
    assert count["add"] == 20 + 8 + 1  # biases, residuals, the classifier's


def test_activations_and_pooling_stay_whole(
    spec: Any, run_module: Callable[..., Any], operators: Callable[[Any], Counter[str]]
) -> None:
    source = load_source(spec("squeeze_and_excite", ("x", (1, 4, 6, 6))))
    module = source.to_relax()
    assert operators(module) >= Counter(
        {
            "nn.conv2d": 3,
            "nn.silu": 1,
            "nn.adaptive_avg_pool2d": 1,
            "nn.max_pool2d": 1,
            "image.resize2d": 1,
        }
    )
    assert run_module(module, source)["output"].within(TOLERANCE)


def test_attention_is_imported_with_every_kind_of_mask(
    spec: Any, run_module: Callable[..., Any], operators: Callable[[Any], Counter[str]]
) -> None:
    source = load_source(spec("attention", ("x", (1, 6, 16))))
    module = source.to_relax()
    # torch's own decomposition guards each softmax against rows that are masked as a whole.
    assert operators(module)["nn.softmax"] == 4
    assert operators(module)["logical_not"] == 0
    errors = run_module(module, source)
    assert list(errors) == ["plain", "causal", "float", "bool"]
    assert all(result.within(TOLERANCE) for result in errors.values()), errors


def test_inputs_keep_their_names_in_any_order_and_outputs_their_order(
    spec: Any, run_module: Callable[..., Any]
) -> None:
    # The model's own order is image, mask.
    source = load_source(spec("two_inputs", ("mask", (2, 3, 1)), ("image", (2, 3, 4))))
    module = source.to_relax()
    assert [parameter.name for parameter in module["main"].params] == ["mask", "image"]
    assert [spec.shape for spec in source.outputs] == [(2, 3, 4), (2, 3, 4), (2, 1), (2, 3)]
    errors = run_module(module, source)
    assert [result.relative_error < TOLERANCE for result in errors.values()] == [True] * 4


def test_inputs_of_the_recipes_own_names_are_taken_by_position(spec: Any) -> None:
    source = load_source(spec("two_inputs", ("a", (2, 3, 4)), ("b", (2, 3, 1))))
    module = source.to_relax()
    assert [parameter.name for parameter in module["main"].params] == ["a", "b"]


def test_an_unsupported_operator_is_named_with_its_place_and_nothing_else_is_printed(
    spec: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    source = load_source(spec("unsupported", ("x", (1, 3, 8, 8))))
    with pytest.raises(ImportFailed) as caught:
        source.to_relax()
    message = str(caught.value)
    assert "bessel_j0" in message
    assert "(Bessel)" in message
    assert "inner.1" in message
    assert "torch_models.py:" in message
    assert "\n" not in message
    assert "ONNX" in str(caught.value.hint)
    assert capfd.readouterr() == ("", "")


def test_a_model_that_cannot_be_traced_says_why_and_where(
    spec: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    source = load_source(spec("data_dependent", ("x", (1, 3))))
    with pytest.raises(ImportFailed) as caught:
        source.to_relax()
    message = str(caught.value)
    assert "data_dependent: torch.export cannot trace the model" in message
    assert f"{torch_models.__file__}:" in message
    assert len(message.splitlines()) == 1
    assert "torch.where" in str(caught.value.hint)
    assert capfd.readouterr() == ("", "")
