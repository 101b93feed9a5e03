"""Spans and statistics against a search and a sum by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.data import standardise
from benchmark.data.scan import spans


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=4), st.data())
def test_spans(rows: list[list[bool]], more: st.DataObject) -> None:
    """Against a search by hand, with and without stated lengths."""
    content = np.array(rows)
    start, stop, _ = spans(content, None)
    for i, row in enumerate(rows):
        real = [t for t, flag in enumerate(row) if flag]
        assert (start[i], stop[i]) == ((real[0], real[-1] + 1) if real else (0, 0))
    lengths = np.array([more.draw(st.integers(0, 5)) for _ in rows])
    start, stop, past = spans(content, lengths)
    for i, row in enumerate(rows):
        length = int(lengths[i])
        assert stop[i] - start[i] == length
        outside_right = any(row[length:])
        only_in_the_last = outside_right and not any(row[: 5 - length])
        assert start[i] == (5 - length if only_in_the_last else 0)
        assert past[i] == (outside_right and not only_in_the_last)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(
            st.one_of(st.floats(-1e4, 1e4, width=32), st.sampled_from([np.nan, np.inf, -np.inf])),
            min_size=3,
            max_size=3,
        ),
        min_size=1,
        max_size=12,
    ),
    st.integers(1, 11),
)
def test_moments(rows: list[list[float]], cut: int) -> None:
    """Merged moments of finite entries equal those of one loop."""
    values = np.array(rows, dtype=np.float32)
    finite = np.isfinite(values)
    one = standardise.Moments.of(values[:cut], finite[:cut])
    both = one + standardise.Moments.of(values[cut:], finite[cut:])
    for c in range(3):
        kept = [float(v) for v in values[:, c] if np.isfinite(v)]
        assert both.count[c] == len(kept)
        if kept:
            mean = sum(kept) / len(kept)
            std = (sum((v - mean) ** 2 for v in kept) / len(kept)) ** 0.5
            assert both.mean[c] == pytest.approx(mean, rel=1e-9, abs=1e-9)
            assert both.std[c] == pytest.approx(std, rel=1e-6, abs=1e-6)
    everything = [float(v) for v in values.ravel() if np.isfinite(v)]
    if everything:
        assert both.pooled_std == pytest.approx(np.std(everything), rel=1e-6, abs=1e-6)
