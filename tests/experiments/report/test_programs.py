"""The page of the paper's programs from invented records."""

import csv
import dataclasses
import io

import pytest

from experiments.records import record as records
from experiments.records.record import Record
from experiments.report import page, programs


def claim(text="gap in nats", value=0.25, holds=True, error=None):
    made = {"text": text, "value": value, "wanted": "at most 1"}
    return made | {"holds": holds, "error": error}


def make(name, *claims, bench="b1", status="ok", reason="", seconds=30.0):
    return Record(
        experiment="programs",
        system=name,
        round=1,
        problem=dict(name=name),
        hardware=dict(cpu="Some CPU", cores=2, threads=2),
        settings=dict(seed=0, config=f"configs/programs/{name}.gin"),
        status=status,
        reason=reason,
        seconds=dict(total=seconds) if status == "ok" else {},
        work=dict(facts={}),
        check=dict(claims=list(claims)) if status == "ok" else {},
        provenance=dict(bench_id=bench, started_at="2025-03-04T05:06:07Z"),
    )


MADE = [
    make("vimco", claim(error=0.0123), claim("variance | ratio", 7.0)),
    make("beta_bernoulli", claim(holds=False, value=None)),
    make("of_mine", status="failed", reason="exit code 1"),
    make("align_vi", status="skipped", reason="no time left"),
]


def test_each_claim_has_a_row_and_the_programs_are_in_the_papers_order():
    text = programs.markdown(MADE)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows[1] == "| --- | --- | ---: | ---: | ---: | ---: |"
    assert rows[2:] == [
        "| [beta_bernoulli](../../docs/programs/beta_bernoulli.md), Figure 1 | gap in "
        "nats | NaN | at most 1 | **no** | 30 |",
        "| [align_vi](../../docs/programs/align_vi.md), Figures 11 and 12 | not run: "
        "no time left | - | - | **no** | - |",
        "| [vimco](../../docs/programs/vimco.md), section 3.3 | gap in nats | 0.25 ± "
        "0.012 | at most 1 | yes | 30 |",
        "|  | variance \\| ratio | 7 | at most 1 | yes |  |",
        "| [of_mine](../../docs/programs/of_mine.md) | FAILED: exit code 1 | - | - | "
        "**no** | - |",
    ]
    assert "Claims that hold: 2 of 3. Failed, of beta_bernoulli: gap in nats: NaN." in (
        text
    )
    assert "All programs took 1.0 minutes" in text and "Some CPU, 2 cores" in text


def test_a_program_that_ran_at_another_commit_says_so():
    def at(name, commit):
        one = make(name, claim())
        return dataclasses.replace(one, provenance=one.provenance | {"commit": commit})

    text = programs.markdown(
        [at("vimco", "b"), at("align_vi", "a"), at("minibatch", "a")]
    )
    assert "Commit: a." in text and "Commit of vimco: b." in text
    assert "minibatch: " not in text


def test_a_programs_newest_record_counts_whenever_the_others_ran():
    again = make("vimco", claim(value=0.5), bench="b2")
    runs = programs.newest([*MADE, again])
    assert runs["vimco"] is again and runs["of_mine"] is MADE[2]
    resumed = make("align_vi", claim(), bench="b1")
    assert programs.newest([*MADE, resumed])["align_vi"] is resumed
    with pytest.raises(ValueError, match="records: given none"):
        programs.newest([])


def test_the_csv_has_every_claim_with_its_number():
    lines = list(csv.DictReader(io.StringIO(programs.csv(MADE))))
    assert len(lines) == 5
    by_claim = {(line["program"], line["claim"]): line for line in lines}
    ours = by_claim["vimco", "gap in nats"]
    assert (ours["value"], ours["error"], ours["holds"]) == ("0.25", "0.0123", "True")
    assert by_claim["of_mine", ""]["status"] == "failed"


def test_a_block_is_filled_and_what_is_around_it_stays():
    text = "# Title\n\n<!-- claims -->\nold\n<!-- /claims -->\n\nafter\n"
    filled = programs.fill(text, "claims", "new\n\nlines")
    assert filled == text.replace("old", "new\n\nlines")
    assert programs.fill(filled, "claims", "new\n\nlines") == filled


@pytest.mark.parametrize(
    "text",
    [
        "no block",
        "<!-- claims --> only",
        "<!-- /claims --> <!-- claims -->",
        2 * "<!-- claims --><!-- /claims -->",
    ],
)
def test_a_page_without_one_block_is_refused(text):
    with pytest.raises(ValueError, match="wanted <!-- claims --> and then"):
        programs.fill(text, "claims", "new")


def test_a_programs_own_block_has_its_claims_seconds_and_seed():
    text = programs.block(MADE[0])
    assert "| gap in nats | 0.25 ± 0.012 | at most 1 | yes |" in text
    assert text.endswith(
        "30 s in all; seed 0; Some CPU, 2 cores, 2 threads per system; 2025-03-04."
    )
    assert programs.block(MADE[2]) == "FAILED: exit code 1."


def test_rendering_fills_the_pages_beside_the_results_and_no_others(tmp_path):
    docs = tmp_path / "docs" / "programs"
    docs.mkdir(parents=True)
    (docs / "README.md").write_text("<!-- programs -->\n<!-- /programs -->\n")
    (docs / "vimco.md").write_text("# vimco\n<!-- claims -->\n<!-- /claims -->\n")
    path = tmp_path / "results" / "records" / "programs.jsonl"
    for one in MADE:
        records.append(path, one)
    page.render_programs(records_path=path, out_dir=tmp_path / "results")
    assert "| gap in nats | 0.25 ± 0.012 |" in (docs / "vimco.md").read_text()
    listed = (docs / "README.md").read_text()
    assert "[vimco](vimco.md)" in listed and "| 2 of 2 |" in listed
    assert sorted(p.name for p in docs.iterdir()) == ["README.md", "vimco.md"]
    tables = tmp_path / "results" / "tables"
    assert sorted(p.name for p in tables.iterdir()) == ["programs.csv", "programs.md"]
    (docs / "vimco.md").write_text("# no block\n")
    with pytest.raises(ValueError, match=r"vimco.md: given \[\], wanted <!-- claims"):
        page.render_programs(records_path=path, out_dir=tmp_path / "results")
