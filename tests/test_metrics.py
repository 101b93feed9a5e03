"""Metrics: the worked checks of the definitions, scikit-learn and scipy, weights as repetition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from sklearn import metrics as sk

from benchmark.metrics import evaluate

LABELS = [-2, -0.4, 0, 0, 0.6, 1.4, 3, -3]
PREDICTIONS = [-1.2, 0.1, -0.2, 0.3, -0.1, 1.6, 3.7, -2.4]
EXPECTED = {
    "mae": 0.5,
    "corr": 0.962673,
    "acc7": 0.5,
    "acc5": 0.625,
    "acc2_has0": 0.625,
    "f1_has0": 0.630952,
    "acc2_non0": 0.666667,
    "f1_non0": 0.666667,
}


@pytest.mark.parametrize(("name", "value"), EXPECTED.items())
def test_worked_check_of_all_metrics(name: str, value: float) -> None:
    assert evaluate("regression", PREDICTIONS, LABELS)[name] == pytest.approx(value, abs=1e-6)


def test_worked_check_of_the_argument_order() -> None:
    label = np.array([1.0] * 60 + [-1.0] * 40)
    prediction = np.array([1.0] * 58 + [-1.0] * 2 + [-1.0] * 20 + [1.0] * 20)
    result = evaluate("regression", prediction, label)
    assert result["acc2_non0"] == pytest.approx(0.78)
    assert result["f1_non0"] == pytest.approx(0.762412, abs=1e-6)
    swapped = evaluate("regression", label, prediction)
    assert swapped["f1_non0"] == pytest.approx(0.797588, abs=1e-6)


def test_rounding_is_half_to_even() -> None:
    result = evaluate("regression", [0.5, 1.5, 2.5, -0.5], [0, 2, 2, 0])
    assert result["acc7"] == 1.0


@pytest.mark.parametrize("value", [0.0, 0.3, -2.7, 1e6])
def test_a_constant_has_no_correlation(value: float) -> None:
    y = [1, 2, 3, -1, 0.1]
    assert np.isnan(evaluate("regression", [value] * 5, y)["corr"])
    assert np.isnan(evaluate("regression", y, [value] * 5)["corr"])


def test_without_a_sign_there_is_no_binary_accuracy() -> None:
    result = evaluate("regression", [0.1, -0.2], [0, 0])
    assert np.isnan([result["acc2_non0"], result["f1_non0"]]).all()
    assert result["acc2_has0"] == 0.5


values = hnp.arrays(np.float64, 40, elements=st.floats(-4, 4, width=32))


@given(prediction=values, label=values)
@settings(max_examples=50)
def test_regression_against_scikit_learn_and_scipy(prediction, label) -> None:
    label = np.round(label, 1)
    result = evaluate("regression", prediction, label)
    assert result["mae"] == pytest.approx(sk.mean_absolute_error(label, prediction))
    f1 = sk.f1_score(label >= 0, prediction >= 0, average="weighted", zero_division=0)
    assert result["f1_has0"] == pytest.approx(f1)
    rated = label != 0
    if rated.any():
        y, p = label[rated] > 0, prediction[rated] > 0
        assert result["acc2_non0"] == pytest.approx(sk.accuracy_score(y, p))
        expected = sk.f1_score(y, p, average="weighted", zero_division=0)
        assert result["f1_non0"] == pytest.approx(expected)
    if np.ptp(prediction) > 1e-3 and np.ptp(label) > 0:
        assert result["corr"] == pytest.approx(stats.pearsonr(prediction, label)[0], abs=1e-6)


@given(
    logits=hnp.arrays(np.float64, (60, 4), elements=st.floats(-3, 3)),
    label=hnp.arrays(np.int64, 60, elements=st.integers(0, 3)),
)
@settings(max_examples=50)
def test_classification_against_scikit_learn(logits, label) -> None:
    result, predicted = evaluate("classification", logits, label), logits.argmax(1)
    assert result["acc"] == pytest.approx(sk.accuracy_score(label, predicted))
    for average in ("weighted", "macro"):
        expected = sk.f1_score(label, predicted, average=average, zero_division=0)
        assert result[f"f1_{average}"] == pytest.approx(expected)
    recalls = sk.recall_score(label, predicted, average=None, labels=np.unique(label))
    assert result["uar"] == pytest.approx(recalls.mean())
    one = [(label == k, predicted == k) for k in range(4)]
    accuracies = [sk.accuracy_score(y, p) for y, p in one]
    assert result["acc_ovr"] == pytest.approx(np.mean(accuracies))
    f1s = [sk.f1_score(y, p, average="weighted", zero_division=0) for y, p in one]
    assert result["f1_ovr"] == pytest.approx(np.mean(f1s))


@given(weight=hnp.arrays(np.int64, 8, elements=st.integers(0, 4)).filter(lambda w: w.any()))
@settings(max_examples=50)
def test_weights_are_repetitions(weight) -> None:
    weighted = evaluate("regression", PREDICTIONS, LABELS, weight)
    repeated = evaluate("regression", np.repeat(PREDICTIONS, weight), np.repeat(LABELS, weight))
    for name, value in repeated.items():
        assert weighted[name] == pytest.approx(value, nan_ok=True), name
    logits = np.random.default_rng(0).normal(size=(8, 3))
    classes = np.array([0, 1, 2, 0, 1, 2, 0, 1])
    weighted = evaluate("classification", logits, classes, weight)
    repeated = evaluate(
        "classification", np.repeat(logits, weight, axis=0), np.repeat(classes, weight)
    )
    assert weighted == pytest.approx(repeated)


def test_nothing_to_measure_is_an_error() -> None:
    with pytest.raises(ValueError, match="sum to zero"):
        evaluate("regression", [1.0], [1.0], [0.0])
    with pytest.raises(ValueError, match="disagree"):
        evaluate("regression", [1.0, 2.0], [1.0])


def test_a_thousand_random_cases_against_scikit_learn_and_closed_forms() -> None:
    """Weighted, of any scale and offset, with few samples: half of them classes."""
    draw = np.random.default_rng(0)
    undefined = 0
    for case in range(1000):
        size = int(draw.integers(1, 30))
        w = draw.random(size) * (draw.random(size) < 0.8) + (draw.random() < 0.5)
        w[draw.integers(size)] += 1
        if case % 2:
            y = draw.integers(0, 4, size)
            logits = draw.normal(size=(size, 4))
            result, p = evaluate("classification", logits, y, w), logits.argmax(1)
            assert result["acc"] == pytest.approx(w @ (p == y) / w.sum())
            kept = w > 0
            average = "weighted" if case % 4 == 1 else "macro"
            pair = y[kept], p[kept]
            want = sk.f1_score(*pair, average=average, sample_weight=w[kept], zero_division=0)
            assert result[f"f1_{average}"] == pytest.approx(want)
            continue
        y = np.round(draw.normal(0, 1.5, size), 0 if case % 4 else 1)
        p = 10 ** draw.uniform(-2, 2) * (y * draw.random() + draw.normal(size=size))
        p = np.full(size, draw.normal()) if case % 50 == 0 else p + 10 * draw.normal()
        result = evaluate("regression", p, y, w)
        assert result["mae"] == pytest.approx(w @ np.abs(p - y) / w.sum())
        rated = (y != 0) & (w > 0)
        if rated.any():
            signs = y[rated] > 0, p[rated] > 0
            want = sk.f1_score(*signs, average="weighted", sample_weight=w[rated], zero_division=0)
            assert result["f1_non0"] == pytest.approx(want)
        else:
            assert np.isnan([result["f1_non0"], result["acc2_non0"]]).all()
        kept = w > 0
        if np.ptp(p[kept]) == 0 or np.ptp(y[kept]) == 0:
            undefined += 1
            assert np.isnan(result["corr"])
        else:
            covariance = np.cov(p[kept], y[kept], aweights=w[kept], ddof=0)
            want = covariance[0, 1] / (covariance[0, 0] * covariance[1, 1]) ** 0.5
            assert result["corr"] == pytest.approx(want, abs=1e-8)
    assert undefined > 20


@pytest.mark.parametrize("offset", [0.0, 10.0, 1000.0])
def test_the_correlation_of_an_offset_prediction_loses_no_digits_that_matter(offset: float) -> None:
    """Single precision keeps 7 digits of offset and spread together; the sums must keep more."""
    draw = np.random.default_rng(1)
    y = draw.normal(size=500)
    p = (y + draw.normal(size=500) + offset).astype(np.float32)
    want = stats.pearsonr(p.astype(np.float64), y)[0]
    assert evaluate("regression", p, y)["corr"] == pytest.approx(want, abs=1e-9)
