"""The autoencoders' page as text: their training steps beside those by hand."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from experiments.records.record import Record
from experiments.report.speedup import spread
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
    targets,
    trained_row,
    training_table,
    verdict_of,
)
from experiments.report.tables import cell_of_text, with_range

CORES, BY_HAND = "ours_cores", "handwritten_tf"
SYSTEMS = {
    OURS: "ours, one device",
    CORES: "ours, a logical device for each core",
    BY_HAND: "handwritten TensorFlow",
    "flax": "JAX and Flax",
}
PROBLEMS = {
    "crops64": "the VQ-VAE of configs/vq_vae/natural_crops64.gin, its prior learning",
    "crops64_before_prior": "the same before its prior learns",
    "imagenet64": "the VQ-VAE of configs/vq_vae/imagenet64.gin, its prior learning",
    "audio": "the audio VAE of configs/audio_vae/tones.gin",
}
EXAMPLES = {"images": "images", "audio": "clips"}
STEP_OVER_BY_HAND = 1.02  # at most, of the VQ-VAE
MFU = 0.45  # at least, of the VQ-VAE
CORES_OVER_ONE = 1.3  # at most, of audio
HOW = (
    "Each turn is a fresh process with as many threads as cores, in which a step is "
    "timed from examples in NumPy until its loss is known; the first call, which "
    "traces and compiles, is apart. A turn's time is the median of its steps; a cell "
    "is the median over the rounds with the lowest and the highest behind it, and a "
    "ratio is taken within each round.",
    "All systems begin with the same weights and codebook, see the same examples and "
    "take the same steps of Adam at a constant rate. Draws are the same too: ours "
    "makes them in its step, the others are handed them, made before the clock runs. "
    "Before a ratio is given a system's bits/dim before any update must be ours to "
    "1e-4, and its losses after updates to 1e-3 of them; the third of those losses is "
    "in the table.",
    "A loss of the VQ-VAE here is that of training, with the commitment and with "
    "means of drawn codes, and bounds nothing: its bits/dim are those of the "
    "comparison.",
    "Ours takes the gradients of the prior's attention and layer normalisation by "
    "formulas written by hand; the others leave gradients to their system. So a ratio "
    "with the prior learning is of that too; before it learns, of what the language "
    "and the runtime cost.",
    "MFU: the operations of the model's matrix products and convolutions, forward and "
    "backward, over a step's time and the highest peak of square float32 matrix "
    "products on all threads that a round measured.",
    "Cores of audio's virtual topology are logical devices, parts of one CPU: the "
    "work and the threads are the same, and what is compared is what cutting up "
    "costs. They say nothing of accelerators. The bytes passed are those of tensors "
    "that one device made and another read, each once, by the traced step.",
)


class Page(NamedTuple):
    """All that is rendered: the newest benchmark's records, as rows."""

    trained: tuple[Trained, ...]
    peaks: dict[int, float]  # flops a second, by round
    records: tuple[Record, ...]


def read_page(records: Sequence[Record]) -> Page:
    """The rows of the newest benchmark's records, in the order of its turns.

    Raises ValueError where there are none.
    """
    found = [r for r in records if r.settings["mode"] in EXAMPLES]
    if not found:
        raise ValueError(f"records: given {len(records)}, wanted a benchmark's turns")
    last = found[-1].provenance["bench_id"]
    kept = [r for r in records if r.provenance["bench_id"] == last]
    peaks: dict[int, float] = {}
    groups: dict[str, list[Record]] = {}
    for record in kept:
        if record.settings["mode"] in EXAMPLES:
            groups.setdefault(record.system, []).append(record)
        elif record.status == "ok":
            peaks[record.round] = record.work["matmul_flops_per_second"]
    highest = max(peaks.values(), default=None)
    rows = tuple(trained_row(held, highest) for held in groups.values())
    every = tuple(r for held in groups.values() for r in held)
    return Page(rows, peaks, every)


def _kind(row: Trained) -> str:
    return str(row.records[0].settings["mode"])


