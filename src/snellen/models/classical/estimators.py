"""scikit-learn's and XGBoost's classifiers by name, each answering with one number per class.

Shapes: N samples, D features, K classes.
"""

import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.cluster import KMeans
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from snellen.errors import UseError

SMALLEST = 1e-6
"""Probabilities are taken for at least this, so that their logarithm is finite."""


class NearestMean(NearestCentroid):
    """The class whose mean is nearest: few-shot classification on frozen features.

    Snell, Swersky & Zemel 2017, "Prototypical Networks", eq. 1 and 2, with a network that is not trained.
    """

    def fit(self, x: NDArray[np.float32], y: NDArray[np.int64]) -> "NearestMean":
        """x (N, D), y (N,) in 0..K-1."""
        with warnings.catch_warnings():
            # A feature without spread within the classes matters to shrunken means only.
            warnings.filterwarnings("ignore", message=".*zero standard deviation")
            super().fit(x, y)
        return self

    def predict_proba(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """Softmax of minus the mean squared distances to the classes' means, (N, K)."""
        far: NDArray[np.float64] = cdist(x, self.centroids_, "sqeuclidean") / x.shape[1]
        chances: NDArray[np.float64] = softmax(-far, axis=1)
        return chances

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.int64]:
        """(N,), classes taken for equally frequent."""
        best: NDArray[np.int64] = self.classes_[self.predict_proba(x).argmax(axis=1)]
        return best


class MajorityOfCluster(ClassifierMixin, BaseEstimator):
    """k-means on the features alone; a cluster answers with the shares of the classes in it (one sample added to each).

    Lloyd 1982; five clusters a class unless told otherwise.
    """

    def __init__(self, clusters: int = 0, seed: int = 0) -> None:
        self.clusters = clusters
        self.seed = seed

    def fit(self, x: NDArray[np.float32], y: NDArray[np.int64]) -> "MajorityOfCluster":
        """x (N, D), y (N,) in 0..K-1."""
        self.classes_ = np.unique(y)
        count = min(self.clusters or 5 * len(self.classes_), len(x))
        self.means_ = KMeans(count, n_init=4, random_state=self.seed).fit(x)
        votes = np.ones((count, len(self.classes_)))
        np.add.at(votes, (self.means_.labels_, np.searchsorted(self.classes_, y)), 1)
        self.shares_ = votes / votes.sum(axis=1, keepdims=True)
        return self

    def predict_proba(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N, K)."""
        shares: NDArray[np.float64] = self.shares_[self.means_.predict(x)]
        return shares

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.int64]:
        """(N,)."""
        best: NDArray[np.int64] = self.classes_[self.predict_proba(x).argmax(axis=1)]
        return best


class MixtureOfClass(ClassifierMixin, BaseEstimator):
    """A Gaussian mixture (diagonal covariances) for each class, and Bayes' rule: p(k | x) ~ p(x | k) p(k)."""

    def __init__(self, components: int = 2, seed: int = 0) -> None:
        self.components = components
        self.seed = seed

    def fit(self, x: NDArray[np.float32], y: NDArray[np.int64]) -> "MixtureOfClass":
        """x (N, D), y (N,) in 0..K-1."""
        self.classes_ = np.unique(y)
        self.mixtures_ = []
        for k in self.classes_:
            own = x[y == k].astype(np.float64)
            count = max(1, min(self.components, len(own) // 10))
            # 1e-2 of the standardised variance: a feature that is constant within a class must not decide alone.
            mixture = GaussianMixture(count, covariance_type="diag", reg_covar=1e-2, random_state=self.seed)
            # A mixture wants two samples at least; the twin of a single one changes no mean.
            self.mixtures_.append(mixture.fit(own if len(own) > 1 else np.repeat(own, 2, axis=0)))
        self.log_prior_ = np.log(np.array([(y == k).mean() for k in self.classes_]))
        return self

    def predict_proba(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N, K)."""
        log_joint = np.stack([m.score_samples(x) for m in self.mixtures_], axis=1) + self.log_prior_
        chances = np.exp(log_joint - log_joint.max(axis=1, keepdims=True))
        shares: NDArray[np.float64] = chances / chances.sum(axis=1, keepdims=True)
        return shares

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.int64]:
        """(N,)."""
        best: NDArray[np.int64] = self.classes_[self.predict_proba(x).argmax(axis=1)]
        return best


def _xgboost(c: float, seed: int) -> Any:
    if importlib.util.find_spec("xgboost") is None:
        raise UseError("xgboost is not installed: pip install 'snellen[xgboost]', or take boosting")
    from xgboost import XGBClassifier

    return XGBClassifier(n_estimators=200, max_depth=4, learning_rate=0.1, reg_lambda=1 / c, random_state=seed)


ESTIMATORS: dict[str, Callable[[float, int], Any]] = {
    "logistic": lambda c, seed: LogisticRegression(C=c, max_iter=1000),
    "svm": lambda c, seed: SVC(C=c, kernel="linear", break_ties=True),
    "svm-rbf": lambda c, seed: SVC(C=c, kernel="rbf", break_ties=True),
    "svm-poly": lambda c, seed: SVC(C=c, kernel="poly", degree=3, coef0=1.0, break_ties=True),
    # Brute force: the features are too many for a tree to help.
    "knn": lambda c, seed: KNeighborsClassifier(5, weights="distance", algorithm="brute"),
    "nearest-mean": lambda c, seed: NearestMean(),
    "k-means": lambda c, seed: MajorityOfCluster(seed=seed),
    "gmm": lambda c, seed: MixtureOfClass(seed=seed),
    "tree": lambda c, seed: DecisionTreeClassifier(min_samples_leaf=3, random_state=seed),
    "forest": lambda c, seed: RandomForestClassifier(200, random_state=seed),
    "boosting": lambda c, seed: HistGradientBoostingClassifier(
        l2_regularization=1 / c, early_stopping=False, random_state=seed
    ),
    "xgboost": _xgboost,
}
"""Name -> f(C, seed) -> classifier. C weighs the data against the regularisation, as scikit-learn has it; estimators
without such a weight leave it alone."""


def estimator(name: str, c: float, seed: int) -> Pipeline:
    """Standardisation and the estimator `name`, unfitted. Raises UseError when XGBoost is asked for and absent."""
    return make_pipeline(StandardScaler(), ESTIMATORS[name](c, seed))


def logits(fitted: Pipeline, x: NDArray[np.float32], classes: int) -> NDArray[np.float32]:
    """(N, K): log-probabilities where the estimator has probabilities, else its decision values.

    Decision values (SVM) rank the classes; they are not calibrated. A class that was not trained on gets the lowest.
    """
    if hasattr(fitted, "predict_proba"):
        own = np.log(np.maximum(fitted.predict_proba(x), SMALLEST))
    else:
        own = fitted.decision_function(x)
        own = np.stack([-own, own], axis=1) if own.ndim == 1 else own
    known = np.asarray(fitted.classes_, dtype=np.int64)
    full = np.full((len(x), classes), min(float(own.min(initial=0.0)), np.log(SMALLEST)), np.float32)
    full[:, known] = own[:, : len(known)]
    return full
