"""The Image Transformer's page as text: its training step, and its sampler."""

import csv
import io
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from experiments.records.record import Record
from experiments.report.speedup import Spread, spread, trouble
from experiments.report.tables import (
    NONE,
    cell_of_text,
    field,
    number,
    table_of_numbers,
    three,
    with_range,
)

OURS, BY_HAND = "ours", "handwritten_tf"
PEERS = ("keras", "keras_xla", "flax")
FAMILIES = {"Keras 3": ("keras", "keras_xla"), "JAX and Flax": ("flax",)}
SYSTEMS = {
    OURS: "ours",
    BY_HAND: "handwritten TensorFlow",
    "keras": "Keras 3",
    "keras_xla": "Keras 3, jit_compile",
    "flax": "JAX and Flax",
}
PROBLEMS = {
    "crops32": "32x32, mixtures of logistics, the paper's layers",
    "categorical32": "32x32, categorical, two layers of the CIFAR-10 set",
    "crops64": "64x64, mixtures of logistics, the paper's layers",
    "paper256": "256x256, mixtures of logistics, the paper's layers",
}
CACHED, NAIVE = "cached", "naive"
STEP_OVER_BY_HAND, STEP_OVER_PEERS = 1.02, 1.0  # at most
MFU = 0.5  # at least
NAIVE_OVER_CACHED = 100.0  # at least, on this image:
SMALL, LARGE = "crops64", "paper256"
LARGE_OVER_SMALL = 1.1  # at most, of a position's time
DISTURBED = 0.8  # of the best round's peak; below it something else took its time
HOW = (
    "Training: each turn is a fresh process with as many threads as cores, in which a "
    "step is timed from images in NumPy until its loss is known; the first call, which "
    "traces and compiles, is apart. A turn's time is the median of its steps; a cell "
    "is the median over the rounds with the lowest and the highest behind it, and a "
    "ratio is taken within each round.",
    "All systems begin with the same weights, see the same images and take the same "
    "steps of Adam at a constant rate. Before a ratio is given a system's bits/dim "
    "before any update must be ours to 1e-4, and its losses after updates to 1e-3 of "
    "them; the third of those losses is in the table.",
    "Ours takes the gradients of attention and of layer normalisation by formulas "
    "written by hand, and marks what a query may not see by a coordinate of its keys; "
    "the others do plain operations and leave gradients to their system. So a ratio is "
    "of all that together, and not of what the language and the runtime cost.",
    "MFU: the operations of the model's matrix products, forward and backward, over a "
    "step's time and the highest peak of square float32 matrix products on all threads "
    "that a round measured, for what slowed another round's down is no peak. What is "
    "recomputed does not count; keys that a query may not see, in its own block, do.",
    "Why MFU is low with mixtures of logistics: heads of depth 8. A score is made of "
    "six products of 16 operations, forward and backward, 0.2 ns at a peak of 490 "
    "GFLOP/s, and beside that is written, masked, exponentiated, divided and read. "
    "Apart from these rounds (a 2-core AMD EPYC, 2026-11-25; 67 million scores, which "
    "are a layer of 16 images of crops32, forward and backward) it took 1.6 ns; two "
    "blocks at a time, which stay in cache, and their shares computed again for the "
    "gradient, 1.4, but 2.2 where memory is given back and faulted in between; as one "
    "program of XLA 3.0. Heads of depth 128, as in the CIFAR-10 set, do sixteen times "
    "the operations with as many scores.",
    "Sampling: a position is all of a batch's images at one place, its three channels "
    "with it. Of a large image only the first positions are drawn, as many as the "
    "table says after those of the first call of the compiled loop, which compiles; "
    "its cost at a position is the same wherever that is.",
    "The naive sampler computes every position's outputs for each position drawn. It "
    "is timed at a few positions from the first to the last, and multiplied out over "
    "the image: a whole image is not drawn with it.",
)


class Trained(NamedTuple):
    """One system's steps of one problem over the rounds."""

    problem: str
    system: str
    records: tuple[Record, ...]
    trouble: str  # why there are no numbers; "" where there are
    seconds: dict[int, float]  # of a step, by round
    mfu: dict[int, float]


