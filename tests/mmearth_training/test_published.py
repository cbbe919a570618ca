"""Published checkpoints: read whole, and never run."""

import argparse
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from mmearth_infer.contract.bands import MMEARTH_BANDS, MMEARTH_RGB_BANDS
from mmearth_infer.errors import ModelError, UnsafeFileError
from mmearth_training.model.encoder import SIZES, Encoder, EncoderConfig, Size
from mmearth_training.published import load_published
from tests.helpers.data import needs_golden
from tests.helpers.golden import write_checkpoint

ENTRY = Size(depths=(1, 2, 3, 1), dims=(8, 16, 24, 32))


def to_sparse(encoder: Encoder) -> dict[str, torch.Tensor]:
    """Write an encoder's weights as the sparse training code stores them.

    The way back from reference: the dense kernel `(out, in, y, x)` becomes
    `(x y, in, out)`, counted column by column.
    """
    sparse = {}
    for name, weight in encoder.state_dict().items():
        key = f"encoder.{name}"
        if weight.ndim == 4:
            turned = weight.transpose(3, 2)
            if weight.shape[1] == 1 and weight.shape[0] > 1:
                value = turned.reshape(weight.shape[0], -1).T
            else:
                value = turned.flatten(2).permute(2, 1, 0)
                if value.shape[0] == 1:
                    value = value[0]
            sparse[key.replace(".weight", ".kernel")] = value.contiguous()
        elif ".pwconv" in key:
            wrapped = key.replace(".weight", ".linear.weight")
            sparse[wrapped.replace(".bias", ".linear.bias")] = weight
        elif ".grn." in key or ".dwconv." in key:
            sparse[key] = weight[None]
        elif weight.ndim == 1 and is_norm(key):
            head, _, tail = key.rpartition(".")
            sparse[f"{head}.ln.{tail}"] = weight
        else:
            sparse[key] = weight[None]
    return sparse


def is_norm(key: str) -> bool:
    """Tell a LayerNorm's vectors from a convolution's bias."""
    norms = ("initial_conv.1.", "stem.1.", ".norm.")
    downsample = "downsample_layers" in key and ".0." in key.split("layers.")[1][1:]
    return any(part in key for part in norms) or downsample


@pytest.mark.parametrize(
    ("patch_px", "original_stem", "bands"),
    [(16, False, 12), (8, False, 12), (8, True, 12), (32, True, 12), (16, False, 3)],
)
def test_shape_and_weights_are_inferred(
    tmp_path: Path, patch_px: int, bands: int, *, original_stem: bool
) -> None:
    """Every stem and patch size comes back from sparse tensors, bit for bit."""
    config = EncoderConfig(
        size=ENTRY, patch_px=patch_px, original_stem=original_stem, bands=bands
    )
    encoder = Encoder(config)
    for weight in encoder.parameters():
        torch.nn.init.normal_(weight)
    names = list(MMEARTH_BANDS if bands == 12 else MMEARTH_RGB_BANDS)
    path = write_checkpoint(
        tmp_path / "pt.pth",
        to_sparse(encoder),
        patch_size=patch_px,
        inp_modalities={"sentinel2": names},
    )
    read = load_published(path)
    assert read.config == config
    assert read.bands == tuple(names)
    assert read.size_name == "custom"
    for name, weight in encoder.state_dict().items():
        assert torch.equal(read.state[name], weight), name


@needs_golden
def test_the_golden_checkpoint(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "pt.pth")
    read = load_published(path)
    assert read.config == EncoderConfig(size=SIZES["atto"])
    assert (read.size_name, read.crop_px) == ("atto", 112)
    assert read.bands == MMEARTH_BANDS
    assert read.facts["mask_ratio"] == 0.6
    assert "data_dir" not in read.facts


def small_state() -> dict[str, torch.Tensor]:
    return to_sparse(Encoder(EncoderConfig(size=ENTRY)))


