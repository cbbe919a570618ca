"""Reads PyTorch files without running any code they hold.

A checkpoint is a pickle, which can name any function to be called when it is read.
PyTorch's restricted unpickler builds tensors and plain containers; the objects that
published checkpoints hold besides, an `argparse.Namespace` and `pathlib` paths, are
put in as inert stand-ins of ours. Whatever else a file names is refused before it is
built.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from typing import TYPE_CHECKING, Any, Final

import torch
from torch.serialization import safe_globals

from mmearth_infer.errors import ModelError, UnsafeFileError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_HINT: Final = "give a checkpoint of MMEarth pretraining, such as `checkpoint-199.pth`"


class _Inert:
    """Stands in for an object of the file: takes anything, does nothing."""

    def __init__(self, *args: object) -> None:
        """Keep what the object was built from."""
        self.parts = args

    def __setstate__(self, state: object) -> None:
        """Keep the object's fields, if they are a plain dictionary."""
        if isinstance(state, dict):
            self.__dict__.update(state)


_STAND_INS: Final[list[Callable[..., Any] | tuple[Callable[..., Any], str]]] = [
    (_Inert, name)
    for name in (
        "argparse.Namespace",
        "pathlib.Path",
        "pathlib.PosixPath",
        "pathlib.WindowsPath",
        "pathlib.PurePosixPath",
        "pathlib.PureWindowsPath",
        "pathlib._local.PosixPath",
        "pathlib._local.WindowsPath",
    )
]


def load_data(path: Path) -> Any:  # noqa: ANN401 -- a file may hold any plain data
    """Read tensors and plain data from a file that `torch.save` wrote.

    Raises:
        UnsafeFileError: If the file asks for anything else; nothing of it was run.
        ModelError: If it is no such file.

    """
    try:
        with safe_globals(_STAND_INS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ModelError(f"there is no checkpoint `{path}`", hint=_HINT) from error
    except pickle.UnpicklingError as error:
        found = re.search(r"(?:GLOBAL|global) `?([\w.]+)", str(error))
        if found is None:
            raise ModelError(
                f"`{path}` is not a PyTorch checkpoint", hint=_HINT
            ) from error
        raise UnsafeFileError(
            f"`{path}` asks for `{found[1]}`, which is not data; nothing of it was run",
            hint="get the checkpoint from its authors, and do not load this file "
            "with other tools",
        ) from error
    except (
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        AttributeError,
        zipfile.BadZipFile,
    ) as error:
        reason = str(error).partition(".")[0] or type(error).__name__
        raise ModelError(
            f"`{path}` is not a PyTorch checkpoint that can be read: {reason}",
            hint=_HINT,
        ) from error
