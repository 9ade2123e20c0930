"""What the records say, against numbers worked by hand."""

import json

import pytest

from experiments.report import speedup


def row_of(records, system):
    return next(r for r in speedup.compare(records) if r.system.id == system)


def verdict_of(records, over, under):
    verdicts = speedup.judge(speedup.compare(records))
    return next(v for v in verdicts if (v.target.over, v.target.under) == (over, under))


def test_time_is_of_all_calls_over_all_leapfrogs(record):
    uneven = record(
        "stan_glm",
        seconds=dict(build=9.0, first=9.0, calls=[1.0, 2.0]),
        work=dict(leapfrogs=[10, 50]),
    )
    assert speedup.milliseconds_per(uneven, "leapfrogs") == pytest.approx(50.0)


def test_gradients_are_leapfrogs_where_they_are_not_counted_apart(record):
    calls = dict(build=1.0, first=1.0, calls=[6.0])
    apart = record(
        "ppl_core_64_chains",
        seconds=calls,
        work=dict(leapfrogs=[1000], gradients=[3000]),
    )
    alike = record("stan_glm", seconds=calls, work=dict(leapfrogs=[1000]))
    assert speedup.milliseconds_per(apart, "gradients") == pytest.approx(2.0)
    assert speedup.milliseconds_per(apart, "leapfrogs") == pytest.approx(6.0)
    assert speedup.milliseconds_per(alike, "gradients") == pytest.approx(6.0)


@pytest.mark.parametrize(
    ("calls", "leapfrogs"), [([], []), ([1.0], []), ([1.0], [0]), ([1.0, 1.0], [5])]
)
def test_work_that_does_not_fit_the_calls_is_an_error(record, calls, leapfrogs):
    odd = record(
        "stan_glm",
        3,
        seconds=dict(build=1.0, first=1.0, calls=calls),
        work=dict(leapfrogs=leapfrogs),
    )
    with pytest.raises(ValueError, match="stan_glm, round 3"):
        speedup.milliseconds_per(odd, "leapfrogs")


def test_ratio_is_taken_round_by_round():
    stan = {0: 80.0, 1: 160.0, 2: 100.0}
    ours = {0: 8.0, 1: 8.0, 2: 20.0}
    assert speedup.speedup(stan, ours) == (5.0, 10.0, 20.0)


def test_a_machine_that_drifts_leaves_the_ratio_alone(bench):
    row = row_of(bench, "stan_glm")
    assert row.ms == pytest.approx((80.0, 88.0, 96.8))
    assert row.speedup == pytest.approx((10.0, 10.0, 10.0))


def test_a_missing_round_pairs_what_is_common(record):
    records = [record("ppl_core", i, ms=ms) for i, ms in enumerate((8.0, 10.0, 20.0))]
    records += [record("stan_glm", i, ms=80.0) for i in (0, 2)]
    row = row_of(records, "stan_glm")
    assert row.speedup == pytest.approx((4.0, 7.0, 10.0))
    assert verdict_of(records, "stan_glm", "ppl_core").ratio == row.speedup


def test_rounds_pair_by_number_whatever_their_order(record):
    records = [record("ppl_core", i, ms=ms) for i, ms in ((2, 4.0), (0, 8.0))]
    records += [record("stan_glm", i, ms=ms) for i, ms in ((0, 80.0), (2, 80.0))]
    assert row_of(records, "stan_glm").speedup == pytest.approx((10.0, 15.0, 20.0))


def test_no_common_round_gives_no_ratio(record):
    records = [record("ppl_core", 0), record("stan_glm", 1)]
    row = row_of(records, "stan_glm")
    assert row.ms is not None
    assert row.speedup is None
    assert verdict_of(records, "stan_glm", "ppl_core").trouble == "no common round"
    with pytest.raises(ValueError, match="no common round"):
        speedup.speedup({0: 1.0}, {1: 1.0})


