"""Published checkpoints by name: got from a server here, verified, made into models."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from mmearth_export import download as downloading
from mmearth_export import get_model as getting
from mmearth_export.artifact import ExportConfig
from mmearth_infer.contract.bands import MMEARTH_BANDS
from mmearth_infer.disk import sha256_of
from mmearth_infer.models.cache import kept_checkpoint, kept_facts, kept_model
from mmearth_training.published import load_published
from tests.conftest import Ran
from tests.helpers.data import GOLDEN, needs_golden
from tests.helpers.file_server import FileServer, serving
from tests.helpers.golden import golden_state, write_checkpoint

Mmearth = Callable[..., Ran]

NAME = "pt-all_mod_atto_1M_128_uncertainty_112-16"
OTHER = "pt-all_mod_atto_1M_64_uncertainty_56-8"


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A checkpoint of atto/16 as it is published, but for the decoders."""
    if not GOLDEN.is_dir():
        return b"nothing"
    state = {k: v for k, v in golden_state().items() if k.startswith("encoder.")}
    path = tmp_path_factory.mktemp("published") / "checkpoint-199.pth"
    return write_checkpoint(path, state).read_bytes()


@pytest.fixture
def server(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FileServer]:
    """A mirror on this machine, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(downloading, "PAUSES_S", (0.0, 0.0, 0.0))
    with serving(content) as one:
        yield one


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> list[ExportConfig]:
    """Export nothing, and note what would have been."""
    configs: list[ExportConfig] = []

    def note(config: ExportConfig) -> None:
        configs.append(config)
        config.out.write_bytes(b"a model")

    monkeypatch.setattr(getting, "export_model", note)
    return configs


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@needs_golden
def test_a_checkpoint_becomes_a_model_by_name(
    server: FileServer,
    tmp_path: Path,
    mmearth: Mmearth,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Though the connection breaks; then every command knows the name."""
    monkeypatch.setattr(getting, "STAGES", 1)  # the first alone takes less time
    before = mmearth("info", "demo", "--model", NAME)
    assert before.code == 1
    assert "published, and not on this machine yet" in before.stderr
    assert f"hint: mmearth models get {NAME}" in before.stderr
    assert mmearth("export", NAME, "-o", tmp_path / "x.onnx").code == 1

    server.breaks_after = [5_000_000]
    ran = mmearth("models", "get", NAME, "--url", server.address, "--json")
    assert ran.code == 0, ran.stderr
    assert server.asked == [None, "bytes=5000000-"]
    checkpoint, model = kept_checkpoint(NAME), kept_model(NAME)
    said = ran.report
    assert (said["name"], said["new"], said["model"]) == (NAME, True, str(model))
    assert said["sha256"] == sha256_of(checkpoint)
    assert names_in(model.parent) == {
        f"{NAME}.{suffix}" for suffix in ("json", "lock", "onnx", "pth")
    }

    facts = mmearth("info", NAME, "--json").report
    assert facts["name"] == NAME
    assert facts["checkpoint sha256"] == said["sha256"]
    assert [out["stage"] for out in facts["outputs"]] == [1]
    scene = mmearth("info", "demo", "--model", NAME, "--json").report
    assert scene["for model"] == NAME
    listed = mmearth("models", "list", "--json").report["models"]
    assert [one["name"] for one in listed if one["model"]] == ["builtin", NAME]

    again = mmearth("models", "get", NAME, "--url", "https://nowhere.invalid/c.pth")
    assert again.code == 0
    assert "here already" in again.stderr
    ran = mmearth("export", NAME, "-o", tmp_path / "no" / "x.onnx")
    assert "cannot write" in ran.stderr  # the checkpoint was found


