"""GELU, GRN and the Linear behind them as one operation, with few passes.

Their input is four times as wide as the map it comes from, so that every pass over it
counts, and every copy that is kept for the gradient. GRN multiplies each channel by
one number a group, which a Linear can take into its weights: with one group (scope
`batch`) nothing but the norm is ever computed from its input. The gradient through the
norm is added by the matrix product itself. GELU is computed again in the backward pass,
which costs less than memory that holds its output until then.

Shapes: G groups that share a norm, R rows a group, Q of them wanted, E channels in,
C channels out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from torch.nn import Linear

    from mmearth_training.model.blocks import GRN


def grn_linear(  # noqa: PLR0913 -- two layers, their input, what is wanted of it
    grn: GRN,
    linear: Linear,
    x_GRE: Tensor,
    *,
    wanted: int,
    gelu: bool = False,
    averaged: bool = False,
) -> Tensor:
    """Return `linear(grn(x))` for the first `wanted` rows of each group, `(G, Q, C)`.

    GRN takes its norm over all rows of a group.

    Args:
        grn: Its `gamma`, `beta` and `eps`; its scope is what the groups say.
        linear: The Linear behind it.
        x_GRE: Input, all rows.
        wanted: Q, rows that are needed.
        gelu: Run GELU first, `linear(grn(gelu(x)))`.
        averaged: Return the average of the wanted rows, `(G, 1, C)`. It is taken in
            front of the Linear, with which it commutes.

    """
    if grn.sync:
        return _in_order(
            grn, linear, x_GRE, wanted=wanted, gelu=gelu, averaged=averaged
        )
    weight: Tensor = linear.weight
    bias: Tensor = linear.bias
    if torch.is_autocast_enabled(x_GRE.device.type):
        kind = torch.get_autocast_dtype(x_GRE.device.type)
        x_GRE, weight, bias = x_GRE.to(kind), weight.to(kind), bias.to(kind)
    how = _How(eps=grn.eps, wanted=wanted, gelu=gelu, averaged=averaged)
    result: Tensor = _GrnLinear.apply(  # type: ignore[no-untyped-call]
        x_GRE, grn.gamma, grn.beta, weight, bias, how
    )
    return result


def _in_order(  # noqa: PLR0913 -- as grn_linear
    grn: GRN,
    linear: Linear,
    x_GRE: Tensor,
    *,
    wanted: int,
    gelu: bool,
    averaged: bool,
) -> Tensor:
    """Run the layers one after the other, as GRN over several processes needs."""
    y_GRE = functional.gelu(x_GRE) if gelu else x_GRE
    rows_GQE = grn(y_GRE[:, None])[:, 0, :wanted]
    if averaged:
        rows_GQE = rows_GQE.mean(dim=1, keepdim=True)
    result: Tensor = linear(rows_GQE)
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class _How:
    """What is computed; see `grn_linear`."""

    eps: float
    """Added to the mean norm."""

    wanted: int
    """Rows of each group that are needed."""

    gelu: bool
    """Whether GELU comes first."""

    averaged: bool
    """Whether only the average of those rows is needed."""

    def fused(self, groups: int) -> bool:
        """Return whether the Linear can take GRN's factors into its weights."""
        return groups == 1 and not self.averaged

    def rows(self, y_GRE: Tensor) -> Tensor:
        """Return what GRN scales for the Linear, `(G, Q, E)` or `(G, 1, E)`."""
        rows_GQE = y_GRE[:, : self.wanted]
        return rows_GQE.mean(dim=1, keepdim=True) if self.averaged else rows_GQE


