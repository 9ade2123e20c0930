"""The rows of the NUTS table, against numbers worked out by hand."""

import json

import pytest

from experiments.report import nuts_rows, ratios


def row_of(records, system):
    return next(r for r in nuts_rows.compare(records) if r.system.id == system)


def outcome_of(records, over, under):
    outcomes = nuts_rows.outcomes(nuts_rows.compare(records))
    pairs = [target[:2] for target in nuts_rows.TARGETS]
    return outcomes[pairs.index((over, under))]


def test_time_is_of_all_calls_over_all_leapfrogs(record):
    uneven = record(
        "stan_glm",
        seconds=dict(build=9.0, first=9.0, calls=[1.0, 2.0]),
        work=dict(leapfrogs=[10, 50]),
    )
    assert nuts_rows.milliseconds_per(uneven, "leapfrogs") == pytest.approx(50.0)


def test_without_a_count_of_gradients_a_leapfrog_is_one(record):
    calls = dict(build=1.0, first=1.0, calls=[6.0])
    apart = record(
        "ppl_core_64_chains",
        seconds=calls,
        work=dict(leapfrogs=[1000], gradients=[3000]),
    )
    alike = record("stan_glm", seconds=calls, work=dict(leapfrogs=[1000]))
    assert nuts_rows.milliseconds_per(apart, "gradients") == pytest.approx(2.0)
    assert nuts_rows.milliseconds_per(apart, "leapfrogs") == pytest.approx(6.0)
    assert nuts_rows.milliseconds_per(alike, "gradients") == pytest.approx(6.0)


@pytest.mark.parametrize(
    ("calls", "leapfrogs"), [([], []), ([1.0], []), ([1.0], [0]), ([1.0, 1.0], [5])]
)
def test_work_without_one_count_for_each_call_is_an_error(record, calls, leapfrogs):
    odd = record(
        "stan_glm",
        3,
        seconds=dict(build=1.0, first=1.0, calls=calls),
        work=dict(leapfrogs=leapfrogs),
    )
    with pytest.raises(ValueError, match="stan_glm, round 3"):
        nuts_rows.milliseconds_per(odd, "leapfrogs")


def test_ratio_is_taken_round_by_round():
    stan = {0: 80.0, 1: 160.0, 2: 100.0}
    ours = {0: 8.0, 1: 8.0, 2: 20.0}
    assert ratios.ratio(stan, ours) == (5.0, 10.0, 20.0)


def test_a_machine_that_slows_down_does_not_change_a_ratio(bench):
    row = row_of(bench, "stan_glm")
    assert row.ms == pytest.approx((80.0, 88.0, 96.8))
    assert row.speedup == pytest.approx((10.0, 10.0, 10.0))


def test_only_common_rounds_make_a_ratio(record):
    records = [record("ppl_core", i, ms=ms) for i, ms in enumerate((8.0, 10.0, 20.0))]
    records += [record("stan_glm", i, ms=80.0) for i in (0, 2)]
    row = row_of(records, "stan_glm")
    assert row.speedup == pytest.approx((4.0, 7.0, 10.0))
    assert outcome_of(records, "stan_glm", "ppl_core").measured == row.speedup


def test_rounds_pair_by_number_in_any_order(record):
    records = [record("ppl_core", i, ms=ms) for i, ms in ((2, 4.0), (0, 8.0))]
    records += [record("stan_glm", i, ms=ms) for i, ms in ((0, 80.0), (2, 80.0))]
    assert row_of(records, "stan_glm").speedup == pytest.approx((10.0, 15.0, 20.0))


