"""A file of records becomes rendered files, also through the command."""

import json
import subprocess
import sys

import pytest

from experiments.records import record as records
from experiments.report import __main__ as command
from experiments.report import page

RENDERED = [
    "plots/nuts_speedup.png",
    "tables/nuts_speedup.csv",
    "tables/nuts_speedup.md",
]


def write(path, bench):
    for line in bench:
        records.append(path, line)


def files(folder):
    return sorted(
        str(p.relative_to(folder))
        for p in folder.rglob("*")
        if p.is_file() and p.suffix != ".jsonl"
    )


def test_the_command_renders_every_file(bench, tmp_path, capsys):
    write(tmp_path / "records" / "nuts.jsonl", bench)
    assert command.main([f"--results={tmp_path}"]) == 0
    assert files(tmp_path) == RENDERED
    assert str(tmp_path) in capsys.readouterr().out


def test_rendering_twice_gives_the_same_bytes(bench, paper_path, tmp_path):
    path = tmp_path / "nuts.jsonl"
    write(path, bench)
    for name in ("a", "b"):
        page.render_nuts(
            records_path=path, paper_path=paper_path, out_dir=tmp_path / name
        )
    for name in RENDERED:
        first, second = (tmp_path / folder / name for folder in "ab")
        assert first.read_bytes() == second.read_bytes()


def test_an_older_benchmark_in_the_file_changes_nothing(
    record, bench, paper_path, tmp_path
):
    older = record("ppl_core", 7, ms=1000.0, provenance=dict(bench_id="b0"))
    write(tmp_path / "new.jsonl", bench)
    write(tmp_path / "both.jsonl", [older, *bench])
    for name in ("new", "both"):
        page.render_nuts(
            records_path=tmp_path / f"{name}.jsonl",
            paper_path=paper_path,
            out_dir=tmp_path / name,
        )
    table = "tables/nuts_speedup.md"
    assert (tmp_path / "new" / table).read_text() == (
        tmp_path / "both" / table
    ).read_text()


def device(system, kind, *, rows=581012, chains=1):
    is_gpu = kind != "Some CPU"
    return records.Record(
        experiment="device",
        system=system,
        round=1,
        problem=dict(name="covertype", source="UCI", rows=rows, dim=55),
        hardware=dict(device="gpu" if is_gpu else "cpu", device_kind=kind),
        settings=dict(num_chains=chains),
        status="ok",
        seconds=dict(build=3.0, calls=[0.00031]),
        work=dict(steps=[1], leapfrogs=[chains], bytes=[10**9]),
        check=dict(passed=True),
        provenance=dict(bench_id=kind, started_at="2026-01-02T00:00:00"),
    )


@pytest.mark.parametrize(
    ("kind", "rows", "shown"),
    [("NVIDIA V9", 581012, True), ("NVIDIA V9", 2000, False), ("Some CPU", 581012, 0)],
)
def test_an_accelerator_stands_beside_the_papers_and_a_cpu_does_not(
    bench, tmp_path, kind, rows, shown
):
    for name in ("without", "with"):
        write(tmp_path / name / "records" / "nuts.jsonl", bench)
    made = [device(name, kind, rows=rows) for name in ("copy", "ours_dense", "numpyro")]
    write(tmp_path / "with" / "records" / "device.jsonl", made)
    for name in ("without", "with"):
        assert command.main([f"--results={tmp_path / name}"]) == 0
    without, beside = (
        (tmp_path / name / "tables" / "nuts_speedup.md").read_text()
        for name in ("without", "with")
    )
    plots = [
        (tmp_path / name / "plots" / "nuts_speedup.png").read_bytes()
        for name in ("without", "with")
    ]
    if not shown:
        assert beside == without and plots[0] == plots[1]
        return
    before, _, after = beside.partition(f"## Measured on {kind}\n")
    section, _, rest = after.partition("## Published, not measured")
    assert without == f"{before}## Published, not measured{rest}"
    assert "| **ours, exported** | 1 | 0.310 | 310 |" in section
    assert plots[0] != plots[1]


def test_no_file_of_records_is_a_clear_error(tmp_path, capsys):
    assert command.main([f"--results={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert "nuts.jsonl" in error
    assert "wanted one that a benchmark wrote" in error
    assert files(tmp_path) == []


def test_records_of_another_schema_are_refused(bench, tmp_path, capsys):
    path = tmp_path / "records" / "nuts.jsonl"
    write(path, bench[:1])
    line = json.loads(path.read_text())
    path.write_text(json.dumps(line | {"schema": 999}) + "\n")
    assert command.main([f"--results={tmp_path}"]) == 2
    assert "schema: given 999" in capsys.readouterr().err
    assert files(tmp_path) == []


def test_an_empty_file_of_records_is_an_error(paper_path, tmp_path):
    path = tmp_path / "nuts.jsonl"
    path.touch()
    with pytest.raises(ValueError, match="given none"):
        page.render_nuts(records_path=path, paper_path=paper_path, out_dir=tmp_path)


def test_the_report_never_loads_tensorflow():
    code = "import sys, experiments.report.__main__; print('tensorflow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=command.RESULTS.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"