@needs_golden
def test_a_mirror_in_the_environment(
    server: FileServer,
    exported: list[ExportConfig],
    mmearth: Mmearth,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, _, _ = server.address.rpartition("/")
    monkeypatch.setenv("MMEARTH_MODELS_URL", f"{folder}/")
    ran = mmearth("models", "get", NAME)
    assert ran.code == 0, ran.stderr
    assert f"use it with --model {NAME}" in ran.stderr
    (config,) = exported
    assert (config.checkpoint, config.out) == (kept_checkpoint(NAME), kept_model(NAME))
    assert (config.name, config.stages) == (NAME, (1, 2, 3, 4))
    facts = json.loads(kept_facts(NAME).read_text())
    assert facts["from"] == f"{folder}/{NAME}/checkpoint-199.pth"


def other_bands(path: Path) -> bytes:
    """B8 and B8A the other way round."""
    state = {k: v for k, v in golden_state().items() if k.startswith("encoder.")}
    bands = [*MMEARTH_BANDS[:7], "B8", "B8A", *MMEARTH_BANDS[9:]]
    inputs = {"sentinel2": bands}
    return write_checkpoint(path, state, inp_modalities=inputs).read_bytes()


def lacking(path: Path) -> bytes:
    state = {k: v for k, v in golden_state().items() if k.startswith("encoder.")}
    del state["encoder.stages.3.1.pwconv2.linear.weight"]
    return write_checkpoint(path, state).read_bytes()


def with_code(path: Path) -> bytes:
    torch.save({"model": {}, "args": exec}, path)
    return path.read_bytes()


@needs_golden
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: b"<html>gone</html>", "is not a PyTorch checkpoint"),
        (with_code, "which is not data; nothing of it was run"),
        (lacking, "is missing"),
        (other_bands, "B7, B8, B8A, B9, B11, B12; it is not kept"),
    ],
)
def test_a_wrong_file_is_not_kept(
    make: Callable[[Path], bytes],
    message: str,
    server: FileServer,
    exported: list[ExportConfig],
    tmp_path: Path,
    mmearth: Mmearth,
) -> None:
    server.content = make(tmp_path / "c.pth")
    ran = mmearth("models", "get", NAME, "--url", server.address)
    assert ran.code == 1
    assert message in ran.stderr
    assert "hint: " in ran.stderr
    assert names_in(kept_model(NAME).parent) == {f"{NAME}.lock"}
    assert not exported


@needs_golden
def test_another_checkpoint_than_its_name_says(
    server: FileServer, exported: list[ExportConfig], mmearth: Mmearth
) -> None:
    ran = mmearth("models", "get", OTHER, "--url", server.address)
    assert f"what came as `{OTHER}` is atto/16 of B1, " in ran.stderr
    assert not kept_checkpoint(OTHER).exists()
    assert not exported


@needs_golden
def test_the_digest_of_the_first_time_is_remembered(
    server: FileServer,
    exported: list[ExportConfig],
    content: bytes,
    mmearth: Mmearth,
) -> None:
    """Once it was seen, another file of the same shape is refused."""
    args = ("models", "get", NAME, "--url", server.address)
    assert mmearth(*args).code == 0
    kept_checkpoint(NAME).unlink()
    torch_zip = bytearray(content)
    place = content.index(golden_state()["encoder.stem.0.bias"].numpy().tobytes())
    torch_zip[place] ^= 1
    server.content = bytes(torch_zip)
    ran = mmearth(*args)
    assert ran.code == 1
    assert "when it came first" in ran.stderr
    assert f"remove `{kept_facts(NAME)}`" in ran.stderr
    assert not kept_checkpoint(NAME).exists()
    server.content = content
    assert mmearth(*args).code == 0
    assert len(exported) == 1
    kept_checkpoint(NAME).unlink()
    kept_facts(NAME).write_text("{}")
    assert "does not say which file" in mmearth(*args).stderr


@needs_golden
def test_two_at_once(
    server: FileServer, mmearth: Mmearth, exported: list[ExportConfig]
) -> None:
    fcntl = pytest.importorskip("fcntl", reason="there are no such locks")
    lock = kept_model(NAME).with_suffix(".lock")
    lock.parent.mkdir(parents=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        ran = mmearth("models", "get", NAME, "--url", server.address)
    assert f"another process gets `{NAME}` at this moment" in ran.stderr
    assert not server.asked
    assert not exported


@pytest.mark.parametrize("package", ["torch", "onnx", "onnxscript"])
def test_the_extra_is_asked_for_before_the_download(
    package: str,
    server: FileServer,
    mmearth: Mmearth,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    ran = mmearth("models", "get", NAME, "--url", server.address)
    assert ran.code == 1
    assert "`mmearth models get` needs the `export` extra" in ran.stderr
    assert 'hint: pip install "mmearth-infer[export]"' in ran.stderr
    assert not server.asked


def test_a_name_that_nobody_published(mmearth: Mmearth) -> None:
    ran = mmearth("models", "get", "pt-nothing")
    assert ran.code == 2
    assert "pt-S2_atto_1M_64_uncertainty_56-8" in ran.stderr


@needs_golden
def test_what_is_published_is_what_is_read(content: bytes, tmp_path: Path) -> None:
    """The bound on the size holds for a whole checkpoint with its optimiser."""
    from mmearth_infer.models.published import PUBLISHED  # noqa: PLC0415 -- one test

    (tmp_path / "c.pth").write_bytes(content)
    read = load_published(tmp_path / "c.pth")
    one: Any = PUBLISHED[NAME]
    assert (one.size, one.patch_px, one.bands) == (
        read.size_name,
        read.config.patch_px,
        read.bands,
    )
    weights = sum(value.numel() for value in golden_state().values())
    assert 3 * 4 * weights < one.most_bytes
