"""The Image Transformer's page as text: its training step, and its sampler."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from experiments.records.record import Record
from experiments.report.speedup import spread, trouble
from experiments.report.steps import (
    OURS,
    Trained,
    Verdict,
    as_csv,
    at_most,
    csv_row,
    disturbance,
    model_line,
    origin_lines,
    ratio_of,
    scaled,
    targets,
    trained_row,
    training_table,
    verdict_of,
)
from experiments.report.tables import (
    NONE,
    cell_of_text,
    number,
    table_of_numbers,
    three,
    with_range,
)

BY_HAND, WITH_KERNELS = "handwritten_tf", "handwritten_tf_kernels"
PEERS = ("keras", "keras_xla", "flax")
FAMILIES = {"Keras 3": ("keras", "keras_xla"), "JAX and Flax": ("flax",)}
SYSTEMS = {
    OURS: "ours",
    BY_HAND: "handwritten TensorFlow",
    WITH_KERNELS: "handwritten TensorFlow, ours' attention and normalisation",
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
    "of all that together. What the language and the runtime cost is the ratio over "
    "TensorFlow by hand with ours' attention and normalisation.",
    "MFU: the operations of the model's matrix products, forward and backward, over a "
    "step's time and the highest peak of square float32 matrix products on all threads "
    "that a round measured, for what slowed another round's down is no peak. What is "
    "recomputed does not count; keys that a query may not see, in its own block, do.",
    "Why MFU is low with mixtures of logistics: heads of depth 8. A score is made of "
    "six products of 16 operations, forward and backward, and beside that is written, "
    "masked, exponentiated, divided and read. Apart from this benchmark, on a 2-core "
    "AMD EPYC whose peak was 490 GFLOP/s (2026-11-25; 67 million scores, which are a "
    "layer of 16 images of crops32, forward and backward), the products alone would "
    "have been 0.2 ns a score, and it took 1.6; two "
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
    "the image: a whole image is not drawn with it. The cached loop is compiled by "
    "XLA, the naive position by TensorFlow alone.",
)


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
            trained.append(trained_row(held, max(measured.values(), default=None)))
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
        for by_hand in (BY_HAND, WITH_KERNELS):
            if (problem, by_hand) in steps:
                verdicts.append(
                    at_most(
                        f"step, {problem}: ours / {SYSTEMS[by_hand]}",
                        ours,
                        steps[problem, by_hand],
                        STEP_OVER_BY_HAND,
                    )
                )
        peers = [steps[problem, p] for p in PEERS if (problem, p) in steps]
        verdicts.append(_against_peers(problem, ours, peers))
        mfu = spread(ours.mfu.values()) if ours.mfu else None
        verdicts.append(
            verdict_of(
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
            ratio = ratio_of(naive.seconds, small.seconds)
            verdicts.append(
                verdict_of(
                    f"sampling {batch} of {SMALL}: naive, multiplied out / ours",
                    f"at least {NAIVE_OVER_CACHED:g}x",
                    ratio,
                    ratio is not None and ratio.median >= NAIVE_OVER_CACHED,
                    naive.trouble or small.trouble or "no common round",
                )
            )
        if small and large:
            verdicts.append(
                at_most(
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
    verdict = at_most(claim, ours, best, STEP_OVER_PEERS)
    if not missing:
        return verdict
    return verdict._replace(reached=False, trouble=verdict.trouble or without)


# As Markdown.


def markdown(page: Page) -> str:
    """The whole page."""
    parts = ["# The Image Transformer: training step and sampler", _header(page)]
    for problem in dict.fromkeys(row.problem for row in page.trained):
        rows = [row for row in page.trained if row.problem == problem]
        parts += [f"## Training, {problem}: {PROBLEMS.get(problem, problem)}"]
        parts += [model_line(rows, "images"), training_table(rows, SYSTEMS, "images")]
    if page.sampled:
        parts += ["## Sampling", _sampling_table(page)]
    parts += ["## Targets", targets(judge(page)), "## Notes"]
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
                with_range(scaled(row.seconds, 1000)),
                with_range(timed),
                f"{whole:,}",
                number(whole * statistics.median(row.seconds.values())),
                with_range(spread(r.seconds["first"] for r in row.records)),
            )
        )
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
    yield from origin_lines(page.records)
    benches = dict.fromkeys(map(_bench, page.records))
    if len(benches) > 1:  # the newest training, and another newest sampling
        drawn = [row.records for row in page.sampled]
        yield "Sampling is of another benchmark than training:"
        yield from origin_lines([r for held in drawn for r in held])


def _disturbances(page: Page) -> Iterable[str]:
    of_both = {"training": page.peaks, "sampling": page.sampling_peaks}
    if page.trained and page.sampled and page.peaks == page.sampling_peaks:
        of_both = {"": page.peaks}
    for what, peaks in of_both.items():
        yield from disturbance(peaks, f" of {what}" if what else "")


# As CSV.


def csv_text(page: Page) -> str:
    """One line a system and problem; empty fields where there is nothing."""
    return as_csv([*map(csv_row, page.trained), *map(_csv_sampled, page.sampled)])


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