def test_no_common_round_gives_no_ratio(record):
    records = [record("ppl_core", 0), record("stan_glm", 1)]
    row = row_of(records, "stan_glm")
    assert row.ms is not None
    assert row.speedup is None
    assert outcome_of(records, "stan_glm", "ppl_core").reason == "no common round"
    assert ratios.ratio({0: 1.0}, {1: 1.0}) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (dict(status="failed", reason="killed"), "failed: killed"),
        (dict(status="skipped", reason="not installed"), "skipped: not installed"),
        (dict(check=dict(passed=False)), "wrong posterior"),
        (
            dict(check=dict(passed=False, reason="off by 3")),
            "wrong posterior: off by 3",
        ),
        (dict(check={}), "not checked"),
    ],
)
def test_a_failure_leaves_no_number_and_no_ratio(record, changes, reason):
    records = [record("ppl_core"), record("stan_glm", **changes)]
    row = row_of(records, "stan_glm")
    assert row.failure == reason
    assert row.ms is None
    assert row.speedup is None
    outcome = outcome_of(records, "stan_glm", "ppl_core")
    assert outcome.measured is None
    assert not outcome.reached
    assert reason in outcome.reason


def test_one_failed_round_is_a_failure(record):
    records = [record(system, i) for i in range(3) for system in ("ppl_core", "nutpie")]
    records[3] = record("nutpie", 1, check=dict(passed=False))
    row = row_of(records, "nutpie")
    assert row.failure == "wrong posterior (in round 1)"
    assert row.speedup is None


@pytest.mark.parametrize(
    "changes",
    [dict(status="failed", reason="killed"), dict(check=dict(passed=False))],
)
def test_nothing_is_compared_with_ours_when_ours_is_wrong(record, changes):
    records = [record("ppl_core", **changes), record("stan_glm")]
    row = row_of(records, "stan_glm")
    assert row.ms is not None
    assert row.speedup is None


def test_a_system_without_a_record_was_not_run(record):
    assert row_of([record("ppl_core")], "stan_glm").failure == "not run"


def test_all_cores_compare_gradients_and_leapfrogs_used(record):
    ours = record(
        "ppl_core_64_chains",
        seconds=dict(build=1.0, first=1.0, calls=[6.0]),
        work=dict(leapfrogs=[1000], gradients=[3000]),
    )
    row = row_of([ours, record("stan_glm_all_cores", ms=30.0)], "stan_glm_all_cores")
    assert row.speedup == pytest.approx((15.0, 15.0, 15.0))
    assert row.speedup_per_leapfrog_used == pytest.approx((5.0, 5.0, 5.0))


def test_the_median_decides_a_target(record):
    def outcome(*ours):
        records = [record("ppl_core", i, ms=ms) for i, ms in enumerate(ours)]
        records += [record("one_pass", i, ms=1.0) for i in range(3)]
        return outcome_of(records, "ppl_core", "one_pass")

    assert outcome(1.0, 2.3, 9.0).reached
    assert not outcome(1.0, 2.31, 2.4).reached


def test_a_target_of_at_least_is_reached_at_its_bound(record):
    def outcome(ms):
        records = [record("ppl_core", ms=8.0), record("stan_glm", ms=ms)]
        return outcome_of(records, "stan_glm", "ppl_core")

    assert outcome(80.0).reached
    assert not outcome(79.9).reached


def test_every_target_is_between_rows_of_one_unit():
    groups = {s.id: s.group for s in nuts_rows.SYSTEMS}
    for over, under, *_ in nuts_rows.TARGETS:
        assert nuts_rows.UNITS[groups[over]] == nuts_rows.UNITS[groups[under]], over


def test_only_the_last_benchmark_counts(record):
    def of(bench_id, system):
        return record(system, provenance=dict(bench_id=bench_id))

    records = [of("b1", "ppl_core"), of("b1", "stan_glm"), of("b2", "ppl_core")]
    assert nuts_rows.newest(records) == records[2:]
    assert nuts_rows.newest([*records, of("b1", "nutpie")]) == [
        *records[:2],
        of("b1", "nutpie"),
    ]


