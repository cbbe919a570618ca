"""Workers as pods: the manifest, and what Kubernetes may answer."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("dask_kubernetes", reason="needs the kubernetes extra")
pytest.importorskip("kubernetes_validate", reason="has the schemas")

import jsonschema
import yaml
from kr8s._api import Api

from mmearth_infer.errors import JobError
from mmearth_infer.jobs import kubernetes
from mmearth_infer.jobs.cluster import started_cluster, worker_environment
from mmearth_infer.jobs.cluster_tables import ClusterTable, KubernetesTable
from tests.helpers.manifests import check_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TABLE = KubernetesTable(
    image="registry.example.org/team/mmearth:0.1",
    namespace="geo",
    cores=4,
    memory="16 GiB",
    gpus=1,
    claims={"scenes": "/data", "stores": "/out"},
    secrets=("s3-keys",),
    environment={"AWS_REGION": "eu-central-1"},
    node_labels={"nvidia.com/gpu.present": "true"},
)
PLAIN = KubernetesTable(image="mmearth")
GROUP = {"kind": "APIResourceList", "groupVersion": "kubernetes.dask.org/v1"}
CLUSTERS = {
    "name": "daskclusters",
    "singularName": "daskcluster",
    "namespaced": True,
    "kind": "DaskCluster",
    "verbs": ["create", "get", "list"],
}


@pytest.fixture(autouse=True)
def _no_server_is_known() -> None:
    """Each test configures its own; kr8s remembers the last."""
    Api._instances.clear()


def spec_of(table: KubernetesTable, *, dashboard: bool = False) -> dict[str, Any]:
    return kubernetes.cluster_spec(
        table,
        name="mmearth-0",
        workers=3,
        environment=worker_environment(),
        dashboard=dashboard,
    )


def pods_of(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the pods of workers and scheduler."""
    return {part: spec["spec"][part]["spec"] for part in ("worker", "scheduler")}


@pytest.mark.parametrize("table", [TABLE, PLAIN], ids=["full", "plain"])
def test_the_operator_and_kubernetes_take_the_manifest(table: KubernetesTable) -> None:
    """The cluster by the operator's own schema; its pods by that of Kubernetes."""
    charts = "operator/deployment/helm/dask-kubernetes-operator"
    path = files("dask_kubernetes") / charts / "crds" / "daskcluster.yaml"
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    definition = yaml.load(path.read_text(), Loader=loader)  # noqa: S506 -- a safe one
    (version,) = definition["spec"]["versions"]
    spec = spec_of(table)
    jsonschema.validate(spec, version["schema"]["openAPIV3Schema"])
    for pod in pods_of(spec).values():
        whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}
        check_manifest(whole | {"spec": pod})


def test_a_worker_has_what_was_asked_for_and_the_scheduler_has_not() -> None:
    spec = spec_of(TABLE)
    pods = pods_of(spec)
    (worker,), (scheduler,) = (pod["containers"] for pod in pods.values())
    wanted = {"cpu": "4", "memory": str(16 * 2**30), "nvidia.com/gpu": "1"}
    assert worker["resources"] == {"requests": wanted, "limits": wanted}
    assert worker["envFrom"] == [{"secretRef": {"name": "s3-keys"}}]
    claims = {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"]
        for volume in pods["worker"]["volumes"]
    }
    assert {claims[m["name"]]: m["mountPath"] for m in worker["volumeMounts"]} == (
        TABLE.claims
    )
    assert pods["worker"]["nodeSelector"] == TABLE.node_labels
    assert "nvidia.com/gpu" not in scheduler["resources"]["limits"]
    assert "envFrom" not in scheduler
    assert spec["spec"]["worker"]["replicas"] == 3
    assert spec["spec"]["idleTimeout"] == kubernetes.SECONDS_IDLE


def test_pods_run_commands_that_dask_has_under_our_settings() -> None:
    """`dask-worker` and `dask-scheduler`, which the operator would run, are gone."""
    for part, pod in pods_of(spec_of(TABLE)).items():
        (container,) = pod["containers"]
        assert container["args"][:2] == ["dask", part]
        said = {entry["name"]: entry["value"] for entry in container["env"]}
        assert said == worker_environment() | TABLE.environment
        assert said["DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES"] == "0"
        assert pod["automountServiceAccountToken"] is False


