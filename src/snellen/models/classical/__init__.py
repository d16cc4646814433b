"""Classifiers without a trained network: features of an image, and an estimator on them, as `hog+svm`."""

FEATURE_NAMES = ("hog", "lbp", "colour", "raw")
ESTIMATOR_NAMES = (
    "logistic", "svm", "svm-rbf", "svm-poly", "knn", "nearest-mean", "k-means", "gmm", "tree", "forest", "boosting",
    "xgboost",
)  # fmt: skip


def is_classical(name: str) -> bool:
    """Whether `name` is of this kind: `hog+svm`, `hog+colour+forest`, `resnet18+nearest-mean`.

    What stands before the estimator is a feature's name or a network of timm, whose frozen features are taken; that is
    not looked up here. Imports nothing.
    """
    return "+" in name and name.rpartition("+")[2] in ESTIMATOR_NAMES
