import json
import math

import pytest

from experiments.programs import claims
from experiments.records.run_dir import CheckFailed


def test_a_limit_holds_or_fails_and_nan_never_holds():
    assert claims.at_most("x", 1.0, 1.0).holds
    assert not claims.at_most("x", 1.1, 1.0).holds
    assert claims.at_least("x", 1.0, 1.0).holds
    assert not claims.at_least("x", 0.9, 1.0).holds
    for claim in (claims.at_most, claims.at_least):
        assert not claim("x", math.nan, 1.0).holds
        assert not claim("x", 1.0, 1.0, error=math.nan).holds
    assert not claims.near("x", math.nan, 1.0, error=1.0).holds


def test_an_estimate_is_near_within_its_standard_errors():
    assert claims.near("x", 1.39, 1.0, error=0.1).holds
    assert not claims.near("x", 1.41, 1.0, error=0.1).holds
    assert claims.near("x", 1.19, 1.0, error=0.1, num_errors=2).holds
    assert not claims.near("x", 1.21, 1.0, error=0.1, num_errors=2).holds
    assert not claims.near("x", 1.0, 1.0, error=math.inf).holds


def test_what_is_finished_is_written_and_printed(tmp_path, capsys):
    held = claims.near("mean of mu", 0.5, 0.5, error=0.01)
    returned = claims.finish(tmp_path, [held], {"seconds": 2.0})
    written = json.loads((tmp_path / "claims.json").read_text())
    assert written == returned
    assert written["claims"][0]["value"] == 0.5 and written["claims"][0]["holds"]
    assert written["facts"] == {"seconds": 2.0}
    assert capsys.readouterr().out == (
        "holds  mean of mu: 0.5 ± 0.01, wanted 0.5 within 4 standard errors\n"
    )


def test_a_failed_claim_fails_the_run_when_all_is_written(tmp_path):
    made = [claims.at_most("gap", 2.0, 1.0), claims.at_most("other", 0.0, 1.0)]
    with pytest.raises(CheckFailed, match="gap: 2, wanted at most 1") as raised:
        claims.finish(tmp_path, made)
    assert raised.value.brief == "1 of 2 claims failed, see above"
    assert len(json.loads((tmp_path / "claims.json").read_text())["claims"]) == 2


def test_a_run_without_claims_is_refused(tmp_path):
    with pytest.raises(ValueError, match="claims: given none"):
        claims.finish(tmp_path, [])