@pytest.mark.parametrize(
    ("changes", "said"),
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
def test_trouble_takes_the_number_and_every_ratio(record, changes, said):
    records = [record("ppl_core"), record("stan_glm", **changes)]
    row = row_of(records, "stan_glm")
    assert row.trouble == said
    assert row.ms is None
    assert row.speedup is None
    verdict = verdict_of(records, "stan_glm", "ppl_core")
    assert verdict.ratio is None
    assert not verdict.reached
    assert said in verdict.trouble


def test_one_bad_round_is_enough(record):
    records = [record(system, i) for i in range(3) for system in ("ppl_core", "nutpie")]
    records[3] = record("nutpie", 1, check=dict(passed=False))
    row = row_of(records, "nutpie")
    assert row.trouble == "wrong posterior (in round 1)"
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
    assert row_of([record("ppl_core")], "stan_glm").trouble == "not run"


def test_all_cores_compare_gradients_and_leapfrogs_used(record):
    ours = record(
        "ppl_core_64_chains",
        seconds=dict(build=1.0, first=1.0, calls=[6.0]),
        work=dict(leapfrogs=[1000], gradients=[3000]),
    )
    row = row_of([ours, record("stan_glm_all_cores", ms=30.0)], "stan_glm_all_cores")
    assert row.speedup == pytest.approx((15.0, 15.0, 15.0))
    assert row.useful_speedup == pytest.approx((5.0, 5.0, 5.0))


def test_the_median_decides_a_target(record):
    def verdict(*ours):
        records = [record("ppl_core", i, ms=ms) for i, ms in enumerate(ours)]
        records += [record("one_pass", i, ms=1.0) for i in range(3)]
        return verdict_of(records, "ppl_core", "one_pass")

    assert verdict(1.0, 2.3, 9.0).reached
    assert not verdict(1.0, 2.31, 2.4).reached


def test_a_target_from_below_is_reached_from_above(record):
    def verdict(ms):
        records = [record("ppl_core", ms=8.0), record("stan_glm", ms=ms)]
        return verdict_of(records, "stan_glm", "ppl_core")

    assert verdict(80.0).reached
    assert not verdict(79.9).reached


def test_every_target_is_between_rows_of_one_unit():
    groups = {s.id: s.group for s in speedup.SYSTEMS}
    for target in speedup.TARGETS:
        units = {speedup.UNITS[groups[name]] for name in (target.over, target.under)}
        assert len(units) == 1, target


def test_only_the_last_benchmark_counts(record):
    def of(bench_id, system):
        return record(system, provenance=dict(bench_id=bench_id))

    records = [of("b1", "ppl_core"), of("b1", "stan_glm"), of("b2", "ppl_core")]
    assert speedup.newest_bench(records) == records[2:]
    assert speedup.newest_bench([*records, of("b1", "nutpie")]) == [
        *records[:2],
        of("b1", "nutpie"),
    ]


def test_records_of_no_benchmark_are_an_error(record):
    with pytest.raises(ValueError, match="given none"):
        speedup.newest_bench([])
    with pytest.raises(ValueError, match="nutpie, round 0: no bench_id"):
        speedup.newest_bench([record("ppl_core"), record("nutpie", provenance={})])


def test_an_unknown_system_is_an_error(record):
    stray = record("ppl_core", ms=1.0)
    object.__setattr__(stray, "system", "ppl_cor")
    with pytest.raises(ValueError, match="given 'ppl_cor', wanted one of"):
        speedup.compare([stray])


def test_a_round_told_twice_is_an_error(record):
    with pytest.raises(ValueError, match="ppl_core: round 0 is recorded twice"):
        speedup.compare([record("ppl_core"), record("ppl_core")])


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
        speedup.compare([record("ppl_core"), record("stan_glm", **changes)])


def test_the_papers_table_gives_the_papers_ratios(paper):
    stan = speedup.paper_row(paper, "stan_glm")
    pymc = speedup.paper_row(paper, "pymc_float32")
    assert stan == speedup.paper_row(paper, "stan_plain")
    assert speedup.paper_ratios(paper, stan) == pytest.approx([2.94, 20.7, 87.4], 1e-2)
    assert speedup.paper_ratios(paper, pymc)[-1] == pytest.approx(32.5, 1e-2)
    assert speedup.paper_row(paper, "ppl_core").ms == 68.4
    assert speedup.paper_row(paper, "nutpie") is None


def test_the_paper_may_not_stand_beside_a_row_there_is_not(paper_path, tmp_path):
    content = json.loads(paper_path.read_text())
    content["table"][0]["systems"].append("stan_gml")
    path = tmp_path / "paper.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="stan names systems without a row"):
        speedup.read_paper(path)


@pytest.mark.parametrize("system", ["ppl_core_64_chains", "ppl_core_1_device"])
def test_all_cores_and_devices_may_have_been_measured_by_themselves(record, system):
    def of(bench_id, system):
        return record(system, provenance={"bench_id": bench_id})

    together = [of("b1", "ppl_core"), of("b1", system)]
    apart = of("b2", system)
    assert speedup.newest_bench([*together, apart]) == [together[0], apart]
