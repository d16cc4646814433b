"""A fitted estimator on disk, without pickle: `skops` writes arrays and plain values, and names every type it reads.

scikit-learn's trees walk their arrays unchecked, so the arrays of a file are checked before they are walked.
"""

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeClassifier

from snellen.errors import UseError
from snellen.files import written_whole

TRUSTED = (
    "sklearn.tree._tree.Tree",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "snellen.models.classical.estimators.MajorityOfCluster",
    "snellen.models.classical.estimators.NearestMean",
    "snellen.models.classical.estimators.MixtureOfClass",
    "xgboost.core.Booster",
    "xgboost.sklearn.XGBClassifier",
)
"""Beyond what skops trusts by itself; nothing else is built from a file."""
LARGEST = 2 * 2**30
"""Bytes of a file that is still read."""


class StoreError(UseError):
    """A file that does not hold an estimator of ours."""


def save(fitted: Pipeline, path: Path) -> None:
    """Write the estimator, whole or not at all."""
    import skops.io  # Half a second, and only for those who keep or read an estimator.

    with written_whole(path) as temporary:
        skops.io.dump(fitted, temporary)


def load(path: Path) -> Pipeline:
    """Read what `save` wrote. Raises StoreError, which names file and reason."""
    import skops.io

    try:
        if path.stat().st_size > LARGEST:
            raise StoreError(f"{path}: {path.stat().st_size:,} bytes, limit {LARGEST:,}")
        foreign = sorted(set(skops.io.get_untrusted_types(file=path)) - set(TRUSTED))
        if foreign:
            raise StoreError(f"{path}: holds {foreign[0]}, which no estimator of ours has; it is not loaded")
        fitted = skops.io.load(path, trusted=list(TRUSTED))
    except (OSError, BadZipFile, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        raise StoreError(
            f"{path}: not a saved estimator: {(str(error) or type(error).__name__).splitlines()[0]}"
        ) from error
    if not isinstance(fitted, Pipeline):
        raise StoreError(f"{path}: holds a {type(fitted).__name__}, not an estimator of ours")
    _check_trees(fitted[-1], path)
    return fitted


def _check_trees(last: BaseEstimator, path: Path) -> None:
    """Raise StoreError when a node leads out of its tree, or asks for a feature that is not there."""
    width = int(getattr(last, "n_features_in_", 0))
    trees: list[tuple[Any, Any, Any, Any]] = []
    if isinstance(last, DecisionTreeClassifier | RandomForestClassifier):
        for owner in getattr(last, "estimators_", [last]):
            tree = owner.tree_
            inner = tree.children_left != -1
            trees.append((inner, tree.children_left, tree.children_right, tree.feature))
    elif isinstance(last, HistGradientBoostingClassifier):
        for nodes in (one.nodes for some in last._predictors for one in some):
            inner = nodes["is_leaf"] == 0
            trees.append((inner, nodes["left"], nodes["right"], nodes["feature_idx"]))
    for inner, left, right, feature in trees:
        own = np.arange(len(inner))[inner]
        # A child stands after its parent, so a walk ends.
        for child in (left[inner].astype(np.int64), right[inner].astype(np.int64)):
            if ((child <= own) | (child >= len(inner))).any():
                raise StoreError(f"{path}: a node of a tree leads out of the tree")
        asked = feature[inner].astype(np.int64)
        if ((asked < 0) | (asked >= width)).any():
            raise StoreError(f"{path}: a tree asks for a feature beyond its {width}")
