"""Evaluation recovers what was planted, and keeps what is finished."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch

from mmearth_infer.errors import DataError, TrainingError
from mmearth_training.evaluate.config import EvaluateConfig
from mmearth_training.evaluate.contender import Classifier, read_checkpoint
from mmearth_training.evaluate.finetune import choose_trained
from mmearth_training.evaluate.fit import fit
from mmearth_training.evaluate.loop import evaluate
from mmearth_training.evaluate.results import read_results
from mmearth_training.evaluate.settings import PAPER
from mmearth_training.finetune.optim import build_optimizer
from mmearth_training.load import load_encoder
from tests.helpers.geobench import write_geobench

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mmearth_training.evaluate.results import Result
    from tests.conftest import Ran

QUICK: dict[str, Any] = {"optim": {"batch": 16, "epochs": 15, "base_lr": 1.0}}


def run(geobench: Path, encoder: Path, out: Path, **changes: Any) -> list[Result]:  # noqa: ANN401
    config = EvaluateConfig(
        data=geobench,
        out=out,
        checkpoints=changes.pop("checkpoints", (encoder,)),
        device="cpu",
        micro_batch=changes.pop("micro_batch", 16),
        **{**QUICK, **changes},
    )
    return evaluate(config, quiet=True)


def test_the_paper_in_numbers() -> None:
    """Section 5, and the published scripts where it is silent."""
    for mode in ("lp", "elp", "ft"):
        setting = PAPER[mode]
        assert (setting.optim.epochs, setting.optim.batch) == (100, 1024)
        assert setting.optim.base_lr == 2e-4
        assert (setting.smoothing, setting.optim.weight_decay) == (0.2, 0.3)
    assert (PAPER["ft"].optim.layer_decay, PAPER["ft"].drop_path) == (0.9, 0.1)
    seg = PAPER["seg"].optim
    assert (seg.decoder_epochs, seg.epochs) == (50, 150)
    assert (seg.batch, seg.base_lr) == (32, 0.01)


def test_a_linear_probe_finds_planted_classes(
    geobench: Path, encoder: Path, tmp_path: Path
) -> None:
    (one,) = run(
        geobench, encoder, tmp_path / "out", tasks=("m-eurosat",), modes=("lp",)
    )
    assert one.value == 1.0
    assert one.scores["val"] == {"accuracy": 1.0}
    assert one.majority == pytest.approx(1 / 3)
    assert one.samples == {"train": 48, "val": 9, "test": 24}


def test_a_linear_probe_finds_nothing_in_shuffled_labels(
    encoder: Path, tmp_path: Path
) -> None:
    """Three classes: a third, give or take four deviations of 150 guesses."""
    counts = {"train": 90, "valid": 3, "test": 150}
    write_geobench(tmp_path, "m-eurosat", counts=counts, shuffled=True, side_px=16)
    (one,) = run(tmp_path, encoder, tmp_path / "out", modes=("lp",))
    assert abs(one.value - 1 / 3) < 4 * (2 / 9 / 150) ** 0.5


def test_a_linear_probe_finds_planted_labels(
    geobench: Path, encoder: Path, tmp_path: Path
) -> None:
    """Far above a model that knows how often each label occurs."""
    (one,) = run(
        geobench,
        encoder,
        tmp_path / "out",
        tasks=("m-bigearthnet",),
        modes=("lp",),
        optim={"batch": 16, "epochs": 60, "base_lr": 1.0},
        smoothing=0.0,
    )
    assert one.metric == "mean_average_precision"
    assert one.value > 0.95
    assert one.scores["test"]["labels_that_occur"] == 3
    assert one.majority == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("mode", ["ft", "elp"])
def test_fine_tuning_finds_planted_classes(
    mode: Any,  # noqa: ANN401
    geobench: Path,
    encoder: Path,
    tmp_path: Path,
) -> None:
    (one,) = run(
        geobench,
        encoder,
        tmp_path / "out",
        tasks=("m-eurosat",),
        modes=(mode,),
        optim={"batch": 16, "epochs": 5, "base_lr": 0.1},
    )
    assert one.value > 0.9


def test_segmentation_finds_planted_maps(
    geobench: Path, encoder: Path, tmp_path: Path
) -> None:
    """The mean Jaccard index; the run is a segmentation model that can be exported."""
    optim = {"batch": 4, "epochs": 20, "decoder_epochs": 10, "base_lr": 0.6}
    (one,) = run(
        geobench, encoder, tmp_path / "out", tasks=("m-cashew-plant",), optim=optim
    )
    assert (one.mode, one.metric) == ("seg", "mean_jaccard")
    assert one.value > 0.8
    (path,) = (tmp_path / "out" / "runs").iterdir()
    assert len(load_encoder(path).classes) == 7  # type: ignore[attr-defined]


def test_what_is_trained_in_each_mode(encoder: Path) -> None:
    """LP's head and the first convolution, or everything with drop path."""
    contender = read_checkpoint(encoder)
    model = Classifier(contender.encoder("published"), 3, seed=0)
    choose_trained(model, "elp", drop_path=0.1)
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {
        "encoder.initial_conv.0.weight",
        "encoder.initial_conv.0.bias",
        "decoder.1.weight",
        "decoder.1.bias",
    }
    rates = [block.drop_rate for stage in model.encoder.blocks() for block in stage]
    assert not any(rates)
    choose_trained(model, "ft", drop_path=0.1)
    assert all(p.requires_grad for p in model.parameters())
    rates = [block.drop_rate for stage in model.encoder.blocks() for block in stage]
    assert (rates[0], rates[-1]) == (0, 0.1)


