"""The confounded model: known answers, descendants, its claims, and bad input."""

import numpy as np
import pytest

from experiments.programs import causal_intervention as program
from tests.programs import claims_of


def test_the_answers_are_those_of_the_table_by_hand():
    np.testing.assert_allclose(program.conditioned(), [289 / 350, 273 / 350])
    small, large = 357 / 700, 343 / 700
    by_hand = [
        small * 234 / 270 + large * 55 / 80,
        small * 81 / 87 + large * 192 / 263,
    ]
    np.testing.assert_allclose(program.intervened(), by_hand)
    assert program.TREATED.sum() == program.PATIENTS


def test_the_log_joints_sum_to_these_answers():
    found = program.enumerated()
    np.testing.assert_allclose(found[0], program.conditioned(), atol=1e-6)
    np.testing.assert_allclose(found[1], program.intervened(), atol=1e-6)


def test_an_intervention_changes_the_draws_of_descendants_alone():
    assert program.descendants("surgery") == {"recovered", "nights"}
    assert program.descendants("large") == {"surgery", "recovered", "nights"}
    assert program.descendants("nights") == set()
    plain = program.drawn(5000, 1)
    assert list(plain) == ["old", "large", "surgery", "recovered", "nights"]
    under_do = program.drawn(5000, 1, surgery=1)
    assert list(under_do) == ["old", "large", "recovered", "nights"]
    changed = {n for n in under_do if not np.array_equal(plain[n], under_do[n])}
    assert changed == {"recovered", "nights"}
    # Where the treatment is the same anyway, so is all that follows from it.
    same = plain["surgery"] == 1
    np.testing.assert_array_equal(plain["nights"][same], under_do["nights"][same])


@pytest.mark.slow
def test_the_tiny_config_runs_and_its_claims_hold(tmp_path):
    made = claims_of("causal_intervention_tiny", tmp_path / "run")
    assert made["P(recovered): surgery less puncture, under do"] > 0
    assert made["P(recovered): surgery less puncture, conditioned"] < 0


def test_too_few_patients_are_refused(tmp_path):
    with pytest.raises(ValueError, match="num_patients: given 9, wanted a whole numb"):
        program.run(run_dir=tmp_path, seed=0, num_patients=9, dry_run=True)
