"""The files of docs/guides/clusters: each is read by what will read it."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import yaml

from mmearth_infer.jobs.cluster_tables import ClusterTable

if TYPE_CHECKING:
    from collections.abc import Iterator

RECIPES = Path(__file__).parents[3] / "docs" / "guides" / "clusters"
GUIDE = RECIPES.with_suffix(".md")
JOBS = sorted(path.name for path in RECIPES.glob("*.toml"))
MANIFESTS = ("setup.yaml", "batch-job.yaml")


def cluster_of(job: str) -> ClusterTable:
    """Return the table [cluster] of a job."""
    said = msgspec.toml.decode((RECIPES / job).read_bytes(), type=dict[str, Any])
    return msgspec.convert(said["cluster"], ClusterTable)


def documents() -> Iterator[dict[str, Any]]:
    """Yield the manifests."""
    for name in MANIFESTS:
        yield from yaml.safe_load_all((RECIPES / name).read_text())


def test_the_guide_names_every_file() -> None:
    text = GUIDE.read_text()
    for path in RECIPES.iterdir():
        assert f"](clusters/{path.name})" in text


@pytest.mark.parametrize("name", JOBS)
def test_jobs_can_be_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each job file is taken as it stands, beside scenes."""
    job_file = pytest.importorskip(
        "mmearth_infer.jobs.job_file", reason="needs the dask extra"
    )
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    shutil.copy(RECIPES / name, tmp_path)
    (tmp_path / "scenes").mkdir()
    (tmp_path / "scenes" / "a.tif").touch()
    (tmp_path / "scenes.csv").write_text("scene\nhttps://example.org/a.tif\n")
    job = job_file.read_job(tmp_path / name)
    assert len(job.scenes) == 1
    assert job.cluster == cluster_of(name)


def test_the_script_for_sbatch_is_one() -> None:
    script = RECIPES / "batch.sbatch"
    subprocess.run(["bash", "-n", script], check=True)
    lines = script.read_text().splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    directives = [line for line in lines if line.startswith("#SBATCH")]
    # what stands below the first command is none any more
    first = next(n for n, line in enumerate(lines) if not line.startswith("#"))
    assert directives == [line for line in lines[:first] if line.startswith("#SBATCH")]
    assert directives


def test_the_image_is_not_of_root_and_installs_the_extra() -> None:
    parser = pytest.importorskip("dockerfile_parse", reason="reads the Dockerfile")
    text = (RECIPES / "Dockerfile").read_bytes()
    file = parser.DockerfileParser(fileobj=io.BytesIO(text))
    steps = [(step["instruction"], step["value"]) for step in file.structure]
    assert file.baseimage == "python:3.12-slim"
    assert ("ARG", "EXTRAS=cpu,kubernetes,cloud") in steps
    assert steps[-3:-1] == [("USER", "1000:1000"), ("WORKDIR", "/data")]


def test_manifests_are_what_kubernetes_takes() -> None:
    """No field that it does not know, none missing."""
    manifests = pytest.importorskip(
        "tests.helpers.manifests", reason="needs kubernetes-validate"
    )
    kinds = []
    for document in documents():
        manifests.check_manifest(document)
        kinds.append(document["kind"])
    assert kinds[-1] == "Job"
    assert {"PersistentVolumeClaim", "Role", "NetworkPolicy"} <= set(kinds)


def test_manifests_and_the_job_file_speak_of_the_same() -> None:
    found = {document["kind"]: document for document in documents()}
    table = cluster_of("kubernetes.toml").kubernetes
    assert table is not None
    pod = found["Job"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    (mount,) = container["volumeMounts"]
    claim = found["PersistentVolumeClaim"]["metadata"]["name"]
    assert table.namespace == found["Namespace"]["metadata"]["name"]
    assert table.image == container["image"]
    assert table.claims == {claim: mount["mountPath"]}
    assert (
        pod["spec"]["serviceAccountName"] == found["RoleBinding"]["subjects"][0]["name"]
    )
    sources = found["NetworkPolicy"]["spec"]["ingress"][0]["from"]
    assert {"podSelector": {"matchLabels": pod["metadata"]["labels"]}} in sources
