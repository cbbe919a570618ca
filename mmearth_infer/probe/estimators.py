"""The estimators of scikit-learn that are fitted, and what is tried for each.

Shapes: S cells, D channels, K classes.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from sklearn.linear_model import (  # type: ignore[import-untyped]
    LogisticRegression,
    RidgeClassifier,
)
from sklearn.metrics import f1_score, make_scorer  # type: ignore[import-untyped]
from sklearn.model_selection import (  # type: ignore[import-untyped]
    GridSearchCV,
    StratifiedGroupKFold,
)
from sklearn.neighbors import KNeighborsClassifier  # type: ignore[import-untyped]
from sklearn.pipeline import Pipeline  # type: ignore[import-untyped]
from sklearn.preprocessing import StandardScaler  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from mmearth_infer.contract.probe import ProbeKind

TRIED: Final[dict[ProbeKind, tuple[str, tuple[float, ...]]]] = {
    "logistic": ("C", (0.001, 0.01, 0.1, 1.0, 10.0)),
    "ridge": ("alpha", (0.1, 1.0, 10.0, 100.0, 1000.0, 10_000.0)),
    "knn": ("n_neighbors", (1, 3, 5, 11, 21)),
}
"""The setting that is chosen for each kind, and the values that are tried."""

DEFAULT: Final[dict[ProbeKind, float]] = {"logistic": 1.0, "ridge": 1.0, "knn": 1}
"""The value where there are too few blocks to choose one."""

INNER_FOLDS: Final = 3
"""Parts that the training blocks are cut into to choose the setting."""

MOST_STEPS: Final = 1000
"""Steps of the logistic regression's solver."""

LOG_FLOOR: Final = 1e-3
"""Share of the neighbours that a class without any is given before the logarithm."""


def fit(  # noqa: PLR0913 -- what is fitted, on what
    kind: ProbeKind,
    features_SD: NDArray[np.float32],
    class_S: NDArray[np.int64],
    block_S: NDArray[np.int64],
    *,
    balanced: bool,
    seed: int,
) -> Pipeline:
    """Fit a probe; its setting is chosen by cross-validation over blocks.

    Returns:
        The fitted steps `scale` and `probe`.

    """
    name, values = TRIED[kind]
    pipeline = _pipeline(kind, balanced=balanced)
    if kind == "knn":
        values = tuple(k for k in values if k <= max(len(class_S) // 8, 1))
    with _quiet():
        if len(np.unique(block_S)) < INNER_FOLDS:
            pipeline.set_params(**{f"probe__{name}": DEFAULT[kind]})
            return pipeline.fit(features_SD, class_S)
        search = GridSearchCV(
            pipeline,
            {f"probe__{name}": list(values)},
            scoring=make_scorer(f1_score, average="macro", zero_division=0.0),
            cv=StratifiedGroupKFold(INNER_FOLDS, shuffle=True, random_state=seed),
            error_score=-1.0,  # a part may lack all classes but one
        )
        search.fit(features_SD, class_S, groups=block_S)
    return search.best_estimator_


def chosen(kind: ProbeKind, fitted: Pipeline) -> dict[str, float]:
    """Return the setting that was chosen."""
    name, _ = TRIED[kind]
    return {name: float(fitted.get_params()[f"probe__{name}"])}


def converged(fitted: Pipeline) -> bool:
    """Tell whether the solver came to an end."""
    steps = getattr(fitted["probe"], "n_iter_", None)
    return steps is None or bool(np.max(steps) < MOST_STEPS)


def logits(
    kind: ProbeKind, fitted: Pipeline, features_SD: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return `logits_SK` as scikit-learn computes them.

    Two classes have one decision value z in scikit-learn. Here they have 0 and z for
    a logistic regression, so that softmax gives its probability, and -z and z for
    ridge. Neighbours give the logarithm of their shares.
    """
    if kind == "knn":
        shares_SK = fitted.predict_proba(features_SD)
        return np.log(np.maximum(shares_SK, LOG_FLOOR))  # type: ignore[no-any-return]
    z = np.asarray(fitted.decision_function(features_SD), dtype=np.float64)
    if z.ndim > 1:
        return z
    return np.stack([np.zeros_like(z) if kind == "logistic" else -z, z], axis=1)


def _pipeline(kind: ProbeKind, *, balanced: bool) -> Pipeline:
    """Return the steps, not fitted."""
    weight = "balanced" if balanced else None
    probes: dict[ProbeKind, Any] = {
        "logistic": LogisticRegression(max_iter=MOST_STEPS, class_weight=weight),
        "ridge": RidgeClassifier(class_weight=weight),
        "knn": KNeighborsClassifier(algorithm="brute"),
    }
    return Pipeline([("scale", StandardScaler()), ("probe", probes[kind])])


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep scikit-learn's warnings to itself: what they say is checked, or expected.

    Parts of a search lack classes, fail, or take too many steps.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