class Malicious:
    """Asks for a command to be run when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


@pytest.mark.parametrize("where", ["model", "args", "optimizer"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_pickle_is_refused_and_not_run(
    tmp_path: Path, where: str, *, zipped: bool
) -> None:
    trace = tmp_path / "trace"
    content = {"model": small_state(), where: Malicious(f"touch {trace}")}
    path = tmp_path / "pt.pth"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UnsafeFileError, match="nothing of it was run") as error:
        load_published(path)
    assert error.value.hint is not None
    assert not trace.exists()


def test_a_bare_malicious_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    path = tmp_path / "pt.pth"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path.write_bytes(pickle.dumps({"model": Malicious(f"touch {trace}")}, protocol))
        with pytest.raises(ModelError):
            load_published(path)
        assert not trace.exists()


def test_stand_ins_are_inert(tmp_path: Path) -> None:
    """A namespace cannot reach anything by what it is filled with."""
    args = {"parts": "x", "__dict__": {}, "model": ["a"], "input_size": -5}
    path = tmp_path / "pt.pth"
    namespace = argparse.Namespace()
    vars(namespace).update(args)
    torch.save({"model": small_state(), "args": namespace}, path)
    read = load_published(path)
    assert read.crop_px == 112
    assert "model" not in read.facts


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds no `model`"),
        ({"model": {}}, "no weights of an encoder"),
        ({"model": {"encoder.x": torch.zeros(2)}}, "is not an MP-MAE encoder"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "pt.pth"
    torch.save(content, path)
    with pytest.raises(ModelError, match=message) as error:
        load_published(path)
    assert error.value.hint is not None


def test_missing_cut_off_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no checkpoint"):
        load_published(tmp_path / "absent.pth")
    whole = write_checkpoint(tmp_path / "pt.pth", small_state()).read_bytes()
    cut = tmp_path / "cut.pth"
    for share in (0.1, 0.5, 0.99):
        cut.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(ModelError, match="not a PyTorch checkpoint"):
            load_published(cut)
    cut.write_text("hello")
    with pytest.raises(ModelError, match="not a PyTorch checkpoint"):
        load_published(cut)


def test_tensors_that_do_not_fit_are_named(tmp_path: Path) -> None:
    state = small_state()
    state["encoder.stages.2.1.grn.gamma"] = torch.zeros(1, 3)
    del state["encoder.stem.1.ln.bias"]
    path = write_checkpoint(tmp_path / "pt.pth", state)
    with pytest.raises(ModelError, match="2 tensors") as error:
        load_published(path)
    assert "stages.2.1.grn.gamma" in str(error.value)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"patch_size": 8}, "says its patch size is 8"),
        ({"inp_modalities": {"sentinel2": ["B2"]}}, "records the bands B2"),
        ({"inp_modalities": {"sentinel2": ["X"] * 12}}, "records the bands X"),
    ],
)
def test_arguments_that_contradict_the_tensors(
    tmp_path: Path, args: dict[str, object], message: str
) -> None:
    path = write_checkpoint(tmp_path / "pt.pth", small_state(), **args)
    with pytest.raises(ModelError, match=message):
        load_published(path)


def test_bands_that_nothing_names(tmp_path: Path) -> None:
    state = to_sparse(Encoder(EncoderConfig(size=ENTRY, bands=5)))
    path = write_checkpoint(tmp_path / "pt.pth", state, inp_modalities=None)
    with pytest.raises(ModelError, match="reads 5 bands"):
        load_published(path)


@pytest.mark.parametrize("shape", [(), (49,), (49, 1, 8), (7, 7, 1, 8)])
def test_a_kernel_of_another_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    state = small_state()
    state["encoder.stages.0.0.dwconv.kernel"] = torch.zeros(shape)
    path = write_checkpoint(tmp_path / "pt.pth", state)
    with pytest.raises(ModelError, match=f"has {len(shape)} axes"):
        load_published(path)


def test_a_block_number_out_of_all_proportion(tmp_path: Path) -> None:
    """A name alone never makes the network deep."""
    state = small_state()
    name = "encoder.stages.0.2000000000.dwconv.bias"
    state[name] = state["encoder.stages.0.0.dwconv.bias"]
    path = write_checkpoint(tmp_path / "pt.pth", state)
    with pytest.raises(ModelError, match="do not fit"):
        load_published(path)


def test_a_kernel_that_is_no_square(tmp_path: Path) -> None:
    state = small_state()
    key = "encoder.initial_conv.0.kernel"
    state[key] = torch.from_numpy(np.zeros((8, 12, 8), dtype="float32"))
    path = write_checkpoint(tmp_path / "pt.pth", state)
    with pytest.raises(ModelError, match="8 positions"):
        load_published(path)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.zeros(1).expand(10**11), "is not a plain tensor"),
        (torch.zeros(8, device="meta"), "is not a plain tensor"),
        (torch.zeros(8).to_sparse(), "is not a plain tensor|not a PyTorch checkpoint"),
        (torch.zeros(8, dtype=torch.int64), "is not a plain tensor"),
        (torch.full((8,), torch.nan), "NaN or infinity"),
    ],
)
def test_tensors_that_are_not_what_they_say(
    tmp_path: Path, tensor: torch.Tensor, message: str
) -> None:
    """Refused before anything of the size they claim is allocated."""
    state = small_state()
    state["encoder.stem.1.ln.bias"] = tensor
    path = write_checkpoint(tmp_path / "pt.pth", state)
    with pytest.raises(ModelError, match=message) as error:
        load_published(path)
    assert error.value.hint is not None


def test_a_crop_of_no_size(tmp_path: Path) -> None:
    path = tmp_path / "pt.pth"
    args = argparse.Namespace(input_size=10**9)
    torch.save({"model": small_state(), "args": args}, path)
    with pytest.raises(ModelError, match="crops of 1000000000 px"):
        load_published(path)
