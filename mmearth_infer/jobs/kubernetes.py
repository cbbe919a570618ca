"""Workers as pods of Kubernetes, through the operator of dask-kubernetes.

Scheduler and workers speak among themselves without TLS, since the operator knows no
other way; a network policy keeps others out (docs/guides/clusters.md).
"""

from __future__ import annotations

from concurrent.futures import Future
from contextlib import contextmanager, suppress
from secrets import token_hex
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, TypeVar

import httpx
import kr8s
from dask.utils import parse_bytes
from dask_kubernetes.exceptions import SchedulerStartupError
from dask_kubernetes.operator import KubeCluster, make_cluster_spec
from dask_kubernetes.operator.kubecluster.kubecluster import CreateMode
from distributed import Client

from mmearth_infer.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mmearth_infer.jobs.cluster_tables import KubernetesTable

T = TypeVar("T")

KIND: Final = "daskclusters.kubernetes.dask.org"
"""What the operator makes pods of."""

SECONDS_TO_DELETE: Final = 10
"""How long the end of a cluster that did not come up is waited for."""

SECONDS_IDLE: Final = 600
"""After which the operator ends a cluster whose client was killed."""

SCHEDULER_RESOURCES: Final = {"cpu": "1", "memory": "2Gi"}
"""What the scheduler's pod asks for: it holds no pixels."""

_TRY: Final = "`kubectl auth can-i create daskclusters.kubernetes.dask.org` tries it"

_FAULTS: Final = (
    httpx.HTTPError,
    kr8s.APITimeoutError,
    kr8s.NotFoundError,
    kr8s.ServerError,
    RuntimeError,
    SchedulerStartupError,
)


@contextmanager
def kubernetes_workers(
    table: KubernetesTable,
    *,
    workers: int,
    environment: Mapping[str, str],
    dashboard: bool,
) -> Iterator[Client]:
    """Start a scheduler and workers as pods, and end them after the block.

    It begins as soon as there is one worker; the others join as they come up.

    Args:
        table: What a worker asks for.
        workers: How many are asked for.
        environment: Variables that scheduler and workers get.
        dashboard: Show Dask's pages.

    Raises:
        JobError: If there is no Kubernetes, no operator, or no worker comes up.

    """
    namespace = _namespace(table.namespace)
    spec = cluster_spec(
        table,
        name=f"mmearth-{token_hex(4)}",
        workers=workers,
        environment=environment,
        dashboard=dashboard,
    )
    name = spec["metadata"]["name"]
    look = (
        f"`kubectl -n {namespace} get pods -l dask.org/cluster-name={name}` says more"
    )
    try:
        cluster = _within(
            table.patience_s,
            lambda: KubeCluster(
                custom_cluster_spec=spec,
                namespace=namespace,
                n_workers=workers,
                create_mode=CreateMode.CREATE_ONLY,
                shutdown_on_close=True,
                quiet=True,
            ),
        )
    except TimeoutError as error:
        _give_up(name)
        raise JobError(
            f"no Dask scheduler came up in namespace `{namespace}`: is the operator "
            f"there, and can `{table.image}` be pulled?",
            hint=look,
        ) from error
    except _FAULTS as error:
        _give_up(name)
        raise JobError(
            f"Kubernetes does not start a Dask cluster: {error}", hint=look
        ) from error
    with cluster, Client(cluster) as client:
        try:
            client.wait_for_workers(1, timeout=table.patience_s)
        except TimeoutError as error:
            raise JobError(
                f"no worker came up within {table.patience_s} s", hint=look
            ) from error
        yield client


