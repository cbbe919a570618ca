"""Operations with a gradient of their own: equal to the plain layers, gradcheck."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmearth_training.model.blocks import GRN
from mmearth_training.model.grn_linear import grn_linear
from mmearth_training.model.masking import pick, reorder

SEED = 5


def _layers() -> tuple[GRN, nn.Linear]:
    torch.manual_seed(SEED)
    grn = GRN(6, scope="window", eps=1e-4).double()
    for parameter in grn.parameters():
        nn.init.normal_(parameter)
    return grn, nn.Linear(6, 3).double()


def _plain(grn: GRN, linear: nn.Linear, x_GRE: Tensor, wanted: int) -> Tensor:
    y_GRE = grn(functional.gelu(x_GRE)[:, None])[:, 0]
    result: Tensor = linear(y_GRE)[:, :wanted]
    return result


@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("wanted", [2, 4])
def test_gelu_grn_linear_is_the_plain_layers(
    groups: int, wanted: int, *, averaged: bool
) -> None:
    grn, linear = _layers()
    x_GRE = torch.randn(groups, 4, 6, dtype=torch.float64, requires_grad=True)
    plain = _plain(grn, linear, x_GRE, wanted)
    if averaged:
        plain = plain.mean(1, keepdim=True)
    ours = grn_linear(grn, linear, x_GRE, wanted=wanted, gelu=True, averaged=averaged)
    torch.testing.assert_close(ours, plain)
    inputs = [x_GRE, *grn.parameters(), *linear.parameters()]
    weight = torch.randn_like(plain)
    expected = torch.autograd.grad(plain, inputs, weight)
    torch.testing.assert_close(torch.autograd.grad(ours, inputs, weight), expected)


@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize("groups", [1, 3])
def test_gradient_of_gelu_grn_linear(groups: int, *, averaged: bool) -> None:
    grn, linear = _layers()
    x_GRE = torch.randn(groups, 4, 6, dtype=torch.float64, requires_grad=True)

    def run(x_GRE: Tensor, *_: Tensor) -> Tensor:
        return grn_linear(grn, linear, x_GRE, wanted=2, gelu=True, averaged=averaged)

    inputs = (x_GRE, *grn.parameters(), *linear.parameters())
    assert torch.autograd.gradcheck(run, inputs)


def test_reorder_is_pick_and_its_gradient_the_inverse() -> None:
    torch.manual_seed(SEED)
    order_NP = torch.stack([torch.randperm(5) for _ in range(2)])
    back_NP = order_NP.argsort(1)
    x_NPC = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    there = reorder(x_NPC, order_NP, back_NP)
    assert torch.equal(there, pick(x_NPC, order_NP))
    assert torch.equal(reorder(there, back_NP, order_NP), x_NPC)
    assert torch.autograd.gradcheck(lambda x: reorder(x, order_NP, back_NP), (x_NPC,))
