"""What a reader of the tables sees."""

import csv
import io

import pytest

from experiments.report import speedup, tables


def markdown(records, paper):
    return tables.markdown(speedup.compare(records), paper)


def cells(text, first, *, section="##"):
    """The cells of the first line after `section` that begins with the cell `first`."""
    lines = text[text.index(section) :].splitlines()
    line = next(line for line in lines if line.startswith(f"| {first} |"))
    return [cell.strip() for cell in line.strip("| ").replace("\\|", "/").split(" | ")]


def parsed(records, paper):
    text = tables.csv_text(speedup.compare(records), paper)
    return {line["system"]: line for line in csv.DictReader(io.StringIO(text))}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (1234567.0, "1,234,567"),
        (201.04, "201"),
        (68.44, "68.4"),
        (8.0, "8.00"),
        (0.86, "0.860"),
        (0.01234, "0.0123"),
    ],
)
def test_numbers_keep_three_digits(value, said):
    assert tables.number(value) == said


def test_a_range_is_shown_where_there_is_one():
    assert (
        tables.with_range(speedup.Spread(9.0, 10.0, 11.0), "x") == "10.0x (9.00-11.0)"
    )
    assert tables.with_range(speedup.Spread(10.0, 10.0, 10.0), "x") == "10.0x"
    assert tables.with_range(None, "x") == "-"


def test_a_row_has_its_time_its_ratio_and_the_papers(bench, paper):
    assert cells(markdown(bench, paper), "Stan, bernoulli_logit_glm") == [
        "Stan, bernoulli_logit_glm",
        "88.0 (80.0-96.8)",
        "400",
        "3.00",
        "2.00",
        "10.0x",
        "201.0 (CPU: Intel E5-1650 v4, 6 cores)",
        "2.94x / 20.7x / 87.4x",
        "passed: log prob 1.0e-08, gradient 2.0e-06",
    ]


def test_our_row_has_no_ratio_to_itself(bench, paper):
    assert cells(markdown(bench, paper), "**ours**")[5] == "-"


def test_published_rows_say_that_they_were_not_measured(bench, paper):
    assert cells(markdown(bench, paper), "Edward2, 8 GPUs") == [
        "Edward2, 8 GPUs",
        "published, not measured",
        *("-", "-", "-", "-"),
        "2.3 (8 GPUs: NVIDIA V100)",
        "0.0336x / 0.237x / 1.00x",
        "-",
    ]


def test_all_cores_show_gradients_and_leapfrogs_used(record, paper):
    records = [
        record(
            "ppl_core_64_chains",
            seconds=dict(build=1.0, first=1.0, calls=[6.0]),
            work=dict(leapfrogs=[1000], gradients=[3000]),
            settings=dict(num_chains=64),
        ),
        record("stan_glm_all_cores", ms=30.0, settings=dict(num_chains=2)),
    ]
    text = markdown(records, paper)
    ours = cells(text, "**ours, 64 chains in one batch**")
    assert ours[1:5] == ["64", "2.00", "3,000", "1,000"]
    stan = cells(text, "Stan, bernoulli_logit_glm, all cores")
    assert stan[1:5] == ["2", "30.0", "400", "400"]
    assert stan[7:9] == ["15.0x", "5.00x"]


def test_devices_are_held_against_one_of_them(bench, paper):
    text = markdown(bench, paper)
    section = "## The rows over several devices"
    one = cells(text, "ours, 1 logical CPU device, 1 thread", section=section)
    two = cells(text, "ours, 2 logical CPU devices, 1 thread each", section=section)
    assert one[1:3] == ["13.2 (12.0-14.5)", "400"] and one[5] == "-"
    assert two[5] == "1.60x"
    said = text[text.index(section) :]
    assert "parts of one CPU and say nothing of accelerators" in said
    assert "2.3 (8 GPUs: NVIDIA V100)" in said


def test_devices_are_in_no_table_with_the_papers(bench, paper):
    text = markdown(bench, paper)
    before = text[: text.index("## The rows over several devices")]
    assert "logical CPU device" not in before