class _GrnLinear(torch.autograd.Function):
    """The operation with its gradient; norms and small vectors stay in float32."""

    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917 -- one a tensor
        ctx: Any,  # noqa: ANN401 -- PyTorch's own
        x_GRE: Tensor,
        gamma_E: Tensor,
        beta_E: Tensor,
        weight_CE: Tensor,
        bias_C: Tensor,
        how: _How,
    ) -> Tensor:
        """Compute the norm, then one matrix product."""
        with torch.autocast(x_GRE.device.type, enabled=False):
            y_GRE = functional.gelu(x_GRE) if how.gelu else x_GRE
            high = torch.promote_types(x_GRE.dtype, torch.float32)
            # ten times as fast as linalg.vector_norm over this axis
            norm_GE = y_GRE.to(high).square().sum(1).sqrt()
            mean_G1 = norm_GE.mean(dim=1, keepdim=True) + how.eps
            scale_GE = (1 + gamma_E * (norm_GE / mean_G1)).to(x_GRE.dtype)
            offset_C = bias_C + weight_CE @ beta_E.to(weight_CE.dtype)
            groups, _, width = x_GRE.shape
            rows = how.rows(y_GRE)
            if how.fused(groups):
                y = torch.addmm(offset_C, rows[0], (weight_CE * scale_GE).T)
            else:
                scaled = (rows * scale_GE[:, None]).reshape(-1, width)
                y = torch.addmm(offset_C, scaled, weight_CE.T)
        ctx.save_for_backward(x_GRE, gamma_E, beta_E, weight_CE, norm_GE, mean_G1)
        ctx.how = how
        return y.view(groups, rows.shape[1], -1)

    @staticmethod
    def backward(ctx: Any, grad_GQC: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Return the gradients; that of GRN's input starts as the part of the norm."""
        x_GRE, gamma_E, beta_E, weight_CE, norm_GE, mean_G1 = ctx.saved_tensors
        how: _How = ctx.how
        with torch.autocast(x_GRE.device.type, enabled=False):
            groups, _, width = x_GRE.shape
            kind, high = x_GRE.dtype, norm_GE.dtype
            y_GRE = functional.gelu(x_GRE) if how.gelu else x_GRE
            rows = how.rows(y_GRE)
            response_GE = norm_GE / mean_G1
            scale_GE = (1 + gamma_E * response_GE).to(kind)
            grad_MC = grad_GQC.reshape(-1, grad_GQC.shape[-1])
            grad_bias_C = grad_MC.sum(0)
            if how.fused(groups):
                product_CE = grad_MC.T @ rows[0]
                grad_weight_CE = product_CE * scale_GE
                grad_scale_GE = (product_CE * weight_CE).sum(0, dtype=high)[None]
            else:
                grad_z = (grad_MC @ weight_CE).view(groups, -1, width)
                scaled = rows * scale_GE[:, None]
                grad_weight_CE = grad_MC.T @ scaled.view(-1, width)
                grad_scale_GE = torch.mul(grad_z, rows, out=scaled).sum(1, dtype=high)
            grad_weight_CE = grad_weight_CE + torch.outer(
                grad_bias_C, beta_E.to(grad_bias_C.dtype)
            )
            grad_beta_E = (grad_bias_C @ weight_CE).to(beta_E.dtype)
            grad_gamma_E = (grad_scale_GE * response_GE).sum(0).to(gamma_E.dtype)
            grad_norm_GE = _through_response(grad_scale_GE * gamma_E, norm_GE, mean_G1)
            pull_GE = torch.where(norm_GE > 0, grad_norm_GE / norm_GE, 0).to(kind)
            grad_GRE = (y_GRE.mul_ if how.gelu else y_GRE.mul)(pull_GE[:, None])
            part_GQE = grad_GRE[:, : how.wanted]
            if how.fused(groups):
                part_GQE[0].addmm_(grad_MC, weight_CE * scale_GE)
            else:
                share = 1 / how.wanted if how.averaged else 1
                part_GQE.addcmul_(grad_z, scale_GE[:, None], value=share)
            if how.gelu:
                grad_GRE = torch.ops.aten.gelu_backward.grad_input(
                    grad_GRE, x_GRE, grad_input=grad_GRE
                )
        return (
            *(grad_GRE, grad_gamma_E, grad_beta_E),
            *(grad_weight_CE, grad_bias_C, None),
        )


def _through_response(grad_GE: Tensor, norm_GE: Tensor, mean_G1: Tensor) -> Tensor:
    """Return the gradient of `norm` from that of `norm / (mean of norm + eps)`."""
    through_mean = (grad_GE * norm_GE).mean(dim=1, keepdim=True) / mean_G1**2
    return grad_GE / mean_G1 - through_mean
