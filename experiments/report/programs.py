"""The page of the paper's programs: every claim with its number.

A program's own page in docs/programs and the list of these pages have a block that is
filled from the records, too.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experiments.records.record import Record
from experiments.report import selection, tables

PROGRAMS = {  # where it is in the paper, and what it shows; in the order of the page
    "beta_bernoulli": ("Figure 1", "a program runs eagerly and compiled; inference"),
    "implicit_variational": ("Figure 2", "Python control flow on random values"),
    "execution_graph": ("Figure 6", "a trace as a graph, and queries of it"),
    "causal_intervention": ("Figure 8", "intervening is not conditioning"),
    "align_vi": ("Figures 11 and 12", "variational inference by alignment"),
    "learning_to_learn": ("Figure 13", "a gradient through the whole inference"),
    "grammar_vae": ("Appendix B", "a loop with a stack that random values steer"),
    "mcmc_in_vi": ("Appendix C", "NUTS within variational inference"),
    "vimco": ("section 3.3", "a bound of many samples for discrete variables"),
    "bayesian_neural_net": ("section 3", "a neural network by NUTS and by VI"),
    "adversarial": ("section 3.3", "a discriminator aligned with a program"),
    "scipy_regression": ("Appendix A", "the same language over scipy.stats"),
    "minibatch": ("section 3", "stochastic gradients from minibatches"),
}
FAILED, NOT_RUN, NO = "FAILED", "not run", "**no**"
PAGES = "../../docs/programs"  # from the folder of tables


def newest(records: Sequence[Record]) -> dict[str, Record]:
    """The last record of each program, in the order of PROGRAMS and then of records.

    Raises ValueError where there are none.
    """
    last = {one.system: one for one in selection.newest(records, lambda r: r.system)}
    names = [name for name in PROGRAMS if name in last]
    return {name: last[name] for name in (*names, *(n for n in last if n not in names))}


def markdown(records: Sequence[Record]) -> str:
    """The whole page."""
    runs = newest(records)
    seconds = sum(_seconds(one) or 0.0 for one in runs.values())
    return tables.markdown_page(
        "# The programs of the paper",
        _finding(runs.values()),
        tables.markdown_table(
            (line for name, one in runs.items() for line in _lines(name, one)), left=2
        ),
        "A number is followed by its standard error where it is an estimate. Seconds "
        "are those of the whole process, from its start.",
        f"{tables.machine(list(runs.values()))}. All programs took "
        f"{seconds / 60:.1f} minutes, one after the other.",
        "\n".join(_origin(list(runs.values()))),
    )


def csv(records: Sequence[Record]) -> str:
    """One line for each claim, and for each program without any."""
    return tables.csv_text(
        {
            "program": name,
            "status": one.status,
            "claim": claim.get("text"),
            "value": claim.get("value"),
            "error": claim.get("error"),
            "wanted": claim.get("wanted"),
            "holds": claim.get("holds"),
            "seconds": _seconds(one),
            "seed": one.settings.get("seed"),
        }
        for name, one in newest(records).items()
        for claim in (_claims(one) or [{}])
    )


def fill(text: str, mark: str, content: str) -> str:
    """A page with other content between `<!-- MARK -->` and `<!-- /MARK -->`.

    Raises ValueError for a page that does not have the two once, in this order.
    """
    begin, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    parts = re.split(f"({re.escape(begin)}|{re.escape(end)})", text)
    if parts[1::2] != [begin, end]:
        raise ValueError(f"given {parts[1::2]}, wanted {begin} and then {end}, once")
    return f"{parts[0]}{begin}\n{content}\n{end}{parts[4]}"


def block(one: Record) -> str:
    """The claims of one program, for its own page."""
    if not _claims(one):
        return f"{_status(one)}."
    table = tables.markdown_table(
        {
            "claim": tables.cell(claim["text"]),
            "number": number(claim),
            "wanted": tables.cell(claim["wanted"]),
            "holds": _holds(claim),
        }
        for claim in _claims(one)
    )
    return (
        f"{table}\n\n{_seconds(one):.0f} s in all; seed {one.settings['seed']}; "
        f"{tables.machine([one])}."
    )


def index(records: Sequence[Record]) -> str:
    """The list of all programs that were run, for the page of these pages."""
    lines = (
        {
            "program": f"[{name}]({name}.md)",
            "in the paper": where,
            "what it shows": what,
            "claims that hold": _count([one]),
        }
        for name, one in newest(records).items()
        for where, what in [PROGRAMS.get(name, ("", ""))]
    )
    return tables.markdown_table(lines, left=3)


def number(claim: Mapping[str, Any]) -> str:
    """The number of a claim, with its standard error where it has one."""
    value, error = claim["value"], claim.get("error")
    if value is None:  # as the records have it
        return "NaN"
    return f"{value:.4g}" if error is None else f"{value:.4g} ± {error:.2g}"


def _lines(name: str, one: Record) -> Iterable[dict[str, str | None]]:
    """The rows of one program; its name and seconds are in the first."""
    label: str | None = f"[{name}]({PAGES}/{name}.md)"
    if name in PROGRAMS:
        label = f"{label}, {PROGRAMS[name][0]}"
    taken = _seconds(one)
    seconds: str | None = None if taken is None else f"{taken:.0f}"
    if not _claims(one):
        yield {
            "program": label,
            "claim": _status(one),
            "number": None,
            "wanted": None,
            "holds": NO,
            "seconds": seconds,
        }
    for claim in _claims(one):
        yield {
            "program": label,
            "claim": tables.cell(claim["text"]),
            "number": number(claim),
            "wanted": tables.cell(claim["wanted"]),
            "holds": _holds(claim),
            "seconds": seconds,
        }
        label = seconds = ""


def _origin(runs: Sequence[Record]) -> Iterable[str]:
    """Load, commit and versions; the commits of programs that ran at another one."""
    yield from tables.origin_lines(runs)
    ours = runs[0].provenance.get("commit")
    for one in runs[1:]:
        if (other := one.provenance.get("commit")) != ours:
            changed = tables.uncommitted(one.provenance)
            yield f"Commit of {one.system}: {other}{changed}."


def _finding(runs: Iterable[Record]) -> str:
    runs = list(runs)
    parts = [f"Claims that hold: {_count(runs)}."]
    for one in runs:
        failed = [claim for claim in _claims(one) if not claim["holds"]]
        if failed:
            texts = "; ".join(f"{c['text']}: {number(c)}" for c in failed)
            parts.append(f"Failed, of {one.system}: {texts}.")
        elif not _claims(one):
            parts.append(f"{one.system}: {_status(one)}.")
    return " ".join(parts)


def _count(runs: Iterable[Record]) -> str:
    claims = [claim for one in runs for claim in _claims(one)]
    return f"{sum(bool(claim['holds']) for claim in claims)} of {len(claims)}"


def _claims(one: Record) -> list[dict[str, Any]]:
    return list(one.check.get("claims", [])) if one.status == "ok" else []


def _status(one: Record) -> str:
    """Why a program has no claims."""
    word = NOT_RUN if one.status == "skipped" else FAILED
    return f"{word}: {tables.cell(one.reason or 'no claims')}"


def _holds(claim: Mapping[str, Any]) -> str:
    return "yes" if claim["holds"] else NO


def _seconds(one: Record) -> float | None:
    seconds = one.seconds.get("total")
    return None if seconds is None else float(seconds)
