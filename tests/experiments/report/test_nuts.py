"""What a reader of the NUTS page sees."""

import csv
import io

import pytest

from experiments.report import notes, nuts, nuts_rows


def markdown(records, paper):
    return nuts.markdown(nuts_rows.compare(records), paper)


def cells(text, first, *, section="##"):
    """The cells of the first line after `section` that begins with the cell `first`."""
    lines = text[text.index(section) :].splitlines()
    line = next(line for line in lines if line.startswith(f"| {first} |"))
    return [cell.strip() for cell in line.strip("| ").replace("\\|", "/").split(" | ")]


def parsed(records, paper):
    text = nuts.csv(nuts_rows.compare(records), paper)
    return {line["system"]: line for line in csv.DictReader(io.StringIO(text))}


def test_a_row_has_its_time_its_ratio_and_the_papers(bench, paper):
    assert cells(markdown(bench, paper), "Stan, bernoulli_logit_glm") == [
        "Stan, bernoulli_logit_glm",
        "88.0 (80.0-96.8)",
        "10.0x",
        "201.0",
    ]
    line = parsed(bench, paper)["stan_glm"]
    wanted = {
        "leapfrogs": "400",
        "build_seconds": "3",
        "first_seconds": "2",
        "paper_hardware": "CPU: Intel E5-1650 v4, 6 cores",
        "check": "passed",
        "log_prob_error": "1e-08",
        "grad_error": "2e-06",
        "grad_error_over_rounding": "",
    }
    assert {name: line[name] for name in wanted} == wanted
    ratios = [float(line[f"paper_ratio_to_{name}"]) for name in paper["ours"]]
    assert ratios == pytest.approx([2.94, 20.7, 87.4], rel=1e-2)


def test_every_table_has_at_most_five_columns(bench, paper):
    text = nuts.markdown(
        nuts_rows.compare(bench),
        paper,
        [(581012, *nuts_rows.compare(bench)[7:9])],
    )
    rows = [x.replace("\\|", "/") for x in text.splitlines() if x.startswith("|")]
    assert rows and all(row.count("|") <= 6 for row in rows)


def test_the_finding_comes_first(bench, paper):
    finding = markdown(bench, paper).split("\n\n")[1]
    assert finding.startswith("A leapfrog of ours takes 8.80 ms.")
    assert "Stan, bernoulli_logit_glm: 10.0x" in finding
    assert "Targets reached: 12 of 15. Not reached:" in finding


def test_sizes_of_the_data_have_a_line_each(record, paper):
    problem = dict(name="covertype", source="UCI", rows=20000, dim=55)
    bench = [
        record("ppl_core", ms=1.0, problem=problem),
        record("ppl_core_whole", ms=0.5, problem=problem),
    ]
    sizes = nuts_rows.by_size(bench)
    text = nuts.markdown(nuts_rows.compare(bench), paper, sizes)
    assert cells(text, "20,000")[1:] == ["4.40", "1.00", "0.500", "2.000x"]


def test_our_row_has_no_ratio_to_itself(bench, paper):
    assert cells(markdown(bench, paper), "**ours**")[2] == "-"