def test_devices_that_did_not_run_say_so(record, paper):
    text = markdown([record("ppl_core"), record("ppl_core_1_device")], paper)
    row = cells(text, "ours, 2 logical CPU devices, 1 thread each")
    assert row[1] == "not run" and row[5] == "-"


def test_a_failure_takes_up_its_cell_on_one_line(record, paper):
    reason = "killed | after\n600 s in <module> " + "and so on " * 50
    records = [record("ppl_core"), record("nutpie", status="failed", reason=reason)]
    row = cells(markdown(records, paper), "nutpie")
    assert row[1].startswith("failed: killed / after 600 s in &lt;module> and")
    assert row[1].endswith(" ...")
    assert row[2:] == ["-"] * 7


def test_a_skipped_system_says_why(record, paper):
    records = [
        record("ppl_core"),
        record("nutpie", status="skipped", reason="not installed"),
    ]
    assert cells(markdown(records, paper), "nutpie")[1] == "skipped: not installed"


def test_a_wrong_posterior_has_no_ratio_and_shows_its_error(record, paper):
    wrong = dict(passed=False, log_prob_error=3.2)
    records = [record("ppl_core"), record("nutpie", check=wrong)]
    row = cells(markdown(records, paper), "nutpie")
    assert row[1] == "wrong posterior"
    assert row[5] == "-"
    assert row[-1] == "failed: log prob 3.2e+00"


def test_a_ratio_to_ours_says_when_ours_is_in_trouble(record, paper):
    records = [
        record("ppl_core", status="failed", reason="killed"),
        record("stan_glm"),
    ]
    row = cells(markdown(records, paper), "Stan, bernoulli_logit_glm")
    assert row[5] == "ours: failed: killed"


def test_targets_say_whether_they_were_reached(bench, paper):
    text = markdown(bench, paper)

    def target(claim):
        return cells(text, claim, section="## Targets")[1:]

    assert target("ours / one pass") == ["at most 2.3x", "2x (2-2)", "reached"]
    assert target("ours / JAX [dim, rows] loop") == [
        "at most 1x",
        "1.111x (1.111-1.111)",
        "**not reached**",
    ]
    assert target("Stan GLM, all cores / ours, 64 chains") == [
        "at least 15x",
        "22.5x (22.5-22.5)",
        "reached",
    ]


def test_a_target_without_a_ratio_says_why(record, paper):
    records = [record("ppl_core"), record("one_pass", status="failed", reason="killed")]
    row = cells(markdown(records, paper), "ours / one pass", section="## Targets")
    said = "not measured (one pass over the features: failed: killed)"
    assert row[2:] == ["-", said]


def test_the_head_names_size_data_machine_day_and_protocol(bench, paper):
    head = markdown(bench, paper).split("## ")[0]
    for said in (
        "# NUTS on covertype, N = 581,012 x 55",
        "Data: UCI",
        "Some CPU at 2 GHz, 2 cores, 2 threads a system; 2025-03-04",
        "step size 0.00167132",
        "metric: identity",
        "5 trajectories a call",
        "rounds: 3",
        "arXiv 1811.02091, Table 1",
    ):
        assert said in head
    assert "smaller run" not in head


def test_a_smaller_run_says_that_the_papers_times_do_not_compare(record, paper):
    problem = dict(name="covertype", source="a stand-in", rows=20000, dim=55)
    text = markdown([record("ppl_core", problem=problem)], paper)
    assert "# NUTS on covertype, N = 20,000 x 55" in text
    assert "a stand-in" in text
    assert "smaller run" in text
    assert "They were set for N = 581,012." in text


@pytest.mark.parametrize(
    ("hardware", "provenance", "said"),
    [
        (dict(threads=4), {}, "8 cores, 4 threads a system; day"),
        (
            dict(threads={"OMP_NUM_THREADS": "4"}),
            {},
            "8 cores, 4 threads a system; day",
        ),
        (
            {},
            dict(threads={"OMP_NUM_THREADS": "4"}),
            "8 cores, 4 threads a system; day",
        ),
        ({}, {}, "8 cores; day not recorded"),
    ],
)
def test_threads_are_found_where_they_were_kept(
    record, paper, hardware, provenance, said
):
    made = record(
        "ppl_core",
        hardware=dict(cpu="Some CPU at 2 GHz", cores=8) | hardware,
        provenance=dict(bench_id="b1") | provenance,
    )
    assert said in markdown([made], paper)


