"""What this machine and the nodes of a cluster both reach: folders, and a network."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from pathlib import Path
from typing import Final

from distributed.utils import get_ip_interface

from mmearth_infer.errors import JobError

_PLAIN: Final = re.compile(r"/[\w./+@=:-]*")

_WHICH_NETWORK: Final = (
    'name the one that the nodes are on: [cluster.slurm] interface = "ib0"; '
    "`ip -brief address` lists them"
)


def shared_folder(folder: str) -> Path:
    """Return a folder under the name that scripts can use, made if it is not there.

    Raises:
        JobError: If it cannot be made, or its name would not survive a script.

    """
    path = Path(os.path.expandvars(folder)).expanduser()
    if not _PLAIN.fullmatch(str(path)):
        raise JobError(
            f"[cluster.slurm] folder `{folder}` is `{path}` here, which a script of "
            "Slurm cannot name",
            hint="take one without blanks, `~` and `$` set",
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JobError(
            f"[cluster.slurm] cannot make the folder `{path}`: {error.strerror}"
        ) from error
    return path


def node_address(interface: str | None) -> str:
    """Return the address of this machine that the nodes reach, never a public one.

    Raises:
        JobError: If there is no such network, or it has to be named.

    """
    if interface is not None:
        try:
            return str(get_ip_interface(interface))
        except ValueError as error:
            raise JobError(
                f"this machine has no network `{interface}`", hint=_WHICH_NETWORK
            ) from error
    name = socket.gethostname()
    try:
        address = socket.gethostbyname(name)
    except OSError as error:
        raise JobError(
            f"this machine's name `{name}` leads nowhere", hint=_WHICH_NETWORK
        ) from error
    found = ipaddress.ip_address(address)
    if found.is_loopback or found.is_global:
        kind = "this machine alone" if found.is_loopback else "the public network"
        raise JobError(
            f"this machine's name `{name}` leads to {address}, which is {kind}",
            hint=_WHICH_NETWORK,
        )
    return address
