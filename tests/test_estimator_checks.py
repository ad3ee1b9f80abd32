"""scikit-learn's own checks: those of `check_estimator`, and three that it does not give to third parties."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    check_inplace_ensure_writeable,
    check_param_validation,
    parametrize_with_checks,
)

from skcnn import CNNClassifier, CNNRegressor

pytestmark = pytest.mark.slow

# It compares float64 results at a relative 1e-7, which is the precision of one float32 number.
FLOAT32_REASONS = {
    "check_sample_weight_equivalence_on_dense_data": "30 epochs of float32 steps round a weight of two, and a row"
    " twice, differently: the probabilities differ by about 1e-5",
}


@parametrize_with_checks([CNNClassifier()])
def test_every_check_passes(estimator, check):
    check(estimator)


@parametrize_with_checks(
    [CNNClassifier(loss="hinge", batch_norm=False), CNNRegressor(loss="quantile"), CNNRegressor(batch_norm=True)]
)
def test_every_check_passes_without_probabilities_and_without_a_mean(estimator, check):
    check(estimator)


@parametrize_with_checks(
    [CNNClassifier(dtype="float32")],
    expected_failed_checks=lambda estimator: FLOAT32_REASONS,
)
def test_every_check_passes_in_float32_but_for_precision(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    "check",
    [check_dataframe_column_names_consistency, check_param_validation, check_inplace_ensure_writeable],
)
@pytest.mark.parametrize("dtype", ["auto", "float32", "float64"])
def test_checks_that_third_parties_are_not_given_pass(check, dtype):
    check("CNNClassifier", CNNClassifier(dtype=dtype, max_iter=2))


ALL_CHECKS = """
from sklearn.utils.estimator_checks import check_estimator
from skcnn import CNNClassifier

results = check_estimator(CNNClassifier(), on_fail=None, on_skip=None)
bad = [result for result in results if result["status"] != "passed"]
assert len(results) > 60 and not bad, bad
"""


def test_every_check_passes_with_array_api_dispatch():
    root = Path(__file__).parents[1]
    environment = os.environ | {"SCIPY_ARRAY_API": "1", "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", ALL_CHECKS], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