def test_published_rows_say_that_they_were_not_measured(bench, paper):
    text = markdown(bench, paper)
    label = "Edward2, 8 GPUs: NVIDIA V100"
    assert cells(text, label, section="## Published, not measured") == [
        label,
        "2.3",
        *("0.0336x", "0.237x", "1.00x"),
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
    assert ours[1:3] == ["64", "2.00"]
    stan = cells(text, "Stan, bernoulli_logit_glm, all cores")
    assert stan[1:] == ["2", "30.0", "15.0x", "5.00x"]
    lines = parsed(records, paper)
    counts = [
        (lines[name]["gradients"], lines[name]["leapfrogs"])
        for name in ("ppl_core_64_chains", "stan_glm_all_cores")
    ]
    assert counts == [("3000", "1000"), ("400", "400")]


def test_devices_are_compared_with_one_of_them(bench, paper):
    text = markdown(bench, paper)
    section = "## Rows divided over logical devices"
    one = cells(text, "ours, 1 logical CPU device, 1 thread", section=section)
    two = cells(text, "ours, 2 logical CPU devices, 1 thread each", section=section)
    assert one[1:] == ["13.2 (12.0-14.5)", "-"]
    assert two[2] == "1.60x"
    below = text[text.index(section) :]
    assert "parts of one CPU and say nothing about accelerators" in below
    assert "Edward2, 8 GPUs: NVIDIA V100 | 2.3 |" in below


def test_devices_are_in_no_table_with_the_papers(bench, paper):
    text = markdown(bench, paper)
    before = text[: text.index("## Rows divided over logical devices")]
    assert "logical CPU device" not in before


def test_devices_that_did_not_run_say_so(record, paper):
    text = markdown([record("ppl_core"), record("ppl_core_1_device")], paper)
    row = cells(text, "ours, 2 logical CPU devices, 1 thread each")
    assert row[1] == "not run" and row[2] == "-"


def test_a_failure_takes_up_its_cell_on_one_line(record, paper):
    reason = "killed | after\n600 s in <module> " + "and so on " * 50
    records = [record("ppl_core"), record("nutpie", status="failed", reason=reason)]
    row = cells(markdown(records, paper), "nutpie")
    assert row[1].startswith("failed: killed / after 600 s in &lt;module> and")
    assert row[1].endswith(" ...")
    assert row[2:] == ["-"] * 2


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
    assert row[2] == "-"
    line = parsed(records, paper)["nutpie"]
    assert (line["check"], line["log_prob_error"]) == ("failed", "3.2")


def test_a_ratio_says_when_ours_failed(record, paper):
    records = [
        record("ppl_core", status="failed", reason="killed"),
        record("stan_glm"),
    ]
    row = cells(markdown(records, paper), "Stan, bernoulli_logit_glm")
    assert row[2] == "ours: failed: killed"


def test_targets_say_whether_they_were_reached(bench, paper):
    text = markdown(bench, paper)

    def target(claim):
        return cells(text, claim, section="## Targets")[1:]

    assert target("ours / one pass over the features") == [
        "at most 2.3x",
        "2.000x",
        "reached",
    ]
    assert target("ours / bare JAX leapfrogs, [dim, rows]") == [
        "at most 1x",
        "1.111x",
        "**not reached**",
    ]
    assert target(
        "Stan, bernoulli_logit_glm, all cores / ours, 64 chains in one batch"
    ) == [
        "at least 15x",
        "22.5x",
        "reached",
    ]


def test_a_target_without_a_ratio_says_why(record, paper):
    records = [record("ppl_core"), record("one_pass", status="failed", reason="killed")]
    row = cells(
        markdown(records, paper),
        "ours / one pass over the features",
        section="## Targets",
    )
    reason = "not measured (one pass over the features: failed: killed)"
    assert row[2:] == ["-", reason]


def test_the_page_names_size_data_machine_day_and_protocol(bench, paper):
    text = markdown(bench, paper)
    for part in (
        "# NUTS on covertype, N = 581,012 x 55",
        "Data: UCI; 581,012 rows, 128 MB in float32",
        "Some CPU at 2 GHz, 2 cores, 2 threads per system; 2025-03-04",
        "step size 0.00167132",
        "metric: identity",
        "5 trajectories per call",
        "Rounds: 3",
        "arXiv 1811.02091, Table 1",
    ):
        assert part in text
    assert "smaller run" not in text


def test_a_smaller_run_says_that_the_papers_times_do_not_compare(record, paper):
    problem = dict(name="covertype", source="a stand-in", rows=20000, dim=55)
    text = markdown([record("ppl_core", problem=problem)], paper)
    assert "# NUTS on covertype, N = 20,000 x 55" in text
    assert "a stand-in" in text
    assert "smaller run" in text
    assert "They were set for N = 581,012." in text


@pytest.mark.parametrize(
    ("hardware", "provenance", "text"),
    [
        (dict(threads=4), {}, "8 cores, 4 threads per system; day"),
        (
            dict(threads={"OMP_NUM_THREADS": "4"}),
            {},
            "8 cores, 4 threads per system; day",
        ),
        (
            {},
            dict(threads={"OMP_NUM_THREADS": "4"}),
            "8 cores, 4 threads per system; day",
        ),
        ({}, {}, "8 cores; day not recorded"),
    ],
)
def test_threads_are_read_from_hardware_or_provenance(
    record, paper, hardware, provenance, text
):
    threaded = record(
        "ppl_core",
        hardware=dict(cpu="Some CPU at 2 GHz", cores=8) | hardware,
        provenance=dict(bench_id="b1") | provenance,
    )
    assert text in markdown([threaded], paper)


def test_a_row_without_a_comparison_claims_no_check(record, paper):
    records = [record("ppl_core"), record("one_pass", check=dict(passed=True))]
    text = markdown(records, paper)
    row = cells(text, "one pass over the features")
    assert row[2] != "-"
    assert parsed(records, paper)["one_pass"]["check"] == ""


def test_a_skipped_system_does_not_miss_rounds(record, paper):
    records = [record("ppl_core", i) for i in range(3)]
    records.append(record("nutpie", 0, status="skipped", reason="not installed"))
    assert "of 3 rounds only" not in markdown(records, paper)


def test_notes_have_what_the_records_say(record, paper, monkeypatch):
    monkeypatch.setattr(notes, "NOTES", {})  # as for systems that it does not know
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
    text = markdown(records, paper).split("## Notes")[1]
    assert text.count("- ours: with XLA.\n") == 1
    assert "- Stan, bernoulli_logit_glm: no -march=native.\n" in text
    assert "- Stan, bernoulli_logit_glm: of 2 rounds only 1.\n" in text
    assert "ours over 100 leapfrogs from the start: 0.5." in text
    assert "Load average over all runs: 0.250." in text
    assert "would need about 2.0 ms" in text


def test_a_known_system_has_the_reports_note_and_not_its_records(record, paper):
    text = markdown([record("ppl_core"), record("stan_glm", note="old prose")], paper)
    assert "old prose" not in text
    assert f"- Stan, bernoulli_logit_glm: {notes.NOTES['nuts']['stan_glm']}.\n" in text


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
    assert set(lines) == {s.id for s in nuts_rows.SYSTEMS} | {
        *("handwritten_tf_1_gpu", "edward2_1_gpu", "edward2_8_gpu")
    }


def test_csv_leaves_missing_values_empty(record, paper):
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
