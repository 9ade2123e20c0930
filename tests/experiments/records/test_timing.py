import time

import pytest

from experiments.records import timing


@pytest.fixture
def clock(monkeypatch):
    """A clock that only the calls below move on."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def spend(seconds):
        now[0] += seconds

    return spend


def test_build_first_and_later_calls_are_kept_apart(clock):
    costs = iter([5.0, 2.0, 3.0])

    def prepare():
        clock(7.0)
        return lambda: clock(next(costs))

    assert timing.time_calls(prepare, 2) == timing.Timing(7.0, 5.0, [2.0, 3.0])


def test_no_later_calls_is_an_empty_list():
    assert timing.time_calls(lambda: lambda: None, 0).calls == []


def test_a_negative_number_of_calls_is_refused():
    with pytest.raises(ValueError, match="given -1, wanted 0 or more"):
        timing.time_calls(lambda: lambda: None, -1)
