from __future__ import annotations

import pytest

from tape_bench.errors import UsageError
from tape_bench.report.gate.tolerance import parse


def test_the_most_particular_tolerance_stands():
    metric = "log_fluorescence.mse.true<=2.5"

    allowed = parse(["0.005", "contact=0.01", f"fluorescence:{metric}=0.2"])

    assert allowed.of("stability", "any") == 0.005
    assert allowed.of("contact", "any") == 0.01
    assert allowed.of("fluorescence", metric) == 0.2
    assert allowed.of("fluorescence", "other") == 0.005
    assert allowed.extra_metrics("fluorescence") == [metric]


def test_nothing_said_lets_no_drop_pass():
    assert parse([]).of("contact", "any") == 0


@pytest.mark.parametrize("text", ["contact=lots", "contact=", "-0.1", "contact=nan", "contact=inf"])
def test_what_is_no_tolerance_is_refused(text):
    with pytest.raises(UsageError, match="tolerance"):
        parse([text])