def cluster_spec(
    table: KubernetesTable,
    *,
    name: str,
    workers: int,
    environment: Mapping[str, str],
    dashboard: bool,
) -> dict[str, Any]:
    """Return the manifest of a Dask cluster.

    Args:
        table: What a worker asks for.
        name: What the cluster is called.
        workers: How many there are.
        environment: Variables that scheduler and workers get.
        dashboard: Have Dask's pages.

    """
    memory_bytes = parse_bytes(table.memory)
    spec: dict[str, Any] = make_cluster_spec(
        name=name,
        image=table.image,
        n_workers=workers,
        env=[
            {"name": key, "value": value}
            for key, value in {**environment, **table.environment}.items()
        ],
        worker_command=[
            *("dask", "worker", "--nthreads", "1"),
            *("--memory-limit", str(memory_bytes)),
        ],
        idle_timeout=SECONDS_IDLE,
    )
    worker, scheduler = (spec["spec"][part]["spec"] for part in ("worker", "scheduler"))
    shared = {"securityContext": {"allowPrivilegeEscalation": False}}
    wanted = {"cpu": str(table.cores), "memory": str(memory_bytes)}
    if table.gpus:
        wanted["nvidia.com/gpu"] = str(table.gpus)
    worker["containers"][0] |= shared | {
        "resources": {"requests": wanted, "limits": wanted},
        "envFrom": [{"secretRef": {"name": secret}} for secret in table.secrets],
        "volumeMounts": [
            {"name": f"claim-{number}", "mountPath": path}
            for number, path in enumerate(table.claims.values())
        ],
    }
    scheduler["containers"][0] |= shared | {
        "args": [
            *("dask", "scheduler", "--host", "0.0.0.0"),  # noqa: S104 -- of the pod
            "--dashboard" if dashboard else "--no-dashboard",
        ],
        "resources": {"requests": SCHEDULER_RESOURCES, "limits": SCHEDULER_RESOURCES},
    }
    worker |= {
        "nodeSelector": table.node_labels,
        "volumes": [
            {"name": f"claim-{number}", "persistentVolumeClaim": {"claimName": claim}}
            for number, claim in enumerate(table.claims)
        ],
    }
    for pod in (worker, scheduler):
        # neither asks Kubernetes for anything
        pod["automountServiceAccountToken"] = False
    return spec


def _namespace(asked: str | None) -> str:
    """Return the namespace, once Kubernetes has answered that it knows Dask clusters.

    Raises:
        JobError: If there is no Kubernetes, or no operator in it.

    """
    try:
        api = kr8s.api()
    except ValueError as error:
        raise JobError(
            "no Kubernetes cluster is configured here",
            hint="KUBECONFIG or ~/.kube/config names one",
        ) from error
    except (*_FAULTS, KeyError) as error:
        raise JobError(f"Kubernetes does not answer: {error}", hint=_TRY) from error
    namespace = asked or str(api.namespace)
    try:
        list(api.get(KIND, namespace=namespace))
    except ValueError as error:
        raise JobError(
            "this Kubernetes has no Dask operator",
            hint="helm install dask-operator dask-kubernetes-operator --repo "
            "https://helm.dask.org --namespace dask-operator --create-namespace",
        ) from error
    except _FAULTS as error:
        raise JobError(
            f"Kubernetes does not list Dask clusters in `{namespace}`: {error}",
            hint=_TRY,
        ) from error
    return namespace


def _give_up(name: str) -> None:
    """Delete a cluster that did not come up, as far as it was made."""
    for cluster in list(KubeCluster._instances):  # noqa: SLF001 -- nobody else has it
        if cluster.name == name:
            with suppress(*_FAULTS, TimeoutError):
                cluster.close(timeout=SECONDS_TO_DELETE)


def _within(limit_s: float, make: Callable[[], T]) -> T:
    """Return what is made.

    Raises:
        TimeoutError: If that takes too long.

    """
    made: Future[T] = Future()

    def work() -> None:
        try:
            made.set_result(make())
        except Exception as error:  # noqa: BLE001 -- raised again where it is waited for
            made.set_exception(error)

    Thread(target=work, daemon=True).start()
    return made.result(limit_s)
