"""The depthwise convolution with its own gradient, against PyTorch's."""

import pytest
import torch
from torch import Tensor, nn

from mmearth_training.model.depthwise import LARGEST_SIDE, depthwise
from tests.helpers.pretraining import relative


def conv_of(channels: int, side: int = 7) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(channels, channels, side, padding=side // 2, groups=channels)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize(
    ("count", "height", "width", "side"),
    [(3, 7, 7, 7), (2, 5, 9, 7), (1, 1, 1, 7), (2, 6, 6, 3), (2, 28, 28, 7)],
)
def test_value_and_gradients_are_those_of_the_layer(
    count: int, height: int, width: int, side: int, layout: torch.memory_format
) -> None:
    conv = conv_of(6, side)
    x = torch.randn(count, 6, height, width).contiguous(memory_format=layout)
    pull = torch.randn_like(x)

    def with_gradients(y: Tensor, leaf: Tensor) -> list[Tensor]:
        wanted = (leaf, conv.weight, conv.bias)
        return [y, *torch.autograd.grad(y, wanted, pull)]  # type: ignore[arg-type]

    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    got = with_gradients(depthwise(conv, ours), ours)
    expected = with_gradients(conv(theirs), theirs)
    assert [relative(a, b) < 5e-6 for a, b in zip(got, expected, strict=True)] == [
        True
    ] * 4


def test_double_precision_gradients_by_difference() -> None:
    conv = conv_of(2, 3).double()
    x = torch.randn(2, 2, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: depthwise(conv, x), (x,))


@pytest.mark.parametrize("side", [LARGEST_SIDE, LARGEST_SIDE + 1])
def test_large_maps_keep_the_gradient_of_pytorch(side: int) -> None:
    conv = conv_of(1)
    y = depthwise(conv, torch.zeros(1, 1, side, side, requires_grad=True))
    ours = side <= LARGEST_SIDE
    assert ("Depthwise" in type(y.grad_fn).__name__) == ours


def test_an_input_without_gradient_gets_none() -> None:
    conv = conv_of(2)
    y = depthwise(conv, torch.randn(1, 2, 7, 7))
    y.sum().backward()
    assert conv.weight.grad is not None
