from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tape_bench.scoring.metrics import find
from tape_bench.scoring.ranks import mid_ranks


@given(st.lists(st.integers(-3, 3), max_size=30))
def test_mid_ranks_are_scipys(values):
    np.testing.assert_array_equal(mid_ranks(np.array(values, float)), stats.rankdata(values))


@given(
    st.lists(
        st.tuples(st.floats(-9, 9, width=16), st.integers(-3, 3), st.integers(0, 4)),
        min_size=2,
        max_size=40,
    )
)
def test_a_drawn_sample_is_ranked_as_if_it_were_written_out(predict, proteins):
    measured, predicted, times = (np.array(column, float) for column in zip(*proteins, strict=True))
    statistic = find("spearman", "sequence_value").statistic(predict.values(measured, predicted))
    weights = np.float32(times[statistic.proteins])[None]
    # As many proteins as there are, as in a bootstrap draw.
    weights[0, 0] += max(0, len(measured) - weights.sum())
    while weights.sum() > len(measured):
        weights[0, weights[0].argmax()] -= 1
    written_out = np.repeat(statistic.proteins, weights[0].astype(int))
    x, y = measured[written_out], predicted[written_out]
    got = statistic.drawn(weights)[0]
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        assert np.isnan(got)
    else:
        assert got == pytest.approx(stats.spearmanr(x, y)[0], abs=1e-12)
