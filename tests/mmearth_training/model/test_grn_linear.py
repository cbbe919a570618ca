"""GRN and its Linear as one operation: the same value, the same gradient."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call

from mmearth_training.model.blocks import GRN
from mmearth_training.model.grn_linear import grn_linear
from tests.helpers.pretraining import gradients, randomise, relative

SHAPES = [(1, 6, 6), (1, 6, 4), (3, 5, 5), (3, 5, 2), (2, 1, 1)]
"""Groups, rows a group, rows that are wanted."""

CASES = pytest.mark.parametrize(("groups", "rows", "wanted"), SHAPES)


class Pair(nn.Module):
    """GRN, then a Linear."""

    def __init__(self, width: int = 8, out: int = 5, eps: float = 1e-6) -> None:
        super().__init__()
        self.grn = GRN(width, eps=eps)
        self.linear = nn.Linear(width, out)
        randomise(self)

    def forward(self, x_GRE: Tensor, wanted: int, *, fused: bool) -> Tensor:
        if fused:
            return grn_linear(self.grn, self.linear, x_GRE, wanted=wanted)
        y = self.linear(self.grn(x_GRE[:, :, None])[:, :, 0])
        return y[:, :wanted]


def draw(groups: int, rows: int, width: int = 8, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(groups, rows, width, generator=generator)


def both(pair: Pair, x: Tensor, wanted: int) -> list[tuple[Tensor, dict[str, Tensor]]]:
    """Return value and gradients of the operation, and of the two layers."""
    results = []
    for fused in (True, False):
        pair.zero_grad()
        leaf = x.clone().requires_grad_()
        y = pair(leaf, wanted, fused=fused)
        generator = torch.Generator().manual_seed(2)
        pull = torch.randn(y.shape, generator=generator, dtype=torch.float64)
        (y * pull.to(y.dtype)).sum().backward()
        assert leaf.grad is not None
        pulls = {name: pull.clone() for name, pull in gradients(pair).items()}
        results.append((y.detach(), {"x": leaf.grad, **pulls}))
    return results


@CASES
@pytest.mark.parametrize("eps", [1e-6, 1e-4, 1.0])
def test_equals_linear_of_grn(groups: int, rows: int, wanted: int, eps: float) -> None:
    pair, x = Pair(eps=eps), draw(groups, rows)
    (y, pulls), (expected, expected_pulls) = both(pair, x, wanted)
    assert y.shape == (groups, wanted, 5)
    assert relative(y, expected) < 1e-6
    for name, pull in expected_pulls.items():
        assert relative(pulls[name], pull) < 1e-5, name


@given(
    groups=st.integers(1, 4),
    rows=st.integers(1, 7),
    data=st.data(),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
    seed=st.integers(0, 999),
)
@settings(max_examples=60, deadline=None)
def test_law_linear_of_grn_in_float64(
    groups: int, rows: int, scale: float, seed: int, data: st.DataObject
) -> None:
    """Law: value and every gradient are those of `Linear(GRN(x))[:, :wanted]`."""
    wanted = data.draw(st.integers(1, rows))
    pair = Pair(eps=1e-4).double()
    x = draw(groups, rows, seed=seed).double() * scale
    (y, pulls), (expected, expected_pulls) = both(pair, x, wanted)
    assert relative(y, expected) < 1e-12
    for name, pull in expected_pulls.items():
        assert relative(pulls[name], pull) < 1e-9, name


@CASES
@pytest.mark.parametrize("zero", [False, True], ids=["dense", "a channel of zeros"])
def test_gradients_are_those_of_finite_differences(
    groups: int, rows: int, wanted: int, *, zero: bool
) -> None:
    pair = Pair(width=4, out=3, eps=1e-3).double()
    x = draw(groups, rows, width=4).double().requires_grad_()
    if zero:
        x.data[:, :, 2] = 0
    names, weights = zip(*pair.named_parameters(), strict=True)

    def function(x: Tensor, *weights: Tensor) -> Tensor:
        named = dict(zip(names, weights, strict=True))
        return functional_call(pair, named, (x, wanted), {"fused": True})

    assert torch.autograd.gradcheck(function, (x, *weights))


@pytest.mark.parametrize("groups", [1, 3])
def test_zeros_everywhere_have_a_finite_gradient(groups: int) -> None:
    """Nothing to normalise: the offset comes out, and no NaN goes back."""
    pair = Pair()
    (y, pulls), _ = both(pair, torch.zeros(groups, 4, 8), 4)
    offset = pair.linear(pair.grn.beta)
    torch.testing.assert_close(y, offset.expand(groups, 4, 5))
    assert all(torch.isfinite(pull).all() for pull in pulls.values())


@pytest.mark.parametrize("groups", [1, 3])
def test_eps_is_that_of_the_grn(groups: int) -> None:
    """It is far above the norms here, so that the response vanishes."""
    x = draw(groups, 4) * 1e-4
    loose, strict = Pair(eps=1e3), Pair(eps=1e-9)
    without = loose.linear(x + loose.grn.beta)
    assert relative(loose(x, 4, fused=True), without) < 1e-6
    scaled = strict(x, 4, fused=True) - strict.linear(strict.grn.beta)
    assert relative(scaled, loose.linear(x) - loose.linear.bias) > 0.1


@CASES
def test_bf16_autocast_stays_close(groups: int, rows: int, wanted: int) -> None:
    """Value and gradients point the way of float32; parameters keep their type."""
    pair, x = Pair(width=64, out=16), draw(groups, rows, width=64)
    exact = both(pair, x, wanted)[1]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, pulls = both(pair, x, wanted)[0]
    assert y.dtype == torch.bfloat16
    compared = {"y": (y, exact[0])}
    compared |= {name: (pulls[name], exact[1][name]) for name in pulls}
    for name, (ours, theirs) in compared.items():
        if name != "y":
            assert ours.dtype == torch.float32, name
        cosine = nn.functional.cosine_similarity(
            ours.float().flatten(), theirs.flatten(), dim=0
        )
        assert cosine > 0.999, name
