"""A benchmark record: one system on one problem in one round, a line of a file."""

import dataclasses
import secrets
from pathlib import Path
from typing import Any

from experiments.records import jsonlines
from experiments.records.run_dir import utc_now

SCHEMA = 1
STATUSES = ("ok", "failed", "skipped")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """One system on one problem in one process: a line of results/records/**/*.jsonl.

    Raises ValueError for an unknown status, a missing reason or another schema.
    """

    experiment: str  # "nuts"
    system: str  # "ppl_core" | "handwritten_tf" | "stan" | "pymc"
    round: int  # each system runs once per round
    problem: dict[str, Any]  # {"name": "covertype", "source": ..., "rows": 581012, ...}
    hardware: dict[str, Any]  # {"cpu": "AMD EPYC", "cores": 2, "device": "cpu", ...}
    settings: dict[str, Any]  # {"step_size": 0.00167, "max_depth": 10, "seed": 0, ...}
    status: str  # "ok" | "failed" | "skipped"; a failure is recorded too
    reason: str = ""  # required unless status is "ok"
    note: str = ""  # shown under the table
    seconds: dict[str, Any]  # {"build": 31.2, "first": 4.0, "calls": [2.41, 2.39]}
    work: dict[str, Any]  # {"leapfrogs": [310, 310]}: divides a call's seconds
    check: dict[str, Any]  # {"against": "results/reference/...", "passed": true, ...}
    provenance: dict[str, Any]  # commit, dirty, config_sha256, versions, argv, ...
    schema: int = SCHEMA  # readers refuse any other

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ValueError(f"schema: given {self.schema!r}, wanted {SCHEMA}")
        if self.status not in STATUSES:
            raise ValueError(f"status: given {self.status!r}, wanted one of {STATUSES}")
        if self.status != "ok" and not self.reason:
            raise ValueError(f"reason: given none, wanted one for {self.status!r}")


def new_bench_id() -> str:
    """An id that all records of one benchmark have."""
    return f"{utc_now()}-{secrets.token_hex(3)}"


def append(path: Path, record: Record) -> None:
    """Adds one line to `path` and makes its folder; NaN is written as null."""
    fields = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
    jsonlines.append(path, fields)


def read(path: Path) -> list[Record]:
    """The records of a file, in order; a truncated last line is dropped.

    Raises ValueError, with file and line, for a line that is no record of this schema.
    """
    records = []
    for number, fields in jsonlines.read(path):
        where = f"{path}:{number}"
        if not isinstance(fields, dict):
            raise ValueError(f"{where}: given {fields!r}, wanted an object")
        if (schema := fields.get("schema")) != SCHEMA:
            raise ValueError(f"{where}: schema: given {schema!r}, wanted {SCHEMA}")
        try:
            records.append(Record(**fields))
        except (TypeError, ValueError) as error:  # a field missing, unknown or bad
            raise ValueError(f"{where}: {error}") from error
    return records