def judge(page: Page) -> list[Verdict]:
    """How each target came out."""
    verdicts = []
    steps = {(row.problem, row.system): row for row in page.trained}
    for ours in page.trained:
        if ours.system != OURS:
            continue
        problem = ours.problem
        by_hand, cores = (steps.get((problem, s)) for s in (BY_HAND, CORES))
        if _kind(ours) == "images":
            if by_hand:
                claim = f"step, {problem}: ours / handwritten TensorFlow"
                verdicts.append(at_most(claim, ours, by_hand, STEP_OVER_BY_HAND))
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
        elif cores:
            claim = f"step, {problem}: {_devices(cores)} logical devices / one"
            verdicts.append(at_most(claim, cores, ours, CORES_OVER_ONE))
    return verdicts


def _devices(row: Trained) -> str:
    made = next((r for r in row.records if "devices" in r.work), None)
    return str(made.work["devices"]) if made else "several"


# As Markdown.


def markdown(page: Page) -> str:
    """The whole page."""
    parts = ["# The autoencoders: training steps", _header(page)]
    for problem in dict.fromkeys(row.problem for row in page.trained):
        rows = [row for row in page.trained if row.problem == problem]
        examples = EXAMPLES[_kind(rows[0])]
        parts += [f"## {problem}: {PROBLEMS.get(problem, problem)}"]
        parts += [model_line(rows, examples), training_table(rows, SYSTEMS, examples)]
        parts += [_passed_line(row) for row in rows if row.system == CORES]
    parts += ["## Targets", targets(judge(page)), "## Notes"]
    parts += ["\n".join(f"- {line}" for line in _notes(page))]
    return "\n\n".join(part for part in parts if part) + "\n"


def _header(page: Page) -> str:
    record = page.records[0]
    rounds = {r.round for r in page.records}
    day = min(str(r.provenance.get("started_at", ""))[:10] for r in page.records)
    sources = {
        EXAMPLES[r.settings["mode"]]: r.problem["source"]
        for r in page.records
        if r.problem.get("source")
    }
    lines = [
        f"- Machine: {record.hardware.get('cpu')}, {record.hardware['cores']} cores, "
        f"{record.hardware.get('threads')} threads a system; {day}",
        f"- Rounds: {len(rounds)}, in which the systems take turns, each in a fresh "
        "process",
    ]
    lines += [f"- {what.capitalize()}: {source}" for what, source in sources.items()]
    if page.peaks:
        peak = spread(value / 1e9 for value in page.peaks.values())
        lines.append(f"- Measured peak of matrix products: {with_range(peak)} GFLOP/s")
    return "\n".join(lines)


def _passed_line(row: Trained) -> str:
    made = next((r for r in row.records if "passed_bytes" in r.work), None)
    if made is None:
        return ""
    work = made.work
    return (
        f"Between its {work['devices']} devices {work['passed_bytes']:,} bytes pass in "
        f"a step, forward, backward and update. A device keeps at most "
        f"{work['most_held_bytes'] / 1e6:,.2f} MB of the "
        f"{work['all_held_bytes'] / 1e6:,.2f} MB of weights and slots."
    )


def _notes(page: Page) -> Iterable[str]:
    yield from HOW
    notes = {
        f"{row.problem}, {SYSTEMS.get(row.system, row.system)}": r.note
        for row in page.trained
        for r in row.records
        if r.note and row.system != OURS
    }
    for name, note in notes.items():
        yield f"{name}: {cell_of_text(note)}."
    yield from disturbance(page.peaks)
    yield from origin_lines(page.records)


# As CSV.


def csv_text(page: Page) -> str:
    """One line a system and problem; empty fields where there is nothing."""
    return as_csv([_csv_row(row) for row in page.trained])


def _csv_row(row: Trained) -> dict[str, Any]:
    work = next((r.work for r in row.records if r.work), {})
    names = ("devices", "passed_bytes", "most_held_bytes", "all_held_bytes")
    return csv_row(row) | {name: work.get(name) for name in names}