class Sampled(NamedTuple):
    """One sampler on images of one size over the rounds."""

    problem: str
    sampler: str  # CACHED or NAIVE
    batch: int
    records: tuple[Record, ...]
    trouble: str
    seconds: dict[int, float]  # of a position, by round


class Page(NamedTuple):
    """All that is rendered: the newest benchmark's records, as rows."""

    trained: tuple[Trained, ...]
    sampled: tuple[Sampled, ...]
    peaks: dict[int, float]  # flops a second of the training's rounds
    sampling_peaks: dict[int, float]  # and of the sampling's, often the same
    records: tuple[Record, ...]


class Verdict(NamedTuple):
    """How a target came out."""

    claim: str
    wanted: str
    measured: Spread | None
    reached: bool  # by the median; False where it was not measured
    trouble: str  # why it was not measured, or in part alone; "" where it was


def read_page(records: Sequence[Record]) -> Page:
    """The rows of the newest benchmark's records, in the order of its turns.

    Training and sampling are each of the newest benchmark that has any, for no ratio is
    between them.  Raises ValueError where there are none.
    """
    kept: list[Record] = []
    for modes in (("train",), ("sample", "naive")):
        found = [r for r in records if r.settings["mode"] in modes]
        last = found[-1].provenance["bench_id"] if found else ""
        kept += [r for r in found if r.provenance["bench_id"] == last]
    if not kept:
        raise ValueError(f"records: given {len(records)}, wanted a benchmark's turns")
    benches = {r.provenance["bench_id"] for r in kept}
    probes = [
        r
        for r in records
        if r.settings["mode"] == "probe" and r.provenance["bench_id"] in benches
    ]
    peaks: dict[str, dict[int, float]] = {}
    for r in probes:
        if r.status == "ok":
            of_bench = peaks.setdefault(r.provenance["bench_id"], {})
            of_bench[r.round] = r.work["matmul_flops_per_second"]
    groups: dict[str, list[Record]] = {}
    for record in kept:
        groups.setdefault(record.system, []).append(record)
    trained, sampled = [], []
    for held in groups.values():
        if held[0].settings["mode"] == "train":
            measured = peaks.get(held[0].provenance["bench_id"], {})
            trained.append(_trained(held, max(measured.values(), default=None)))
        else:
            sampled.append(_sampled(held))

    def peaks_of(rows: Sequence[Trained | Sampled]) -> dict[int, float]:
        return peaks.get(_bench(rows[0].records[0]), {}) if rows else {}

    return Page(
        trained=tuple(trained),
        sampled=tuple(sampled),
        peaks=peaks_of(trained),
        sampling_peaks=peaks_of(sampled),
        records=tuple(kept),
    )


def _bench(record: Record) -> str:
    return str(record.provenance["bench_id"])


def disturbed(peaks: Mapping[int, float]) -> dict[int, float]:
    """Rounds whose peak was far below the best one's, and its share of that."""
    best = max(peaks.values(), default=0.0)
    return {i: peak / best for i, peak in peaks.items() if peak < DISTURBED * best}


def _trained(records: Sequence[Record], peak: float | None) -> Trained:
    problem, _, system = records[0].system.partition("/")
    why = trouble(records)
    seconds = (
        {} if why else {r.round: statistics.median(r.seconds["calls"]) for r in records}
    )
    mfu = {}
    if peak and seconds:
        mfu = {r.round: r.work["flops"] / seconds[r.round] / peak for r in records}
    return Trained(problem, system, tuple(records), why, seconds, mfu)


def _sampled(records: Sequence[Record]) -> Sampled:
    problem, _, rest = records[0].system.partition("/")
    sampler, _, batch = rest.partition("_")
    why = trouble(records)
    seconds = (
        {}
        if why
        else {
            r.round: sum(r.seconds["calls"]) / sum(r.work["positions"]) for r in records
        }
    )
    return Sampled(problem, sampler, int(batch), tuple(records), why, seconds)


