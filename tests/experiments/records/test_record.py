import dataclasses
import json
import threading

import numpy as np
import pytest

from experiments.records import jsonlines, record

FIELDS = dict(
    experiment="nuts",
    system="ppl_core",
    round=0,
    problem={"name": "covertype", "rows": 500},
    hardware={"device": "cpu"},
    settings={"step_size": 0.1},
    status="ok",
    seconds={"build": 1.5, "calls": [2.0, 3.0]},
    work={"leapfrogs": [7, 15]},
    check={"passed": True},
    provenance={"commit": None},
)


def test_a_record_reads_back_unchanged(tmp_path):
    one = record.Record(**FIELDS, note="as given")
    two = record.Record(**FIELDS | {"status": "failed", "reason": "no compiler"})
    for line in (one, two):
        record.append(tmp_path / "a" / "nuts.jsonl", line)
    assert record.read(tmp_path / "a" / "nuts.jsonl") == [one, two]


def test_numpy_values_and_nan_are_written_as_strict_json(tmp_path):
    odd = {"calls": np.array([1.0, np.nan]), "n": np.int64(3), "worst": float("inf")}
    path = tmp_path / "nuts.jsonl"
    record.append(path, record.Record(**FIELDS | {"seconds": odd}))
    json.loads(path.read_text(), parse_constant=pytest.fail)
    assert record.read(path)[0].seconds == {"calls": [1.0, None], "n": 3, "worst": None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 0}, "schema: given 0, wanted 1"),
        ({"status": "fine"}, "status: given 'fine'"),
        ({"status": "failed"}, "reason: given none"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_an_invalid_record_is_refused_with_file_and_line(tmp_path, change, message):
    path = tmp_path / "nuts.jsonl"
    record.append(path, record.Record(**FIELDS))
    jsonlines.append(path, FIELDS | {"schema": 1} | change)
    with pytest.raises(ValueError, match=message) as error:
        record.read(path)
    assert f"{path}:2" in str(error.value)


def test_a_missing_field_is_named(tmp_path):
    fields = {k: v for k, v in FIELDS.items() if k != "round"} | {"schema": 1}
    jsonlines.append(tmp_path / "nuts.jsonl", fields)
    with pytest.raises(ValueError, match="round"):
        record.read(tmp_path / "nuts.jsonl")


def test_a_record_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.Record(**FIELDS).status = "failed"


def test_a_truncated_line_is_dropped_by_the_next_append(tmp_path):
    path = tmp_path / "x.jsonl"
    jsonlines.append(path, {"n": 1})
    with open(path, "a") as file:
        file.write('{"n": 2')
    assert [value for _, value in jsonlines.read(path)] == [{"n": 1}]
    jsonlines.append(path, {"n": 3})
    assert [value for _, value in jsonlines.read(path)] == [{"n": 1}, {"n": 3}]


def test_an_invalid_line_in_the_middle_is_an_error_with_its_number(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"n": 1}\n{"n": \n{"n": 3}\n')
    with pytest.raises(ValueError, match="x.jsonl:2: not JSON"):
        list(jsonlines.read(path))


def test_a_value_that_is_not_json_leaves_the_file_unchanged(tmp_path):
    path = tmp_path / "x.jsonl"
    jsonlines.append(path, {"n": 1})
    with pytest.raises(TypeError):
        jsonlines.append(path, {"n": object()})
    assert path.read_text() == '{"n": 1}\n'


def test_writers_of_one_file_lock_it(tmp_path):
    path = tmp_path / "x.jsonl"

    def write(who):
        for n in range(20):
            jsonlines.append(path, {"who": who, "n": n, "pad": "x" * 5000})

    threads = [threading.Thread(target=write, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(jsonlines.read(path))) == 80


def test_a_failed_write_text_leaves_the_old_file(tmp_path):
    path = tmp_path / "run.json"
    jsonlines.write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        jsonlines.write_text(path, "\ud800")
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]
    assert path.read_text() == "old"
