"""A stand-in for timm, which needs torchvision, which has no build for a CPU's PyTorch.

Its ConvNeXt V2 has the names, shapes and arithmetic of timm 1.0.31 (`convnext.py`),
the small sizes with 1x1 convolutions in place of linear layers as there.
"""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor, nn
from torch.nn import functional

DEPTHS, DIMS = (1, 1, 2, 1), (8, 16, 24, 32)


class Norm2d(nn.LayerNorm):
    """LayerNorm over channels."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class Grn(nn.Module):
    """GRN with its scale called `weight` and its shift `bias`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels))
        self.bias = nn.Parameter(torch.randn(channels))

    def forward(self, x: Tensor) -> Tensor:
        norm = x.norm(p=2, dim=(2, 3), keepdim=True)
        share = norm / (norm.mean(dim=1, keepdim=True) + 1e-6)
        scale, shift = self.weight[:, None, None], self.bias[:, None, None]
        return x + shift + scale * (x * share)


class Mlp(nn.Module):
    """Two 1x1 convolutions around GELU and GRN."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, 4 * channels, 1)
        self.grn = Grn(4 * channels)
        self.fc2 = nn.Conv2d(4 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(self.grn(functional.gelu(self.fc1(x))))
        return out


class Block(nn.Module):
    """A block, its depthwise convolution called `conv_dw`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = Norm2d(channels)
        self.mlp = Mlp(channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.mlp(self.norm(self.conv_dw(x)))
        return out


class Stage(nn.Module):
    """Downsampling belongs to the stage behind it."""

    def __init__(self, before: int, channels: int, depth: int) -> None:
        super().__init__()
        self.downsample: nn.Module = nn.Identity()
        if before:
            self.downsample = nn.Sequential(
                Norm2d(before), nn.Conv2d(before, channels, 2, 2)
            )
        self.blocks = nn.Sequential(*(Block(channels) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.blocks(self.downsample(x))
        return out


class ConvNeXtV2(nn.Module):
    """`convnextv2_small_stand_in`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, DIMS[0], 4, 4), Norm2d(DIMS[0]))
        before = (0, *DIMS[:3])
        self.stages = nn.Sequential(*map(Stage, before, DIMS, DEPTHS))
        self.head = nn.Sequential()
        self.head.add_module("norm", Norm2d(DIMS[-1]))

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the map of the last stage."""
        out: Tensor = self.stages(self.stem(x))
        return out


class Other(nn.Module):
    """`other_stand_in`: features of any other architecture."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x).relu().mean(dim=(2, 3))
        return out


class StandIn(ModuleType):
    """What is imported as `timm`."""

    def __init__(self, *, offline: bool = False) -> None:
        super().__init__("timm")
        self.offline = offline

    def create_model(
        self, name: str, *, pretrained: bool, num_classes: int, in_chans: int
    ) -> nn.Module:
        """Return a model, or say what timm says."""
        assert pretrained
        assert (num_classes, in_chans) == (0, 3)
        models = {"convnextv2_small_stand_in": ConvNeXtV2, "other_stand_in": Other}
        if name not in models:
            raise RuntimeError(f"Unknown model ({name})")
        if self.offline:
            raise FileNotFoundError("cannot find the requested files\nin the cache")
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return models[name]()