def judge(page: Page) -> list[Verdict]:
    """How each target came out."""
    verdicts = []
    steps = {(row.problem, row.system): row for row in page.trained}
    for problem in dict.fromkeys(row.problem for row in page.trained):
        ours = steps[problem, OURS]
        if (problem, BY_HAND) in steps:
            verdicts.append(
                _at_most(
                    f"step, {problem}: ours / handwritten TensorFlow",
                    ours,
                    steps[problem, BY_HAND],
                    STEP_OVER_BY_HAND,
                )
            )
        peers = [steps[problem, p] for p in PEERS if (problem, p) in steps]
        verdicts.append(_against_peers(problem, ours, peers))
        mfu = spread(ours.mfu.values()) if ours.mfu else None
        verdicts.append(
            _verdict(
                f"MFU, {problem}, ours",
                f"at least {MFU:.0%}",
                mfu,
                mfu is not None and mfu.median >= MFU,
                ours.trouble or "no peak was measured",
            )
        )
    draws = {(row.problem, row.sampler, row.batch): row for row in page.sampled}
    for batch in sorted({row.batch for row in page.sampled}):
        small = draws.get((SMALL, CACHED, batch))
        naive, large = (
            draws.get((SMALL, NAIVE, batch)),
            draws.get((LARGE, CACHED, batch)),
        )
        if small and naive:
            ratio = _ratio(naive.seconds, small.seconds)
            verdicts.append(
                _verdict(
                    f"sampling {batch} of {SMALL}: naive, multiplied out / ours",
                    f"at least {NAIVE_OVER_CACHED:g}x",
                    ratio,
                    ratio is not None and ratio.median >= NAIVE_OVER_CACHED,
                    naive.trouble or small.trouble or "no common round",
                )
            )
        if small and large:
            verdicts.append(
                _at_most(
                    f"a position of {batch} images: {LARGE} / {SMALL}",
                    large,
                    small,
                    LARGE_OVER_SMALL,
                )
            )
    return verdicts


def _against_peers(problem: str, ours: Trained, peers: Sequence[Trained]) -> Verdict:
    """Against the fastest of Keras 3 and Flax, which wants all of them to have run."""
    able = [row for row in peers if row.seconds]
    there = {row.system for row in peers}
    missing = [SYSTEMS[row.system] for row in peers if not row.seconds]
    missing += [name for name, of in FAMILIES.items() if not there & set(of)]
    without = f"without {', '.join(missing)}" if missing else ""
    if not able:
        claim = f"step, {problem}: ours / the fastest of Keras 3 and Flax"
        wanted = f"at most {STEP_OVER_PEERS:g}x"
        return Verdict(claim, wanted, None, False, without)
    best = min(able, key=lambda row: statistics.median(row.seconds.values()))
    said = f"the fastest; {without}" if missing else "the fastest of Keras 3 and Flax"
    claim = f"step, {problem}: ours / {SYSTEMS[best.system]} ({said})"
    verdict = _at_most(claim, ours, best, STEP_OVER_PEERS)
    if not missing:
        return verdict
    return verdict._replace(reached=False, trouble=verdict.trouble or without)


def _at_most(
    claim: str, over: Trained | Sampled, under: Trained | Sampled, bound: float
) -> Verdict:
    ratio = _ratio(over.seconds, under.seconds)
    return _verdict(
        claim,
        f"at most {bound:g}x",
        ratio,
        ratio is not None and ratio.median <= bound,
        over.trouble or under.trouble or "no common round",
    )


def _verdict(
    claim: str, wanted: str, measured: Spread | None, reached: bool, trouble: str
) -> Verdict:
    """trouble: what there is to say where nothing was measured."""
    return Verdict(
        claim, wanted, measured, reached, trouble if measured is None else ""
    )


def _ratio(over: Mapping[int, float], under: Mapping[int, float]) -> Spread | None:
    common = over.keys() & under.keys()
    return spread(over[i] / under[i] for i in common) if common else None


# As Markdown.


def markdown(page: Page) -> str:
    """The whole page."""
    parts = ["# The Image Transformer: training step and sampler", _header(page)]
    for problem in dict.fromkeys(row.problem for row in page.trained):
        rows = [row for row in page.trained if row.problem == problem]
        parts += [f"## Training, {problem}: {PROBLEMS.get(problem, problem)}"]
        parts += [_model_line(rows), _training_table(rows)]
    if page.sampled:
        parts += ["## Sampling", _sampling_table(page)]
    parts += ["## Targets", _targets(page), "## Notes"]
    parts += ["\n".join(f"- {line}" for line in _notes(page))]
    return "\n\n".join(parts) + "\n"


