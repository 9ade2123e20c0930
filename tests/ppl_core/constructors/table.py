"""The table of docs/distributions.md, from the search of every constructor.

`python -m tests.ppl_core.constructors.table` writes it.
"""

import functools
from pathlib import Path
from typing import Any

import tensorflow as tf

import ppl_core as ppl
from ppl_core.sites import bijector_of
from ppl_core.supports import support_of
from tests.ppl_core.constructors.cases import CASES, OTHERS
from tests.ppl_core.constructors.search import Found, ranges, search
from tests.ppl_core.constructors.values import Case

PAGE = Path(__file__).resolve().parents[3] / "docs/distributions.md"
HEADER = (
    "| constructor | support | bijector | values | u | arguments |\n"
    "|---|---|---|---|---|---|\n"
)
_SHAPES = ("all numbers", "vectors", "matrices")
_SUPPORTS = {  # in place of the words of a rule
    "Inflated": "as its parts",
    "TransformedDistribution": "as its parts",
    "VonMises": "angles",
}


@functools.cache
def found(name: str) -> tuple[Found, Found | None]:
    """What the search finds of values and, of a latent variable, of coordinates."""
    case = CASES[name]
    latent = search(name, case, latent=True) if is_latent(case) else None
    return search(name, case, latent=False), latent


def is_latent(case: Case) -> bool:
    """Whether a variable of this case can be latent."""
    return case.is_latent if case.is_latent is not None else not case.values.is_count


def row(name: str) -> str:
    """One constructor's line of the table."""
    if name in OTHERS:
        return f"| {name} | {OTHERS[name]} | | not searched | | |"
    case, (of_values, of_latent) = CASES[name], found(name)
    variable = _variable(name, case)
    cells = [
        name,
        _support(name, variable),
        "none" if of_latent is None else _bijector(bijector_of(variable)),
        _cell(of_values, ["x"]),
        "" if of_latent is None else _cell(of_latent, ["u"]),
        _cell(of_values, list(case.arguments)),
    ]
    return f"| {' | '.join(cells)} |"


def table() -> str:
    """All lines of the table."""
    rows = "\n".join(row(name) for name in sorted([*CASES, *OTHERS]))
    return f"{HEADER}{rows}\n"


def _variable(name: str, case: Case) -> ppl.RandomVariable:
    point = tf.constant(case.values.points[:1], tf.float32)
    arguments = {k: tf.constant([v], tf.float32) for k, v in case.arguments.items()}
    given = case.make(**arguments) if case.make else arguments
    sample = {} if case.arguments else {"sample_shape": 1}
    value = {"value": lambda _: point}
    return getattr(ppl, name)(**given, **case.fixed, **sample, **value, name="x")


def _support(name: str, variable: ppl.RandomVariable) -> str:
    if name in _SUPPORTS:
        return _SUPPORTS[name]
    rule = support_of(variable.distribution)
    if rule is not None:
        return rule.words
    rank = variable.distribution.event_shape.rank
    return _SHAPES[1 if rank is None else rank]


def _bijector(bijector: Any) -> str:
    """The kinds of bijectors, in the order of their formula."""
    parts = getattr(bijector, "bijectors", None)
    if parts:
        return ", ".join(_bijector(part) for part in parts)
    kind = type(bijector).__name__.strip("_")
    inner = getattr(bijector, "bijector", getattr(bijector, "_base_bijector", None))
    if "Bijector" in kind and inner is not None:
        return _bijector(inner)
    return kind


def _cell(found: Found, keys: list[str]) -> str:
    """Where these inputs are right: "all", or by dtype the distances."""
    by_dtype = {}
    for dtype in ("float64", "float32"):
        parts = ranges(found, dtype)
        narrow = [key for key in keys if key in parts and not parts[key][2]]
        by_dtype[dtype] = ", ".join(_words(key, *parts[key][:2]) for key in narrow)
    if by_dtype["float64"] == by_dtype["float32"]:
        return by_dtype["float64"] or "all"
    return "; ".join(f"{dtype}: {text or 'all'}" for dtype, text in by_dtype.items())


def _words(key: str, low: float, high: float) -> str:
    span = "none" if low != low else f"{low:.3g} to {high:.3g}"
    return span if key in "xu" else f"{key} {span}"


def main() -> None:
    """Writes the table into the page."""
    text = PAGE.read_text("utf-8")
    PAGE.write_text(text[: text.index(HEADER)] + table(), "utf-8")


if __name__ == "__main__":
    main()
