"""Every order of two transformations: right by the formula, or refused by name.

After the two, what either fixes has its value, nothing else is drawn in its place, and
every term that is left counts once.
"""

import numpy as np
import pytest
from scipy import stats

import ppl_core as ppl

FIXED = 2.0
VALUES = {"mu": 0.3, "theta": 0.7, "z": 1, "y": 1.1, "sigma": 0.8}
VALUES["theta_base"] = (VALUES["theta"] - VALUES["mu"]) / 2.0


def program(sigma=0.5):
    mu = ppl.Normal(0.0, 1.0, name="mu")
    theta = ppl.Normal(mu, 2.0, name="theta")
    z = ppl.Bernoulli(probs=0.25, name="z")
    ppl.Normal(theta + 3.0 * z, sigma, name="y")


def inside(block):
    """The transformation that runs a program inside `block(names, value)`."""

    def transform(program, scope):
        def run(*args, **kwargs):
            with block(f"{scope}theta"):
                return program(*args, **kwargs)

        return run

    return transform


TRANSFORMATIONS = {
    "reparam": lambda p, scope: ppl.reparam(p, f"{scope}theta"),
    "lift": lambda p, scope: ppl.lift(
        p, sigma=lambda name: ppl.HalfNormal(2.0, name=name)
    ),
    "marginalize": lambda p, scope: ppl.marginalize(p, f"{scope}z"),
    "mutilate": lambda p, scope: ppl.mutilate(p, **{f"{scope}theta": FIXED}),
    "condition": inside(lambda theta: ppl.condition(**{theta: FIXED})),
    "intervene": inside(lambda theta: ppl.intervene(**{theta: FIXED})),
    "substitute": inside(lambda theta: ppl.substitute(**{theta: FIXED})),
    "replay": inside(lambda theta: ppl.replay({theta: FIXED})),
    "block": inside(ppl.block),
    "mask": inside(lambda theta: ppl.mask(False, theta)),
    "scale": inside(lambda theta: ppl.scale(3.0, theta)),
    "prefix": inside(lambda theta: ppl.prefix("a")),
}
REPLACING = {"mutilate", "intervene"}
FIXING = REPLACING | {"condition", "substitute", "replay"}


def compose(outer, inner):
    scope = "a/" if inner == "prefix" else ""
    return TRANSFORMATIONS[outer](TRANSFORMATIONS[inner](program, ""), scope)


def log_joint_of(outer, inner):
    """The log joint at VALUES, and the variables of the run."""
    left_out = {"theta" if "reparam" in (outer, inner) else "theta_base"}
    left_out |= {"z"} if "marginalize" in (outer, inner) else set()
    values = {name: value for name, value in VALUES.items() if name not in left_out}
    for _ in range(2):
        values |= {f"a/{name}": value for name, value in values.items()}
    transformed = compose(outer, inner)
    with ppl.tape() as variables, ppl.replay(values):
        transformed()
    assert not [name for name, part in variables.items() if part.drawn]
    terms = [
        float(part.log_prob())
        for part in variables.values()
        if part.constructor_name != "deterministic"
    ]
    return sum(terms), {name.split("/")[-1]: v for name, v in variables.items()}


def by_formula(outer, inner):
    """The log joint at VALUES, by SciPy."""
    both = {outer, inner}
    mu, y = VALUES["mu"], VALUES["y"]
    theta = FIXED if both & FIXING else VALUES["theta"]
    sigma = VALUES["sigma"] if "lift" in both else 0.5
    of_theta = stats.norm.logpdf(theta, mu, 2.0)
    if "reparam" in both:
        of_theta = stats.norm.logpdf(VALUES["theta_base"])
    if both & (REPLACING | {"mask", "block"}):
        of_theta = 0.0
    if (outer, inner) == ("block", "reparam"):  # theta is hidden, its base is not
        of_theta = stats.norm.logpdf(VALUES["theta_base"])
    of_theta *= 3.0 ** ((outer == "scale") + (inner == "scale"))
    rows = [
        np.log([0.75, 0.25][z]) + stats.norm.logpdf(y, theta + 3.0 * z, sigma)
        for z in (0, 1)
    ]
    of_y = np.logaddexp(*rows) if "marginalize" in both else rows[VALUES["z"]]
    of_sigma = stats.halfnorm.logpdf(sigma, scale=2.0) if "lift" in both else 0.0
    return stats.norm.logpdf(mu) + of_theta + of_y + of_sigma


GONE = r"no random variable is named \['theta'\]"
HAS_VALUE = r"Normal\(name='theta'\) already has a value"
IS_GIVEN = r"^reparam: \w+\(name='theta'\): given a value"
HIDDEN = r"^block: hides Normal\(name='(a/)?theta'\) from a `replay` around"
BINDING = ("condition", "substitute")
# Outer and inner, with the words of the error.  VALUES come by a `replay` around both.
REFUSED = {
    **{(outer, "block"): HIDDEN for outer in TRANSFORMATIONS},
    **{("block", inner): HIDDEN for inner in TRANSFORMATIONS},
    **{(outer, inner): GONE for outer in TRANSFORMATIONS for inner in REPLACING},
    **{(outer, "block"): GONE for outer in (*BINDING, "reparam")},
    **{(o, i): HAS_VALUE for o in BINDING for i in (*BINDING, "replay")},
    **{(outer, "reparam"): f"^reparam: {HAS_VALUE}, by" for outer in BINDING},
    ("replay", "reparam"): f"^reparam: {HAS_VALUE}, by replay",
    **{("reparam", inner): IS_GIVEN for inner in (*BINDING, "replay", "reparam")},
    **{("reparam", inner): "given a scale or a mask" for inner in ("scale", "mask")},
    **{(outer, "reparam"): "is deterministic" for outer in ("scale", "mask")},
    ("lift", "lift"): "two random variables are named 'sigma'",
    ("marginalize", "marginalize"): r"no random variable is named \['z'\]",
}
for right in [
    *[("lift", inner) for inner in REPLACING],  # which do not name theta
    *[("marginalize", inner) for inner in REPLACING],
    *[("replay", inner) for inner in REPLACING],
    *[("prefix", inner) for inner in REPLACING],
    *[("block", inner) for inner in (*BINDING, "replay", "reparam")],
]:
    del REFUSED[right]


@pytest.mark.parametrize("outer", TRANSFORMATIONS)
def test_two_transformations_are_right_or_refused_by_name(outer):
    for inner in TRANSFORMATIONS:
        message = REFUSED.get((outer, inner))
        if message is not None:
            with pytest.raises(ValueError, match=message):
                log_joint_of(outer, inner)
            continue
        log_joint, variables = log_joint_of(outer, inner)
        expected = by_formula(outer, inner)
        np.testing.assert_allclose(log_joint, expected, 1e-5, err_msg=inner)
        both = {outer, inner}
        names = {"mu", "theta", "z", "y"} | ({"sigma"} if "lift" in both else set())
        if "marginalize" in both:
            names.remove("z")
        if both & REPLACING or "block" in both:
            names.remove("theta")
        if "reparam" in both and not both & REPLACING:
            names.add("theta_base")
        assert set(variables) == names, inner