@pytest.mark.parametrize("dashboard", [True, False])
def test_pages_are_shown_where_they_are_asked_for(dashboard: bool) -> None:  # noqa: FBT001 -- a case
    (scheduler,) = pods_of(spec_of(PLAIN, dashboard=dashboard))["scheduler"][
        "containers"
    ]
    assert ("--no-dashboard" in scheduler["args"]) is not dashboard


class Server(BaseHTTPRequestHandler):
    """Stands in for the server of Kubernetes: answers by path, refuses the rest."""

    answers: dict[str, tuple[int, object]]

    def do_GET(self) -> None:
        """Answer."""
        path = self.path.partition("?")[0].rstrip("/")
        asked = path if self.command == "GET" else f"{self.command} {path}"
        status, answer = self.answers.get(
            asked,
            (404, {"kind": "Status", "message": "no such thing", "code": 404}),
        )
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 -- http.server's name

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def answering(
    folder: Path, monkeypatch: pytest.MonkeyPatch, **answers: tuple[int, object]
) -> Iterator[None]:
    """Configure a server that answers at some paths, `__` for `/`."""
    paths = {
        "/api": (200, {"kind": "APIVersions", "versions": ["v1"]}),
        "/api/v1": (200, {"kind": "APIResourceList", "resources": []}),
        "/apis": (200, {"kind": "APIGroupList", "groups": []}),
        "/version": (200, {"gitVersion": "v1.30.0"}),
        **{name.replace("__", "/"): answer for name, answer in answers.items()},
    }
    handler = type("Answering", (Server,), {"answers": paths})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        configure(folder, monkeypatch, server.server_port)
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def configure(folder: Path, monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """Write a configuration that names a server."""
    config = folder / "config"
    config.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "here",
                "contexts": [
                    {"name": "here", "context": {"cluster": "here", "user": "me"}}
                ],
                "clusters": [
                    {
                        "name": "here",
                        "cluster": {"server": f"http://127.0.0.1:{port}"},
                    }
                ],
                "users": [{"name": "me", "user": {"token": "none"}}],
            }
        )
    )
    monkeypatch.setenv("KUBECONFIG", str(config))


def error_of(table: KubernetesTable = PLAIN) -> JobError:
    with (
        pytest.raises(JobError) as told,
        started_cluster(
            "kubernetes",
            workers=1,
            table=ClusterTable(kubernetes=table),
            dashboard=False,
        ),
    ):
        pass
    return told.value


def test_no_kubernetes_is_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    error = error_of()
    assert "no Kubernetes cluster is configured here" in str(error)
    assert "KUBECONFIG" in str(error.hint)


def test_a_kubernetes_without_the_operator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(tmp_path, monkeypatch):
        error = error_of()
    assert "this Kubernetes has no Dask operator" in str(error)
    assert "helm install" in str(error.hint)


def test_a_kubernetes_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(tmp_path, monkeypatch):
        pass
    error = error_of()
    assert "Kubernetes does not" in str(error)
    assert "kubectl" in str(error.hint)


@pytest.mark.parametrize("allowed", ["none", "list"])
def test_who_may_not_start_dask_clusters_is_told(
    allowed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused when they are listed, or only when one is made."""
    refused = (403, {"kind": "Status", "message": "geo may not", "code": 403})
    none = (200, {"kind": "DaskClusterList", "items": []})
    group = {
        "name": "kubernetes.dask.org",
        "versions": [{"groupVersion": "kubernetes.dask.org/v1", "version": "v1"}],
    }
    here = "__apis__kubernetes.dask.org__v1"
    answers = {
        "__apis": (200, {"kind": "APIGroupList", "groups": [group]}),
        here: (200, GROUP | {"resources": [CLUSTERS]}),
        f"{here}__namespaces__geo__daskclusters": (
            none if allowed == "list" else refused
        ),
        f"POST {here}__namespaces__geo__daskclusters": refused,
    }
    with answering(tmp_path, monkeypatch, **answers):
        error = error_of(TABLE)
    assert "geo may not" in str(error)
    assert "kubectl" in str(error.hint)


def test_no_image_is_named() -> None:
    with (
        pytest.raises(JobError, match="does not say which image") as told,
        started_cluster("kubernetes", workers=1, table=ClusterTable(), dashboard=False),
    ):
        pass
    assert "image" in str(told.value.hint)
