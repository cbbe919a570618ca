"""What a job file may ask a cluster for: values that scripts and manifests survive."""

from __future__ import annotations

import msgspec
import pytest

from mmearth_infer.jobs.cluster_tables import (
    ClusterTable,
    KubernetesTable,
    SlurmTable,
)


def test_slurm_has_defaults_and_kubernetes_needs_an_image() -> None:
    assert msgspec.convert({"slurm": {}}, ClusterTable).slurm == SlurmTable()
    with pytest.raises(msgspec.ValidationError, match="`image`"):
        msgspec.convert({"kubernetes": {}}, ClusterTable)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("queue", "gpu; rm -r ."),
        ("queue", "gpu\n"),
        ("account", "-x"),
        ("memory", "32"),
        ("memory", "32 GiB\n"),
        ("walltime", "soon"),
        ("walltime", "1:00\n#SBATCH -x"),
        ("directives", ["--exclusive\nrm -r ."]),
        ("directives", ["rm"]),
        ("prologue", ["module load a\nmodule load b"]),
        ("python", "/opt/my python"),
        ("shared_folder", "here"),
        ("shared_folder", "/scratch/$(id)"),
        ("local_folder", "/local/`id`"),
        ("log_folder", "/logs;id"),
        ("interface", "ib0 --x"),
        ("cores", 0),
        ("gpus", -1),
        ("colour", "red"),
    ],
)
def test_what_a_script_would_not_survive_is_refused(key: str, value: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({key: value}, SlurmTable)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("queue", "gpu-a100,gpu-h100"),
        ("walltime", "90"),
        ("walltime", "1-12:00:00"),
        ("directives", ["--constraint=a100&nvlink", "-x node[1-4]"]),
        ("prologue", ['source "$HOME/my env/bin/activate"']),
        ("shared_folder", "$SCRATCH/${USER}"),
        ("local_folder", "$TMPDIR"),
        ("python", "~/venv/bin/python3.12"),
    ],
)
def test_what_users_of_slurm_need_is_taken(key: str, value: object) -> None:
    table = msgspec.convert({key: value}, SlurmTable)
    assert msgspec.json.decode(msgspec.json.encode(table))[key] == value


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("image", "registry/mmearth latest"),
        ("namespace", "Team_A"),
        ("claims", {"scenes": "data"}),
        ("claims", {"Scenes": "/data"}),
        ("secrets", ["s3 keys"]),
        ("environment", {"A-B": "1"}),
        ("environment", {"A": "1\n2"}),
        ("node_labels", {"gpu type": "a100"}),
        ("memory", "32Gi"),
    ],
)
def test_what_kubernetes_would_not_take_is_refused(key: str, value: object) -> None:
    good = {"image": "registry:5000/team/mmearth@sha256:0f"}
    assert msgspec.convert(good, KubernetesTable)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(good | {key: value}, KubernetesTable)
