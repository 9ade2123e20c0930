"""The experiment on its tiny config, and what it refuses."""

import json
from pathlib import Path

import pytest

from experiments.programs import grammar_vae
from tests.programs import claims_of

GIVEN = {
    "seed": 0,
    "interpolations": {"arithmetic": ("x+1", "sin(x)")},
    "growth": {"arithmetic": -0.5},
    "dry_run": True,
}


@pytest.mark.slow
def test_the_tiny_run_shows_every_claim(tmp_path):
    """Beside the claims' own limits: parsing is not almost always."""
    shown = claims_of("grammar_vae_tiny", tmp_path / "run")
    assert len(shown) == 11
    assert all(value == 1.0 for text, value in shown.items() if "parse" in text)
    written = json.loads((tmp_path / "run" / "claims.json").read_text())
    facts = written["facts"]["arithmetic"]
    bits = facts["bits per production"]
    assert bits["source"] < bits["tighter bound"] < bits["bound"] < bits["unigram"]
    assert len(facts["interpolation"]) == 7
    for string in facts["samples"] + facts["interpolation"]:
        compile(string, "expression", "eval")  # by Python's own grammar


def test_a_dry_run_does_nothing(tmp_path):
    assert grammar_vae.run(run_dir=tmp_path, **GIVEN) == {}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        (
            {"interpolations": {"arithmetic": ("x+1", "x+*3")}},
            "string: given 'x+*3' with '*' at position 2, wanted '(' or",
        ),
        (
            {"interpolations": {"arithmetic": ("x+1", "x")}, "max_productions": 4},
            "string: given 'x+1' of 7 productions, wanted at most",
        ),
        ({"interpolations": {"arithmetic": "x+1"}}, "interpolations: given 'x+1' for"),
        ({"interpolations": {"english": ("a", "b")}}, "grammar: given 'english'"),
        ({"growth": {}}, "growth: given [], wanted the grammars of interpolations"),
        ({"interpolations": {}}, "growth: given ['arithmetic'], wanted"),
        ({"max_productions": 2}, "max_productions: given 2, wanted at least 3"),
        ({"num_steps": 0}, "num_steps: given 0"),
        ({"shortest": 50}, "shortest: given 50, wanted at most max_productions, 40"),
        ({"growth": {"arithmetic": "much"}}, "growth: given 'much'"),
        ({"learning_rate": -1.0}, "learning_rate: given -1.0"),
        ({"num_held_out": 1}, "num_held_out: given 1"),
        ({"least_saved": "all"}, "least_saved: given 'all'"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_done(changed, error, tmp_path):
    with pytest.raises(ValueError) as caught:
        grammar_vae.run(run_dir=Path(tmp_path), **GIVEN | changed)
    assert str(caught.value).startswith(error) and "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
