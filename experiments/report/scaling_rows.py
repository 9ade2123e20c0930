"""The rows of the scaling tables: rates, efficiency and communication by round."""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.records.record import Record
from experiments.report import selection
from experiments.report.ratios import Spread, ratio, spread

KINDS = ("measured", "counted", "projected")
SCALINGS = ("weak", "strong")
WITHIN = 0.15  # target: a projection's largest error at a published point
CASES = {
    "one_device": "one device",
    "one_process": "one process, a logical device per core",
    "processes": "several processes, one per core",
    "independent": "independent processes (the ceiling)",
}
VARIANTS = {"links": "published links", "hosts": "10 Gbit/s between hosts (assumed)"}


class Measured(NamedTuple):
    """One case of one model over the rounds."""

    subject: str
    scaling: str
    case: str
    devices: int
    record: Record  # the first, for what all rounds have in common
    rounds: int  # without a failure
    rate: Spread | None  # examples a second
    efficiency: Spread | None
    communication: Spread | None  # share of a step
    failure: str

    @property
    def label(self) -> str:
        """The model."""
        return model_label(self.record)


def model_label(record: Record) -> str:
    """The model's name; older records call the toy model a stand-in."""
    label = record.problem.get("label") or record.problem["name"]
    return str(label).replace("stand-in for the Image Transformer", "toy model")


class Projected(NamedTuple):
    """One curve: a model on a hardware, or a published model in one variant."""

    subject: str
    label: str
    on: str
    variant: str  # one of VARIANTS for a published model, else ""
    record: Record
    failure: str

    @property
    def devices(self) -> list[int]:
        """The numbers of devices, or of chips for a published model."""
        return list(self.record.work.get("devices") or self.record.work["chips"])

    def column(self, name: str) -> dict[int, Any]:
        """The record's work of that name, by number of devices."""
        return dict(zip(self.devices, self.record.work[name], strict=True))

    def efficiency(self) -> dict[int, float]:
        """The rate at each number of devices over that of as many times one."""
        return efficiency(self.column("examples_per_second"))


class Page(NamedTuple):
    """All that the records of the newest benchmark of each kind say."""

    measured: tuple[Measured, ...]
    counted: tuple[Record, ...]
    projected: tuple[Projected, ...]
    paper_projected: tuple[Projected, ...]
    paper: Mapping[str, Any]
    records: tuple[Record, ...]

    def published(self, curve: Projected) -> Mapping[str, Any]:
        """The paper's model that a curve is of; raises KeyError for an unknown one."""
        models = {model["id"]: model for model in self.paper["models"]}
        return dict(models[curve.subject])


def read_page(records: Sequence[Record], paper_path: Path) -> Page:
    """The rows of every table.

    Raises ValueError for no records, and for one whose kind is unknown.
    """
    for record in records:
        if record.settings.get("kind") not in KINDS:
            raise ValueError(
                f"{record.system}: kind: given {record.settings.get('kind')!r}, "
                f"wanted one of {KINDS}"
            )
    newest = selection.newest(records, lambda record: record.settings["kind"])
    kinds = {kind: [r for r in newest if r.settings["kind"] == kind] for kind in KINDS}
    projected = [_projected(record) for record in kinds["projected"]]
    return Page(
        measured=tuple(_measured(kinds["measured"])),
        counted=tuple(kinds["counted"]),
        projected=tuple(p for p in projected if not p.variant),
        paper_projected=tuple(p for p in projected if p.variant),
        paper=json.loads(paper_path.read_text(encoding="utf-8")),
        records=tuple(record for kind in KINDS for record in kinds[kind]),
    )


def points(model: Mapping[str, Any]) -> dict[int, float]:
    """The published rate by number of chips."""
    return dict(zip(model["chips"], model["examples_per_second"], strict=True))


def efficiency(rates: Mapping[int, float]) -> dict[int, float]:
    """Each rate over that of as many times one device.  rates: by devices."""
    one = next(iter(rates.values()))
    return {devices: rate / (devices * one) for devices, rate in rates.items()}


def slope(points: Mapping[int, float]) -> float:
    """The slope of a least-squares line with intercept, as in the paper's titles."""
    return statistics.linear_regression(list(points), list(points.values())).slope


def _measured(records: Sequence[Record]) -> Iterable[Measured]:
    runs: dict[tuple[str, str, int, str], list[Record]] = {}
    for record in records:
        settings = record.settings
        for scaling in settings.get("scaling", ()):
            key = (settings["subject"], scaling, settings["devices"], settings["case"])
            runs.setdefault(key, []).append(record)
    order = sorted(
        runs, key=lambda k: (k[0], SCALINGS.index(k[1]), k[2], list(CASES).index(k[3]))
    )
    for key in order:
        subject, scaling, devices, case = key
        failure, rounds = selection.failure(runs[key]), _rates(runs[key])
        rates = {} if failure else rounds
        one = _rates(runs.get((subject, scaling, 1, "one_device"), ()))
        linear = {i: devices * rate for i, rate in one.items()} if devices > 1 else {}
        ceiling = _rates(runs.get((subject, scaling, devices, "independent"), ()))
        common = rates.keys() & ceiling.keys() if case != "independent" else ()
        yield Measured(
            subject,
            scaling,
            case,
            devices,
            record=runs[key][0],
            rounds=len(rounds),
            rate=spread(rates.values()),
            efficiency=ratio(rates, linear),
            communication=spread(1 - rates[i] / ceiling[i] for i in common),
            failure=failure,
        )


def _rates(records: Iterable[Record]) -> dict[int, float]:
    """Examples a second by round: the median over the steps, robust to one outlier."""
    return {
        record.round: statistics.median(
            examples / seconds
            for examples, seconds in zip(
                record.work["examples"], record.seconds["calls"], strict=True
            )
        )
        for record in records
        if not selection.failure([record])
    }


def _projected(record: Record) -> Projected:
    settings = record.settings
    return Projected(
        subject=settings.get("subject") or settings["model"],
        label=model_label(record),
        on=settings["on"],
        variant=settings.get("variant", ""),
        record=record,
        failure=selection.failure([record]),
    )