def test_layers_near_the_pixels_move_less(encoder: Path) -> None:
    """0.9 from block to block, in the paper's fine-tuning; the head moves most."""
    model = Classifier(read_checkpoint(encoder).encoder("published"), 3, seed=0)
    optimizer = build_optimizer(model, PAPER["ft"].optim)
    rates = {
        id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]
    }
    blocks = [block for stage in model.encoder.blocks() for block in stage]
    peak = 2e-4 * 1024 / 256
    assert rates[id(model.decoder[1].weight)] == pytest.approx(peak)
    for distance, block in enumerate(reversed(blocks), start=1):
        assert rates[id(block.dwconv.weight)] == pytest.approx(peak * 0.9**distance)


def test_micro_batches_change_nothing() -> None:
    """A step has the gradient of its whole batch, however it is cut."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(20, 5, generator=generator), torch.arange(20) % 3
    found = []
    for micro_batch in (20, 7, 1):
        head = torch.nn.Linear(5, 3)
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
        fit(
            head,
            torch.optim.AdamW(head.parameters(), lr=0.1),
            lambda rows: x[list(rows)],
            y,
            kind="multiclass",
            setting=PAPER["lp"],
            micro_batch=micro_batch,
            seed=3,
        )
        found.append(head.weight.detach())
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found[2], found[0], rtol=1e-3, atol=1e-4)
    assert found[0].abs().max() > 0.1


def test_statistics_of_pretraining(
    geobench: Path, encoder: Path, tmp_path: Path
) -> None:
    """They are another input, so another result is kept apart."""
    asked: dict[str, Any] = {"tasks": ("m-eurosat",), "modes": ("lp",)}
    out = tmp_path / "out"
    run(geobench, encoder, out, statistics="l2a", **asked)
    assert "Input statistics: l2a" in (out / "table.md").read_text()
    with pytest.raises(TrainingError, match="was started with statistics = `l2a`"):
        run(geobench, encoder, out, statistics="dataset", resume=True, **asked)
    collection = geobench / "classification_v1.0"
    with pytest.raises(TrainingError, match="was started with data = "):
        run(collection, encoder, out, statistics="l2a", resume=True, **asked)


def test_few_samples_and_a_chart(geobench: Path, encoder: Path, tmp_path: Path) -> None:
    results = run(
        geobench,
        encoder,
        tmp_path / "out",
        tasks=("m-eurosat", "m-bigearthnet"),
        modes=("lp",),
        partitions=("0.50x_train", "1.00x_train"),
    )
    counts = {(one.task, one.partition): one.samples["train"] for one in results}
    assert counts["m-eurosat", "0.50x_train"] == 24
    assert counts["m-eurosat", "1.00x_train"] == 48
    chart = tmp_path / "out" / "fewshot.png"
    assert chart.read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "out" / "table.md").read_text()
    assert page.index("## 0.50x_train") < page.index("## 1.00x_train")


def test_what_is_finished_is_kept(
    geobench: Path, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped behind one task, `resume` does the others only."""
    out = tmp_path / "out"
    run(geobench, encoder, out, tasks=("m-eurosat",), modes=("lp",))
    before = read_results(out)
    probed = []

    def probe(case: Any, *_: object, **__: object) -> dict[str, Any]:  # noqa: ANN401
        probed.append(case.folder.task.name)
        return {"test": {"mean_average_precision": 0.5}}

    monkeypatch.setattr("mmearth_training.evaluate.loop.linear_probe", probe)
    tasks = ("m-eurosat", "m-bigearthnet")
    after = run(geobench, encoder, out, tasks=tasks, modes=("lp",), resume=True)
    assert probed == ["m-bigearthnet"]
    assert after[: len(before)] == before
    assert read_results(out) == after