def test_records_of_no_benchmark_are_an_error(record):
    with pytest.raises(ValueError, match="given none"):
        nuts_rows.newest([])
    with pytest.raises(ValueError, match="nutpie, round 0: no bench_id"):
        nuts_rows.newest([record("ppl_core"), record("nutpie", provenance={})])


def test_an_unknown_system_is_an_error(record):
    stray = record("ppl_core", ms=1.0)
    object.__setattr__(stray, "system", "ppl_cor")
    with pytest.raises(ValueError, match="given 'ppl_cor', wanted one of"):
        nuts_rows.compare([stray])


def test_a_round_recorded_twice_is_an_error(record):
    with pytest.raises(ValueError, match="ppl_core: round 0 is recorded twice"):
        nuts_rows.compare([record("ppl_core"), record("ppl_core")])


@pytest.mark.parametrize(
    "changes",
    [
        dict(problem=dict(name="covertype", source="UCI", rows=20000)),
        dict(problem=dict(name="covertype", source="made up", rows=581012)),
        dict(hardware=dict(cpu="Another CPU", cores=2)),
        dict(hardware=dict(cpu="Some CPU at 2 GHz", cores=64)),
    ],
)
def test_one_table_is_of_one_problem_on_one_machine(record, changes):
    with pytest.raises(ValueError, match="stan_glm, round 0: given"):
        nuts_rows.compare([record("ppl_core"), record("stan_glm", **changes)])


def test_the_papers_table_gives_the_papers_ratios(paper):
    stan = nuts_rows.paper_row(paper, "stan_glm")
    pymc = nuts_rows.paper_row(paper, "pymc_float32")
    assert stan == nuts_rows.paper_row(paper, "stan_plain")
    assert nuts_rows.paper_ratios(paper, stan) == pytest.approx(
        [2.94, 20.7, 87.4], 1e-2
    )
    assert nuts_rows.paper_ratios(paper, pymc)[-1] == pytest.approx(32.5, 1e-2)
    assert nuts_rows.paper_row(paper, "ppl_core")["ms_per_leapfrog"] == 68.4
    assert nuts_rows.paper_row(paper, "nutpie") == {}


def test_the_paper_may_not_name_an_unknown_system(paper_path, tmp_path):
    content = json.loads(paper_path.read_text())
    content["table"][0]["systems"].append("stan_gml")
    path = tmp_path / "paper.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="stan names systems without a row"):
        nuts_rows.read_paper(path)


@pytest.mark.parametrize("system", ["ppl_core_64_chains", "ppl_core_1_device"])
def test_all_cores_and_devices_may_be_of_benchmarks_of_their_own(record, system):
    def of(bench_id, system):
        return record(system, provenance={"bench_id": bench_id})

    together = [of("b1", "ppl_core"), of("b1", system)]
    apart = of("b2", system)
    assert nuts_rows.newest([*together, apart]) == [together[0], apart]


def test_ours_by_the_size_of_the_data_is_of_the_newest_benchmark_of_each(record):
    def of(bench_id, rows, ms, system="ppl_core"):
        problem = dict(name="covertype", source="UCI", rows=rows, dim=55)
        return record(
            system, ms=ms, problem=problem, provenance=dict(bench_id=bench_id)
        )

    records = [
        *(of("b0", 581012, 9.0, name) for name in ("ppl_core", "ppl_core_whole")),
        *(of("b1", 20000, 0.2, name) for name in ("ppl_core", "ppl_core_whole")),
        of("b2", 581012, 4.0),
        of("b2", 581012, 5.0, "ppl_core_whole"),
        of("b3", 581012, 1.0),  # has no row to compare with
    ]
    small, large = nuts_rows.by_size(records)
    assert (small[0], large[0]) == (20000, 581012)
    assert [row.ms.median for row in large[1:]] == pytest.approx([4.0, 5.0])
    assert nuts_rows.data_mb(small[1].records[0].problem) == pytest.approx(4.4)
