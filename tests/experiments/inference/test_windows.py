"""The windows of a warm-up, against Stan's own arithmetic and numbers by hand."""

import pytest

from experiments.inference.windows import windows


def ends(num_warmup):
    """Where the windows that estimate a metric end."""
    return [w.end for w in windows(num_warmup) if w.estimates_metric]


def test_a_thousand_draws_have_the_windows_of_stans_manual():
    assert windows(1000) == [
        (0, 75, False),
        (75, 100, True),
        (100, 150, True),
        (150, 250, True),
        (250, 450, True),
        (450, 950, True),
        (950, 1000, False),
    ]


@pytest.mark.parametrize(
    "num_warmup, wanted",
    [
        (0, []),
        (1, [(0, 1, False)]),
        (19, [(0, 19, False)]),
        (20, [(0, 3, False), (3, 18, True), (18, 20, False)]),
        (100, [(0, 15, False), (15, 90, True), (90, 100, False)]),
        # 22.35 and 14.9, cut to whole numbers.
        (149, [(0, 22, False), (22, 135, True), (135, 149, False)]),
        (150, [(0, 75, False), (75, 100, True), (100, 150, False)]),
        # Stan does not lengthen its first window, whatever is left for the second.
        (151, [(0, 75, False), (75, 100, True), (100, 101, True), (101, 151, False)]),
        # A window of 50 would end at 150, and one of 100 behind it at 250: just too
        # late with 299 draws, just in time with 300.
        (299, [(0, 75, False), (75, 100, True), (100, 249, True), (249, 299, False)]),
    ],
)
def test_windows_worked_by_hand(num_warmup, wanted):
    assert windows(num_warmup) == wanted
    assert ends(300) == [100, 150, 250]


def ends_by_counting(num_warmup):
    """windowed_adaptation.hpp of Stan, draw by draw, in its own order."""
    if num_warmup < 20:
        return []
    first, last, base = 75, 50, 25
    if first + last + base > num_warmup:
        first, last = int(0.15 * num_warmup), int(0.1 * num_warmup)
        base = num_warmup - (first + last)
    size, next_end, stop = base, first + base - 1, num_warmup - last - 1
    found = []
    for draw in range(num_warmup):
        if draw != next_end:
            continue
        found.append(draw + 1)
        if next_end != stop:
            size *= 2
            next_end = draw + size
            if next_end != stop and next_end + 2 * size >= num_warmup - last:
                next_end = stop
    return found


def test_windows_end_where_stans_counter_ends_them():
    for num_warmup in [*range(1200), 12_345]:
        assert ends(num_warmup) == ends_by_counting(num_warmup), num_warmup


@pytest.mark.parametrize("num_warmup", [1, 20, 150, 1000, 10**12 + 7])
def test_windows_follow_each_other_from_the_first_draw_to_the_last(num_warmup):
    found = windows(num_warmup)
    assert found[0].first == 0 and found[-1].end == num_warmup
    assert all(a.end == b.first for a, b in zip(found, found[1:], strict=False))
    assert all(window.first < window.end for window in found)
    assert len(found) < 50


@pytest.mark.parametrize("num_warmup", [-1, 2.0, True, None, float("nan")])
def test_a_count_that_is_none_is_refused(num_warmup):
    with pytest.raises(ValueError, match="num_warmup: given .*, wanted a whole number"):
        windows(num_warmup)
