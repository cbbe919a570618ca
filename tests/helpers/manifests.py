"""Manifests of Kubernetes, checked by its own schemas."""

from __future__ import annotations

import warnings

import kubernetes_validate

VERSION = "1.30"


def check_manifest(document: dict[str, object]) -> None:
    """Refuse fields that Kubernetes does not know, and the lack of those it needs."""
    with warnings.catch_warnings():
        # it leaves the file of a schema to be closed by itself
        warnings.simplefilter("ignore", ResourceWarning)
        kubernetes_validate.validate(document, VERSION, strict=True)
