"""GRN and the Linear behind it as one operation, with few passes over its input.

The input is four times as wide as the map it comes from, so that every pass over it
counts. GRN multiplies each channel by one number a group, which a Linear can take
into its weights: with one group (scope `batch`) nothing but the norm is ever computed
from the input. The gradient through the norm is added by the matrix product itself.

Shapes: G groups that share a norm, R rows a group, Q of them wanted, E channels in,
C channels out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.nn import Linear

    from mmearth_training.model.blocks import GRN


def grn_linear(grn: GRN, linear: Linear, x_GRE: Tensor, *, wanted: int) -> Tensor:
    """Return `linear(grn(x))` for the first `wanted` rows of each group, `(G, Q, C)`.

    GRN takes its norm over all rows of a group.

    Args:
        grn: Its `gamma`, `beta` and `eps`; its scope is what the groups say.
        linear: The Linear behind it.
        x_GRE: Input, all rows.
        wanted: Q, rows that are needed.

    """
    weight, bias = linear.weight, linear.bias
    if torch.is_autocast_enabled(x_GRE.device.type):
        kind = torch.get_autocast_dtype(x_GRE.device.type)
        x_GRE, weight, bias = x_GRE.to(kind), weight.to(kind), bias.to(kind)
    result: Tensor = _GrnLinear.apply(
        x_GRE, grn.gamma, grn.beta, weight, bias, grn.eps, wanted
    )
    return result


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
        eps: float,
        wanted: int,
    ) -> Tensor:
        """Compute the norm, then one matrix product."""
        with torch.autocast(x_GRE.device.type, enabled=False):
            high = torch.promote_types(x_GRE.dtype, torch.float32)
            norm_GE = torch.linalg.vector_norm(x_GRE, dim=1, dtype=high)
            mean_G1 = norm_GE.mean(dim=1, keepdim=True) + eps
            scale_GE = (1 + gamma_E * (norm_GE / mean_G1)).to(x_GRE.dtype)
            offset_C = bias_C + weight_CE @ beta_E.to(weight_CE.dtype)
            groups, _, width = x_GRE.shape
            rows = x_GRE[:, :wanted]
            if groups == 1:
                y = torch.addmm(offset_C, rows[0], (weight_CE * scale_GE).T)
            else:
                scaled = (rows * scale_GE[:, None]).reshape(-1, width)
                y = torch.addmm(offset_C, scaled, weight_CE.T)
        ctx.save_for_backward(x_GRE, gamma_E, beta_E, weight_CE, norm_GE, mean_G1)
        ctx.wanted = wanted
        return y.view(groups, wanted, -1)

    @staticmethod
    def backward(ctx: Any, grad_GQC: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]  # noqa: ANN401
        """Return the gradients; that of `x` starts as the part through the norm."""
        x_GRE, gamma_E, beta_E, weight_CE, norm_GE, mean_G1 = ctx.saved_tensors
        with torch.autocast(x_GRE.device.type, enabled=False):
            groups, _, width = x_GRE.shape
            kind, high = x_GRE.dtype, norm_GE.dtype
            rows = x_GRE[:, : ctx.wanted]
            response_GE = norm_GE / mean_G1
            scale_GE = (1 + gamma_E * response_GE).to(kind)
            grad_MC = grad_GQC.reshape(-1, grad_GQC.shape[-1])
            grad_bias_C = grad_MC.sum(0)
            if groups == 1:
                product_CE = grad_MC.T @ rows[0]
                grad_weight_CE = product_CE * scale_GE
                grad_scale_GE = (product_CE * weight_CE).sum(0, dtype=high)[None]
                grad_z = None
            else:
                scaled = (rows * scale_GE[:, None]).reshape(-1, width)
                grad_weight_CE = grad_MC.T @ scaled
                grad_z = (grad_MC @ weight_CE).view(groups, -1, width)
                grad_scale_GE = (grad_z * rows).sum(1, dtype=high)
            grad_weight_CE = grad_weight_CE + torch.outer(
                grad_bias_C, beta_E.to(grad_bias_C.dtype)
            )
            grad_beta_E = (grad_bias_C @ weight_CE).to(beta_E.dtype)
            grad_gamma_E = (grad_scale_GE * response_GE).sum(0).to(gamma_E.dtype)
            grad_norm_GE = _through_response(grad_scale_GE * gamma_E, norm_GE, mean_G1)
            pull_GE = torch.where(norm_GE > 0, grad_norm_GE / norm_GE, 0).to(kind)
            grad_x_GRE = x_GRE * pull_GE[:, None]
            if grad_z is None:
                grad_x_GRE[0, : ctx.wanted].addmm_(grad_MC, weight_CE * scale_GE)
            else:
                grad_x_GRE[:, : ctx.wanted].addcmul_(grad_z, scale_GE[:, None])
        return (
            *(grad_x_GRE, grad_gamma_E, grad_beta_E),
            *(grad_weight_CE, grad_bias_C, None, None),
        )


def _through_response(grad_GE: Tensor, norm_GE: Tensor, mean_G1: Tensor) -> Tensor:
    """Return the gradient of `norm` from that of `norm / (mean of norm + eps)`."""
    through_mean = (grad_GE * norm_GE).mean(dim=1, keepdim=True) / mean_G1**2
    return grad_GE / mean_G1 - through_mean
