"""The pipelines of an experiment: how columns are prepared, and which algorithms follow."""

from typing import Any

from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import BayesianRidge, HuberRegressor, LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from artifacts.frames import DTYPES
from experiments.data import Dataset
from schemas.manifest import FieldType, InputSchema

Named = dict[str, Pipeline]

# Beyond it the rarest values share a column: an identifier does not become a thousand of them.
MOST_CATEGORIES = 30
NEIGHBOURS = 15
TREES = 100
EXPLAINED = 0.95


def pipelines(data: Dataset, seed: int) -> Named:
    """Return the unfitted pipelines for ``data`` by the name of their algorithm, in their order.

    The last one learns nothing: what does not beat it is of no use.
    """
    # Half the rows train at least, with two folds: a quarter of all is always there.
    neighbours = min(NEIGHBOURS, max(1, len(data.target) // 4))
    chosen = _classifiers if data.task == "classification" else _regressors
    return {
        name: make_pipeline(preparation(data.schema, scaled=scaled), *steps)
        for name, (scaled, *steps) in chosen(seed, neighbours).items()
    }


def preparation(schema: InputSchema, *, scaled: bool) -> ColumnTransformer:
    """Return what makes numbers without gaps of the fields of ``schema``.

    Numbers: the median for what is missing, then mean 0 and deviation 1 where ``scaled``. Text and
    truth values: a column for each value, of which "missing" is one; unknown ones are none of them.
    """
    numeric = [f.name for f in schema.fields if f.type in DTYPES and f.type != FieldType.BOOLEAN]
    others = [f.name for f in schema.fields if f.name not in set(numeric)]
    fill = SimpleImputer(strategy="median", keep_empty_features=True)
    one_hot = OneHotEncoder(
        handle_unknown="infrequent_if_exist", max_categories=MOST_CATEGORIES, sparse_output=False
    )
    return ColumnTransformer(
        [
            ("numbers", make_pipeline(fill, StandardScaler()) if scaled else fill, numeric),
            ("categories", one_hot, others),
        ]
    )


def _classifiers(seed: int, neighbours: int) -> dict[str, tuple[Any, ...]]:
    return {
        "logistic regression": (True, LogisticRegression(max_iter=1000)),
        "PCA + logistic regression": (
            True,
            PCA(EXPLAINED, random_state=seed),
            LogisticRegression(max_iter=1000),
        ),
        "linear discriminant analysis": (
            True,
            LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
        ),
        "Gaussian naive Bayes": (False, GaussianNB()),
        "k nearest neighbours": (True, KNeighborsClassifier(neighbours)),
        "decision tree": (False, DecisionTreeClassifier(min_samples_leaf=5, random_state=seed)),
        "random forest": (False, RandomForestClassifier(TREES, random_state=seed)),
        "extra trees": (False, ExtraTreesClassifier(TREES, random_state=seed)),
        "gradient boosting": (False, HistGradientBoostingClassifier(random_state=seed)),
        "baseline: class frequencies": (False, DummyClassifier(strategy="prior")),
    }


def _regressors(seed: int, neighbours: int) -> dict[str, tuple[Any, ...]]:
    return {
        "ridge regression": (True, Ridge()),
        "PCA + ridge regression": (True, PCA(EXPLAINED, random_state=seed), Ridge()),
        "Bayesian ridge regression": (True, BayesianRidge()),
        "Huber regression": (True, HuberRegressor(max_iter=1000)),
        "k nearest neighbours": (True, KNeighborsRegressor(neighbours)),
        "decision tree": (False, DecisionTreeRegressor(min_samples_leaf=5, random_state=seed)),
        "random forest": (False, RandomForestRegressor(TREES, random_state=seed)),
        "extra trees": (False, ExtraTreesRegressor(TREES, random_state=seed)),
        "gradient boosting": (False, HistGradientBoostingRegressor(random_state=seed)),
        "baseline: the mean": (False, DummyRegressor()),
    }
