"""The benchmark of readers on few files: the systems read the same, and the page."""

import pytest

from experiments.bench import reader_worker, readers
from experiments.records import record
from experiments.report import page

SHARED = {
    "hardware": {"cpu": "a processor", "cores": 2},
    "provenance": {"bench_id": "one", "started_at": "2026-11-29T00:00:00Z"},
}
NUM = 2 * reader_worker.BATCH


@pytest.mark.parametrize("kind", ["jpeg", "flac"])
def test_all_systems_read_the_same_each_file_once(tmp_path, kind):
    readers.make_files(tmp_path / kind, kind, num=NUM)
    readers.make_files(tmp_path / "held-out", kind, num=1)
    task = {
        "kind": kind,
        "folder": str(tmp_path / kind),
        "held_out": str(tmp_path / "held-out"),
        "size": 224 if kind == "jpeg" else 64000,
        "rate": readers.RATE,
        "threads": 1,
        "warm_passes": 2,
    }
    found = {}
    for system in ("ours", "plain"):
        for processes in (1, 2):
            parts = [
                reader_worker.read(
                    task | {"system": system, "process": index, "processes": processes}
                )
                for index in range(processes)
            ]
            assert sum(part["examples"] for part in parts) == NUM
            assert all(len(part["seconds"]["warm"]) == 2 for part in parts)
            found[system, processes] = sum(p["mean"] for p in parts) / processes
    wanted = found["plain", 1]
    assert list(found.values()) == pytest.approx([wanted] * 4, rel=1e-9)


def result(kind, system, number, seconds, **more):
    given = {
        "experiment": "readers",
        "system": system,
        "round": number,
        "problem": {"name": kind, "files": 100},
        "settings": {"processes": 1, "batch": 16},
        "status": "ok",
        "seconds": seconds,
        "work": {"examples": 100},
        "check": {"passed": True},
    }
    return record.Record(**(given | SHARED | more))


def test_the_page_takes_ratios_to_the_faster_other_within_a_round(tmp_path):
    made = []
    for number, drift in enumerate((1.0, 2.0, 4.0)):
        for system, cold, warm in (
            ("ours", 2.0, 1.0),
            ("tf_data", 3.0, 0.8),
            ("plain", 2.5, 2.0),
        ):
            seconds = {"cold": drift * cold, "warm": drift * warm}
            made.append(result("jpeg", system, number, seconds))
    for data in (0.01, 0.03, 0.05):
        seconds = {"step": 1.0, "data": data}
        made.append(result("training some/config", "ours", len(made), seconds))
    path = tmp_path / "records" / "readers.jsonl"
    for one in made:
        record.append(path, one)
    page.render_readers(records_path=path, out_dir=tmp_path)
    text = (tmp_path / "tables" / "readers.md").read_text()
    assert (
        "| jpeg, 1 process, cold: ours / the faster other | at least 1x | 1.250x"
        in text
    )
    assert (
        "warm: ours / the faster other | at least 1x | 0.800x | **not reached**" in text
    )
    assert "| at most 2 % | 3.0 % (1.0-5.0) | **not reached** |" in text
    assert "| jpeg, 1 process | ours | 25.0 (12.5-50.0) | 50.0 (25.0-100) |" in text


def test_a_system_that_reads_something_else_has_no_rate(tmp_path):
    path = tmp_path / "records" / "readers.jsonl"
    seconds = {"cold": 1.0, "warm": 1.0}
    for system in ("ours", "plain"):
        check = {"passed": system == "plain", "mean": 1.0}
        record.append(path, result("png", system, 0, seconds, check=check))
    page.render_readers(records_path=path, out_dir=tmp_path)
    text = (tmp_path / "tables" / "readers.md").read_text()
    assert "0 of 2" in text and "Not measured: 2" in text