def _header(page: Page) -> str:
    record = page.records[0]
    rounds = {r.round for r in page.records}
    day = min(str(r.provenance.get("started_at", ""))[:10] for r in page.records)
    source = next(
        (r.problem["source"] for r in page.records if r.problem.get("source")), ""
    )
    lines = [
        f"- Machine: {record.hardware.get('cpu')}, {record.hardware['cores']} cores, "
        f"{record.hardware.get('threads')} threads a system; {day}",
        f"- Rounds: {len(rounds)}, in which the systems take turns, each in a fresh "
        "process",
    ]
    if source:
        lines.append(f"- Images: {source}")
    if page.peaks:
        peak = spread(value / 1e9 for value in page.peaks.values())
        lines.append(f"- Measured peak of matrix products: {with_range(peak)} GFLOP/s")
    return "\n".join(lines)


def _model_line(rows: Sequence[Trained]) -> str:
    record = next((r for row in rows for r in row.records if r.status == "ok"), None)
    if record is None:
        return "No system ran."
    return (
        f"{record.problem['model']}, {record.work['parameters']:,} parameters, "
        f"{record.problem['batch']} images a step, "
        f"{record.work['flops'] / 1e9:,.1f} GFLOP."
    )


def _training_table(rows: Sequence[Trained]) -> str:
    ours = next(row for row in rows if row.system == OURS)
    head = (
        "system",
        "ms a step, median (range)",
        "images/s",
        "MFU",
        "ours over it (range)",
        "build s",
        "first step s",
        "bits/dim before any update",
        "and at the third step",
    )
    lines = []
    for row in rows:
        name = SYSTEMS.get(row.system, row.system)
        name = f"**{name}**" if row is ours else name
        if row.trouble:
            lines.append((name, cell_of_text(row.trouble), *(NONE,) * 7))
            continue
        batch = row.records[0].problem["batch"]
        ratio = None if row is ours else _ratio(ours.seconds, row.seconds)
        bits = row.records[0].check["bits_per_dim"]
        lines.append(
            (
                name,
                with_range(_scaled(row.seconds, 1000)),
                with_range(spread(batch / s for s in row.seconds.values())),
                _percent(spread(row.mfu.values()) if row.mfu else None),
                _times(ratio),
                with_range(spread(r.seconds["build"] for r in row.records)),
                with_range(spread(r.seconds["first"] for r in row.records)),
                f"{bits[0]:.5f}",
                f"{bits[-1]:.5f}",
            )
        )
    return table_of_numbers(head, lines)


def _sampling_table(page: Page) -> str:
    head = (
        "image",
        "sampler",
        "images at once",
        "ms a position, median (range)",
        "positions timed a round",
        "positions of an image",
        "a whole image, s (multiplied out)",
        "first call s",
    )
    lines = []
    for row in page.sampled:
        name = PROBLEMS.get(row.problem, row.problem)
        sampler = "ours, cached" if row.sampler == CACHED else "naive"
        if row.trouble:
            said = cell_of_text(row.trouble)
            lines.append((name, sampler, str(row.batch), said, *(NONE,) * 4))
            continue
        work = [r.work for r in row.records]
        timed = spread(sum(w["positions"]) for w in work)
        whole = work[0]["positions_of_image"]
        lines.append(
            (
                name,
                sampler,
                str(row.batch),
                with_range(_scaled(row.seconds, 1000)),
                with_range(timed),
                f"{whole:,}",
                number(whole * statistics.median(row.seconds.values())),
                with_range(spread(r.seconds["first"] for r in row.records)),
            )
        )
    return table_of_numbers(head, lines)


def _targets(page: Page) -> str:
    lines = []
    for verdict in judge(page):
        percent = verdict.wanted.endswith("%")
        shown = (_percent if percent else _times)(verdict.measured)
        said = "reached" if verdict.reached else "**not reached**"
        if verdict.trouble:
            said = f"not measured ({cell_of_text(verdict.trouble)})"
        lines.append((verdict.claim, verdict.wanted, shown, said))
    head = ("what", "wanted", "measured, median (range)", "by the median")
    return table_of_numbers(head, lines)