def test_a_row_that_nothing_was_compared_for_claims_no_check(record, paper):
    records = [record("ppl_core"), record("one_pass", check=dict(passed=True))]
    text = markdown(records, paper)
    row = cells(text, "one pass over the features")
    assert row[5] != "-"
    assert row[-1] == "-"


def test_a_system_that_was_skipped_once_is_not_said_to_miss_rounds(record, paper):
    records = [record("ppl_core", i) for i in range(3)]
    records.append(record("nutpie", 0, status="skipped", reason="not installed"))
    assert "of 3 rounds only" not in markdown(records, paper)


def test_notes_have_what_the_records_say(record, paper):
    checked = dict(passed=True, energy_error_100_steps=-0.5)
    records = [
        record("ppl_core", 0, note="with XLA", check=checked),
        record("ppl_core", 1, note="with XLA"),
        record("stan_glm", 1, note="no -march=native"),
    ]
    loaded = dict(
        bench_id="b1", load_average=[0.25, 9.0, 9.0], commit="abc", dirty=True
    )
    records[1] = record("ppl_core", 1, note="with XLA", provenance=loaded)
    notes = markdown(records, paper).split("## Notes")[1]
    assert notes.count("- ours: with XLA\n") == 1
    assert "- Stan, bernoulli_logit_glm: no -march=native\n" in notes
    assert "- Stan, bernoulli_logit_glm: of 2 rounds only 1.\n" in notes
    assert "the largest of our rows: 0.5." in notes
    assert "Load average, of all turns: 0.250." in notes
    assert "would need about 2.0 ms" in notes


def test_notes_name_the_commit_and_what_was_changed(record, paper):
    provenance = dict(
        bench_id="b1", commit="abc", dirty=True, versions=dict(python="3.12.1")
    )
    text = markdown([record("ppl_core", provenance=provenance)], paper)
    assert "- Commit: abc, with uncommitted changes.\n" in text
    assert "- Versions: python 3.12.1.\n" in text


def test_csv_reads_back_what_was_measured(bench, paper):
    lines = parsed(bench, paper)
    stan = lines["stan_glm"]
    assert stan["status"] == "measured"
    assert [float(stan[k]) for k in ("ms_low", "ms", "ms_high")] == pytest.approx(
        [80.0, 88.0, 96.8]
    )
    assert float(stan["speedup"]) == pytest.approx(10.0)
    assert stan["paper_ms"] == "201"
    assert stan["rounds"] == "3"
    assert set(lines) == {s.id for s in speedup.SYSTEMS} | {
        *("handwritten_tf_1_gpu", "edward2_1_gpu", "edward2_8_gpu")
    }


def test_csv_leaves_empty_what_is_not_there(record, paper):
    reason = "killed, in\nround 1"
    records = [record("ppl_core"), record("nutpie", status="failed", reason=reason)]
    lines = parsed(records, paper)
    assert lines["nutpie"]["status"] == "failed"
    assert lines["nutpie"]["reason"] == "killed, in round 1"
    assert lines["nutpie"]["ms"] == lines["nutpie"]["speedup"] == ""
    assert lines["stan_glm"]["status"] == "not run"
    assert lines["edward2_8_gpu"]["status"] == "published, not measured"
    assert lines["edward2_8_gpu"]["ms"] == ""


def test_csv_names_the_round_in_which_a_system_was_wrong(record, paper):
    records = [record(name, i) for name in ("ppl_core", "nutpie") for i in (0, 1)]
    records[-1] = record("nutpie", 1, check=dict(passed=False))
    line = parsed(records, paper)["nutpie"]
    assert line["status"] == "wrong posterior"
    assert line["reason"] == "(in round 1)"


def test_nothing_to_render_is_an_error(paper):
    with pytest.raises(ValueError, match="none has a record"):
        markdown([], paper)
