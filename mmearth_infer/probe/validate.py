"""Cross-validation over blocks of cells.

Shapes: S cells, D channels, B blocks, K classes.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
from sklearn.model_selection import (  # type: ignore[import-untyped]
    StratifiedGroupKFold,
)

from mmearth_infer.contract.probe import Score, Validation
from mmearth_infer.errors import SceneError
from mmearth_infer.probe.estimators import fit
from mmearth_infer.probe.scores import class_iou, confusion_of, intervals, scores_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mmearth_infer.contract.probe import ProbeKind


def cross_validate(  # noqa: PLR0913 -- what is validated, on what, how
    kind: ProbeKind,
    features_SD: NDArray[np.float32],
    class_S: NDArray[np.int64],
    block_S: NDArray[np.int64],
    *,
    names: tuple[str, ...],
    folds: int,
    block_cells: int,
    block_m: float,
    balanced: bool,
    seed: int,
    tell: Callable[[int, int], None],
) -> Validation:
    """Hold out blocks, fit on the others, and compare what is said with what is true.

    The setting of each fold is chosen on its own training blocks. Figures are those
    of all held-out cells together; a class that no fold could learn counts as missed.

    Raises:
        SceneError: If a fold leaves one class only to learn from.

    """
    classes = len(names)
    said_S = np.full(len(class_S), -1, dtype=np.int64)
    alone: list[dict[str, float]] = []
    split = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes in few blocks: checked before
        parts = list(split.split(features_SD, class_S, groups=block_S))
    for done, (train, test) in enumerate(parts, start=1):
        left = np.unique(class_S[train])
        if len(left) < 2:  # noqa: PLR2004 -- two classes
            held = names[left[0]] if len(left) else "no class"
            raise SceneError(
                f"without fold {done} only `{held}` is left to learn from",
                hint="choose smaller blocks with --block-cells, or other --folds",
            )
        if len(test):
            fitted = fit(
                kind,
                features_SD[train],
                class_S[train],
                block_S[train],
                balanced=balanced,
                seed=seed,
            )
            said_S[test] = fitted.predict(features_SD[test])
            matrix = confusion_of(class_S[test], said_S[test], classes)
            alone.append({k: float(v) for k, v in scores_of(matrix).items()})
        tell(done, folds)
    assert (said_S >= 0).all()
    blocks, place_S = np.unique(block_S, return_inverse=True)
    confusion_BKK = np.zeros((len(blocks), classes, classes), dtype=np.int64)
    np.add.at(confusion_BKK, (place_S.reshape(-1), class_S, said_S), 1)
    confusion_KK = confusion_BKK.sum(axis=0)
    ends = intervals(confusion_BKK, seed)
    return Validation(
        folds=folds,
        block_cells=block_cells,
        block_m=block_m,
        blocks=len(blocks),
        scores={
            name: Score(
                value=float(value),
                low=ends[name][0],
                high=ends[name][1],
                folds=tuple(one[name] for one in alone if np.isfinite(one[name])),
            )
            for name, value in scores_of(confusion_KK).items()
        },
        iou=tuple(class_iou(confusion_KK).tolist()),
        confusion=tuple(tuple(row) for row in confusion_KK.tolist()),
    )