def _notes(page: Page) -> Iterable[str]:
    yield from HOW
    notes = {
        SYSTEMS.get(row.system, row.system): r.note
        for row in page.trained
        for r in row.records
        if r.note
    }
    for name, note in notes.items():
        yield f"{name}: {cell_of_text(note)}."
    yield from _disturbances(page)
    loads = [r.provenance.get("load_average") for r in page.records]
    known = [float(load) for load in loads if load is not None]
    if known:
        yield f"Load average, of all turns: {with_range(spread(known))}."
    origin = page.records[0].provenance
    if origin.get("commit"):
        changed = ", with uncommitted changes" if origin.get("dirty") else ""
        yield f"Commit: {origin['commit']}{changed}."
    shown = ("python", "tensorflow", "keras", "jax", "flax", "optax", "numpy")
    versions = origin.get("versions") or {}
    if versions:
        told = ", ".join(f"{k} {versions[k]}" for k in shown if k in versions)
        yield f"Versions: {told}."


def _disturbances(page: Page) -> Iterable[str]:
    of_both = {"training": page.peaks, "sampling": page.sampling_peaks}
    if page.trained and page.sampled and page.peaks == page.sampling_peaks:
        of_both = {"": page.peaks}
    for what, peaks in of_both.items():
        for i, share in disturbed(peaks).items():
            of = f" of {what}" if what else ""
            yield (
                f"Disturbed: round {i}{of}, whose peak of matrix products, "
                f"{number(peaks[i] / 1e9)} GFLOP/s, was {share:.0%} of the best "
                f"round's (below {DISTURBED:.0%}). It is counted with the others, "
                "and widens the ranges."
            )


def _scaled(values: Mapping[int, float], factor: float) -> Spread:
    return spread(factor * value for value in values.values())


def _percent(values: Spread | None) -> str:
    if values is None:
        return NONE
    low, median, high = (f"{100 * value:.1f}" for value in values)
    return f"{median} % ({low}-{high})" if low != high else f"{median} %"


def _times(values: Spread | None) -> str:
    if values is None:
        return NONE
    low, median, high = (
        f"{value:.3f}" if value < 10 else number(value) for value in values
    )
    return f"{median}x ({low}-{high})" if low != high else f"{median}x"


# As CSV.


def csv_text(page: Page) -> str:
    """One line a system and problem; empty fields where there is nothing."""
    lines = [*map(_csv_trained, page.trained), *map(_csv_sampled, page.sampled)]
    names = list(dict.fromkeys(name for line in lines for name in line))
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({n: field(line.get(n)) for n in names} for line in lines)
    return text.getvalue()


def _csv_trained(row: Trained) -> dict[str, Any]:
    record = row.records[0]
    bits: list[float | None] = record.check.get("bits_per_dim") or [None]
    return {
        "what": "training",
        "problem": row.problem,
        "system": row.system,
        "status": record.status if row.trouble else "ok",
        "reason": " ".join(row.trouble.split()),
        "batch": record.problem["batch"],
        "rounds": len(row.seconds),
        **three("seconds", spread(row.seconds.values()) if row.seconds else None),
        **three("mfu", spread(row.mfu.values()) if row.mfu else None),
        "flops": record.work.get("flops"),
        "bits_per_dim_first": bits[0],
        "bits_per_dim_last": bits[-1],
    }


def _csv_sampled(row: Sampled) -> dict[str, Any]:
    record = row.records[0]
    return {
        "what": "sampling, seconds of a position",
        "problem": row.problem,
        "system": row.sampler,
        "status": record.status if row.trouble else "ok",
        "reason": " ".join(row.trouble.split()),
        "batch": row.batch,
        "rounds": len(row.seconds),
        **three("seconds", spread(row.seconds.values()) if row.seconds else None),
        "positions_timed": sum(record.work.get("positions", [])),
        "positions_of_image": record.work.get("positions_of_image"),
    }