def test_the_command(
    geobench: Path, encoder: Path, tmp_path: Path, mmearth: Callable[..., Ran]
) -> None:
    """The table has the paper's rows, ours, and a baseline."""
    out = tmp_path / "out"
    words = ("evaluate", "geobench", "--data", geobench, "-o", out, "--mode", "lp")
    quick = ("--epochs", 2, "--batch", 16, "--device", "cpu", "--json")
    ran = mmearth(
        *words,
        *("--task", "m-bigearthnet", "--checkpoint", encoder),
        *("--baseline", "untrained:atto", *quick),
    )
    assert ran.code == 0, ran.stderr
    page = (out / "table.md").read_text()
    assert "m-bigearthnet<br>mAP, LP" in page
    assert "| *paper* MMEarth, all modalities | 68.2 |" in page
    assert "| *paper* ImageNet | 57.2 |" in page
    assert "*majority*" in page
    assert "untrained:atto" in page
    assert "Other samples than in the paper: m-bigearthnet (48 of 20000)." in page
    assert ran.report["chart"] is None
    models = [one["model"] for one in ran.report["results"]]
    assert models == ["small", "untrained:atto"]
    assert json.loads((out / "results.json").read_text()) == ran.report["results"]

    again = mmearth(*words, "--checkpoint", encoder, *quick)
    assert again.code == 1
    assert "holds a run already" in again.stderr
    assert "hint: --resume" in again.stderr


def test_an_interrupted_command_says_how_to_go_on(
    geobench: Path,
    encoder: Path,
    tmp_path: Path,
    mmearth: Callable[..., Ran],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With every flag that was typed, those of several values included."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mmearth_training.evaluate.loop.linear_probe", interrupt)
    words = ("evaluate", "geobench", "--data", str(geobench))
    words += ("-o", str(tmp_path / "out"), "--checkpoint", str(encoder))
    words += ("--mode", "lp", "--partition", "0.50x_train")
    words += ("--partition", "1.00x_train")
    ran = mmearth(*words)
    assert ran.code == 1
    assert "holds what is finished" in ran.stderr
    typed = ran.stderr.split("hint: `mmearth ")[1].split("`")[0].split()
    assert typed.count("--partition") == 2
    assert typed[typed.index("--partition") + 1] == "0.50x_train"
    assert typed[-1] == "--resume"


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        ((), "no encoder to evaluate", "--checkpoint"),
        (("--baseline", "vit"), "no baseline `vit`", "untrained:SIZE"),
        (("--task", "m-so2sat"), "there is no `m-so2sat`", "--data is the folder"),
        (("--mode", "seg", "--task", "m-eurosat"), "nothing to evaluate", "seg is for"),
        (("--partition", "0.3x"), "has no partition `0.3x`", "0.50x_train"),
    ],
)
def test_calls_that_cannot_be(
    words: tuple[str, ...],
    error: str,
    hint: str,
    geobench: Path,
    tmp_path: Path,
    mmearth: Callable[..., Ran],
) -> None:
    out = tmp_path / "out"
    ran = mmearth("evaluate", "geobench", "--data", geobench, "-o", out, *words)
    assert ran.code == 1
    assert error in ran.stderr
    assert hint in ran.stderr.split("hint:")[1]
    assert not out.exists()


def test_two_encoders_of_one_name(
    geobench: Path, encoder: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="two encoders are called `small`"):
        run(geobench, encoder, tmp_path / "out", checkpoints=(encoder, encoder))
