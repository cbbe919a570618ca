"""The tables of a job file about clusters: what Slurm and Kubernetes are asked for.

Their values end up in shell scripts and in manifests, and are taken only as what they
are there: a word, a path without blanks, one line.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

ClusterKind = Literal["slurm", "kubernetes"]
"""What can be asked for workers."""

Word: TypeAlias = Annotated[str, Meta(pattern=r"\A[\w][\w.,:@+-]*\Z")]
"""A name as Slurm has them."""

Line: TypeAlias = Annotated[str, Meta(pattern=r"\A[^\x00-\x1f\x7f]+\Z")]
"""One line of a script."""

Directive: TypeAlias = Annotated[str, Meta(pattern=r"\A-[^\x00-\x1f\x7f]+\Z")]
"""An option of `sbatch`."""

ShellPath: TypeAlias = Annotated[str, Meta(pattern=r"\A[/~$][\w./+@=:~${}-]*\Z")]
"""A path from `/`, `~` or a variable, as it stands in a script."""

MountPath: TypeAlias = Annotated[str, Meta(pattern=r"\A/[\w./+@=-]*\Z")]
"""A path from `/`."""

Walltime: TypeAlias = Annotated[str, Meta(pattern=r"\A(\d+-)?\d+(:\d{1,2}){0,2}\Z")]
"""A time as Slurm has them: `MINUTES`, `HH:MM:SS`, `DAYS-HH:MM:SS`."""

Memory: TypeAlias = Annotated[str, Meta(pattern=r"\A[1-9]\d*(\.\d+)? ?[MGT]i?B\Z")]
"""An amount of memory with its unit: `32 GiB`."""

Name: TypeAlias = Annotated[
    str, Meta(pattern=r"\A[a-z0-9]([a-z0-9.-]*[a-z0-9])?\Z", max_length=253)
]
"""A name as Kubernetes has them."""

Label: TypeAlias = Annotated[str, Meta(pattern=r"\A[\w./-]*\Z", max_length=317)]
"""A key or a value of a label of Kubernetes."""

Image: TypeAlias = Annotated[str, Meta(pattern=r"\A[\w][\w./:@-]*\Z")]
"""A container image."""

Variable: TypeAlias = Annotated[str, Meta(pattern=r"\A[A-Za-z_]\w*\Z")]
"""A variable of the environment."""

Cores: TypeAlias = Annotated[int, Meta(ge=1, le=1024)]
"""Cores of a worker."""

Gpus: TypeAlias = Annotated[int, Meta(ge=0, le=16)]
"""GPUs of a worker."""


class _Table(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of a job file; unknown keys are errors."""


class SlurmTable(_Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one worker asks of Slurm; each is a job of its own.

    Folders begin with `/`, `~` or a variable, and have no blanks in them.
    """

    queue: Word | None = None
    """Partition; the cluster's own default where left out."""

    account: Word | None = None
    """Account that is charged."""

    cores: Cores = 8
    """Cores of a worker, which its engine uses."""

    memory: Memory = "32 GiB"
    """Memory of a worker; one that needs more is replaced, its scene tried again."""

    gpus: Gpus = 0
    """GPUs of a worker."""

    walltime: Walltime = "04:00:00"
    """How long a worker may live; it is replaced, and its scene goes on."""

    directives: tuple[Directive, ...] = ()
    """More options of `sbatch`: `--constraint=avx512`."""

    prologue: tuple[Line, ...] = ()
    """Lines of shell before a worker starts: `module load cuda`."""

    python: ShellPath | None = None
    """Python that has this package, on a node; the one that runs the command."""

    interface: Word | None = None
    """Network that the nodes are on, as `ip -brief address` names it: `ib0`."""

    shared_folder: ShellPath = "~"
    """Folder that this machine and the nodes share, for keys while the job runs."""

    local_folder: ShellPath | None = None
    """Folder of a node for what Dask writes; its own choice where left out."""

    log_folder: ShellPath | None = None
    """Folder of what workers print; where the command is run, if left out."""


class KubernetesTable(_Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one worker asks of Kubernetes; each is a pod of its own."""

    image: Image
    """Container image with this package, for workers and scheduler."""

    namespace: Name | None = None
    """Namespace; the current one where left out."""

    cores: Cores = 8
    """Cores of a worker, which its engine uses."""

    memory: Memory = "32 GiB"
    """Memory of a worker; one that needs more is replaced, its scene tried again."""

    gpus: Gpus = 0
    """GPUs of a worker, as `nvidia.com/gpu`."""

    claims: dict[Name, MountPath] = {}
    """Claims of volumes, and the folder that each is in a worker."""

    secrets: tuple[Name, ...] = ()
    """Secrets whose entries become variables of the environment."""

    environment: dict[Variable, Line] = {}
    """Variables of the environment; no secrets."""

    node_labels: dict[Label, Label] = {}
    """Labels that a worker's node must have."""

    patience_s: Annotated[int, Meta(ge=10, le=86_400)] = 900
    """How long scheduler and first worker may take to come up: images, new nodes."""


class ClusterTable(_Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What clusters are asked for, each under its name."""

    slurm: SlurmTable | None = None
    """What Slurm is asked for; its defaults where left out."""

    kubernetes: KubernetesTable | None = None
    """What Kubernetes is asked for; `image` must be said."""


def cores_of(kind: ClusterKind, table: ClusterTable) -> int:
    """Return how many cores a worker of a cluster has; 0 where that is not said."""
    if kind == "slurm":
        return (table.slurm or SlurmTable()).cores
    return table.kubernetes.cores if table.kubernetes else 0
