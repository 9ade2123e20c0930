"""The exported sampler on a device: times, and how far they are from its memory."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from experiments.records.record import Record
from experiments.report import selection, tables

COPY = "copy"
LABELS = {
    "ours_dense": "ours, exported",
    "ours_structured": "ours, exported, structured design",
    "jax_leapfrog": "bare JAX leapfrogs",
    "numpyro": "NumPyro",
    "blackjax": "BlackJAX",
}
DEFINITIONS = (
    "All systems run in one process. Ours is the program that bin/export wrote, under "
    "JAX and without TensorFlow. All products are of full float32 precision: TF32 is "
    "off.",
    "ms per leapfrog: of all chains, which the program moves at once; a gradient of "
    "each. us per chain and leapfrog: over the leapfrogs that are used. In NumPyro and "
    "BlackJAX those of chains that wait for the longest trajectory do not count. Ours "
    "is timed in the loop's steady state, where no chain waits.",
    "The floor is the time in which the device reads the dense features twice at the "
    "bandwidth of a measured copy, which reads and writes. The structured design is "
    "smaller than the features, so it may be below. Copies and calls of less than some "
    "ms depend on caches.",
)


class Row(NamedTuple):
    """One system with so many chains on one device."""

    record: Record
    label: str
    chains: int
    ms: float | None  # per leapfrog of all chains
    us: float | None  # per chain and leapfrog
    over_floor: float | None  # the time over that of two reads of the features
    failure: str


class Page(NamedTuple):
    """The newest benchmark of one device."""

    device: str
    is_accelerator: bool
    gigabytes_per_second: float | None  # of a copy, read and written
    rows: tuple[Row, ...]


def read_pages(records: Sequence[Record]) -> list[Page]:
    """The newest benchmark of each device, accelerators first.

    Raises ValueError for no records, and for an unknown system.
    """
    groups: dict[str, list[Record]] = {}
    for one in selection.newest(records, lambda one: one.hardware["device_kind"]):
        if one.system not in (COPY, *LABELS):
            wanted = [COPY, *LABELS]
            raise ValueError(f"system: given {one.system!r}, wanted one of {wanted}")
        groups.setdefault(one.hardware["device_kind"], []).append(one)
    pages = [_page(device, of) for device, of in groups.items()]
    return sorted(pages, key=lambda page: (not page.is_accelerator, page.device))


def _page(device: str, records: Sequence[Record]) -> Page:
    rate = None
    for one in records:
        if one.system == COPY and one.status == "ok":
            rate = one.work["bytes"][0] / one.seconds["calls"][0]
    rows = tuple(_row(one, rate) for one in records if one.system != COPY)
    accelerator = records[0].hardware["device"] != "cpu"
    return Page(device, accelerator, rate and rate / 1e9, rows)


def _row(one: Record, rate: float | None) -> Row:
    failure = selection.failure([one])
    ms = us = over = None
    if not failure:
        seconds = sum(one.seconds["calls"])
        each = seconds / sum(one.work["steps"])
        ms, us = 1e3 * each, 1e6 * seconds / sum(one.work["leapfrogs"])
        floor = rate and 2 * 4 * one.problem["rows"] * one.problem["dim"] / rate
        over = each / floor if floor else None
    label, chains = LABELS[one.system], one.settings["num_chains"]
    return Row(one, label, chains, ms, us, over, failure)


def beside(pages: Sequence[Page], num_rows: int) -> list[Page]:
    """The accelerators that were measured on so many rows of data."""
    return [
        page
        for page in pages
        if page.is_accelerator
        and page.rows
        and all(row.record.problem["rows"] == num_rows for row in page.rows)
    ]


def section(page: Page) -> str:
    """What was measured on one device, as part of a page."""
    problem = page.rows[0].record.problem if page.rows else {"rows": 0, "dim": 0}
    head = f"## Measured on {page.device}"
    rate = page.gigabytes_per_second
    copied = (
        f"A copy moves {tables.number(rate)} GB/s."
        if rate
        else "No copy was measured, so there is no floor."
    )
    about = f"{problem['rows']:,} rows of {problem['dim']} columns. {copied}"
    return tables.markdown_page(head, about, _table(page.rows)).rstrip("\n")


def _table(rows: Iterable[Row]) -> str:
    return tables.markdown_table(
        {
            "system": f"**{row.label}**"
            if row.label == "ours, exported"
            else row.label,
            "chains": str(row.chains),
            "ms per leapfrog": tables.cell(row.failure) or _number(row.ms),
            "us per chain and leapfrog": _number(row.us),
            "time over the floor": None
            if row.over_floor is None
            else f"{tables.number(row.over_floor)}x",
        }
        for row in sorted(
            rows, key=lambda row: (row.chains, [*LABELS.values()].index(row.label))
        )
    )


def _number(value: float | None) -> str | None:
    return None if value is None else tables.number(value)


def markdown(pages: Sequence[Page]) -> str:
    """The whole page of all devices."""
    records = [row.record for page in pages for row in page.rows]
    settings = [f"Data: {records[0].problem['source']}"] if records else []
    settings += [
        f"{page.device}: {tables.machine([row.record for row in page.rows])}"
        for page in pages
        if page.rows
    ]
    return tables.markdown_page(
        "# The exported NUTS sampler on a device",
        "A CPU's times say what this program costs there; nothing about accelerators."
        if any(not page.is_accelerator for page in pages)
        else "",
        *(section(page) for page in pages),
        *tables.how_measured(settings, DEFINITIONS, tables.origin_lines(records)),
    )


def csv(pages: Sequence[Page]) -> str:
    """One line for each system, number of chains and device."""
    return tables.csv_text(
        {
            "device": page.device,
            "platform": row.record.hardware["device"],
            "copy_gb_per_second": page.gigabytes_per_second,
            "system": row.record.system,
            "chains": row.chains,
            "rows": row.record.problem["rows"],
            "status": row.record.status,
            "reason": row.failure or None,
            "ms_per_leapfrog": row.ms,
            "us_per_chain_and_leapfrog": row.us,
            "time_over_floor": row.over_floor,
            "build_seconds": row.record.seconds.get("build"),
        }
        for page in pages
        for row in page.rows
    )
