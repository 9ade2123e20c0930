"""Figure 6: a program's execution as a graph, and what the graph answers.

The program is a Bayesian mixture of Gaussians.  Who depends on whom is read off its
trace by `ppl.describe`.  From the graph follow conditional independences, Markov
blankets, and which terms of the log joint one factor of a mean-field guide needs (the
paper's "pull", section 2.4).  A config names `run`.
"""

import itertools
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import tensorflow as tf
from scipy import stats

import ppl_core as ppl
from experiments.programs import claims, pictures
from experiments.training.checks import check_counts

COMPONENTS = 3
ROWS = 3  # of the graph that is drawn and queried
# By hand: are the two independent given the others?
QUERIES = (
    ("z0", "z1", (), False),  # a common parent, pi
    ("z0", "z1", ("pi",), True),
    ("z0", "z1", ("pi", "x0", "x1"), False),  # x0 <- mu -> x1, seen at both ends
    ("z0", "z1", ("pi", "mu", "tau", "x0", "x1"), True),
    ("mu", "tau", (), True),
    ("mu", "tau", ("x0",), False),  # a common child, seen
    ("pi", "mu", (), True),
    ("pi", "mu", ("x0",), False),
    ("pi", "mu", ("z0", "z1", "z2", "x0", "x1", "x2"), True),
    ("x0", "x1", ("mu", "tau"), False),  # x0 <- z0 <- pi -> z1 -> x1
    ("x0", "x1", ("mu", "tau", "z0"), True),
    ("x0", "pi", ("z0",), True),
    ("x0", "pi", ("z0", "x1"), False),  # x0 <- mu -> x1 <- z1 <- pi
    ("mu", "z0", (), True),
    ("mu", "z0", ("x0",), False),
)
BLANKETS = {  # by hand: parents, children and the children's other parents
    "pi": {"z0", "z1", "z2"},
    "mu": {"tau", "z0", "z1", "z2", "x0", "x1", "x2"},
    "tau": {"mu", "z0", "z1", "z2", "x0", "x1", "x2"},
    **{f"z{i}": {"pi", "mu", "tau", f"x{i}"} for i in range(ROWS)},
    **{f"x{i}": {"mu", "tau", f"z{i}"} for i in range(ROWS)},
}


def gaussian_mixture(num_rows: int) -> None:
    """Weights pi, means mu, precisions tau; of each row a component z and x."""
    pi = ppl.Dirichlet(tf.fill([COMPONENTS], 2.0), name="pi")
    mu = ppl.Normal(0.0, 3.0, sample_shape=COMPONENTS, name="mu")
    tau = ppl.Gamma(4.0, 4.0, sample_shape=COMPONENTS, name="tau")
    for i in range(num_rows):
        z = ppl.Categorical(probs=pi, name=f"z{i}")
        ppl.Normal(tf.gather(mu, z), tf.gather(tau, z) ** -0.5, name=f"x{i}")


def guide(num_rows: int, num_draws: int) -> None:
    """A mean-field program of `num_draws` draws: what depends on nothing."""
    ppl.Dirichlet(tf.fill([COMPONENTS], 5.0), sample_shape=num_draws, name="q_pi")
    means = tf.linspace(-2.0, 2.0, COMPONENTS)
    ppl.Normal(means, 0.3, sample_shape=num_draws, name="q_mu")
    ones = tf.ones(COMPONENTS)
    ppl.Gamma(20 * ones, 20 * ones, sample_shape=num_draws, name="q_tau")
    for i in range(num_rows):
        probs = tf.nn.softmax(tf.range(COMPONENTS, dtype=tf.float32) * (i % 3 - 1))
        ppl.Categorical(probs=probs, sample_shape=num_draws, name=f"q_z{i}")


def alignment(num_rows: int) -> dict[str, str]:
    """Names in the mixture to names in its guide."""
    latents = ["pi", "mu", "tau", *(f"z{i}" for i in range(num_rows))]
    return {name: f"q_{name}" for name in latents}


# Queries of a graph.


def graph_of(described: ppl.description.Descriptions) -> nx.DiGraph:
    """The variables, with an edge from each to those that depend on it directly."""
    graph = nx.DiGraph()
    graph.add_nodes_from(part.name for part in described)
    graph.add_edges_from((p, part.name) for part in described for p in part.depends_on)
    return graph


def independent(graph: nx.DiGraph, a: str, b: str, given: Collection[str]) -> bool:
    """Whether a and b are d-separated by the given variables."""
    return bool(nx.is_d_separator(graph, {a}, {b}, set(given)))


def markov_blanket(graph: nx.DiGraph, name: str) -> set[str]:
    """The variables that, given, make this one independent of all others."""
    children = set(graph.successors(name))
    parents = {p for node in (name, *children) for p in graph.predecessors(node)}
    return (children | parents) - {name}


def energy_terms(graph: nx.DiGraph, name: str) -> set[str]:
    """The variables whose log probs depend on this one: itself and its children."""
    return {name, *graph.successors(name)}


# The same, found without the graph.


def another_point(values: Mapping[str, Any]) -> dict[str, tf.Tensor]:
    """Other values of all variables, everywhere."""
    weights = values["pi"] * tf.range(1.0, COMPONENTS + 1)
    return {
        name: (value + 1) % COMPONENTS
        if name.startswith("z")
        else weights / tf.reduce_sum(weights)
        if name == "pi"
        else value * 1.25
        for name, value in values.items()
    }


def mixed_differences(values: Mapping[str, tf.Tensor]) -> dict[tuple[str, str], float]:
    """How far the change of the log joint by one variable depends on another, by pair.

    0 exactly for two variables that no term of the log joint shares.
    """
    log_prob_parts = ppl.make_log_prob_parts_fn(gaussian_mixture)
    other = another_point(values)

    @tf.function(autograph=False)
    def parts(point: dict[str, tf.Tensor]) -> tf.Tensor:
        terms = log_prob_parts(ROWS, **point)
        return tf.stack([tf.cast(term, tf.float64) for term in terms.values()])

    found = {}
    for a, b in itertools.combinations(values, 2):
        change = {
            (in_a, in_b): parts(
                {
                    name: other[name]
                    if (name == a and in_a) or (name == b and in_b)
                    else value
                    for name, value in values.items()
                }
            )
            for in_a, in_b in itertools.product((0, 1), repeat=2)
        }
        mixed = (change[1, 1] - change[1, 0]) - (change[0, 1] - change[0, 0])
        found[a, b] = float(tf.reduce_max(tf.abs(mixed)))
    return found


def changed_terms(values: Mapping[str, tf.Tensor]) -> dict[str, set[str]]:
    """The terms of the log joint that another value of each variable changes."""
    log_prob_parts = ppl.make_log_prob_parts_fn(gaussian_mixture)
    other = another_point(values)
    before = log_prob_parts(ROWS, **values)
    found = {}
    for name in values:
        after = log_prob_parts(ROWS, **{**values, name: other[name]})
        found[name] = {n for n in after if float(after[n]) != float(before[n])}
    return found


def scipy_log_joint(values: Mapping[str, Any]) -> float:
    """The log joint of one execution by SciPy."""
    value = {name: np.asarray(part, np.float64) for name, part in values.items()}
    pi, mu, tau = value["pi"], value["mu"], value["tau"]
    terms = [
        stats.dirichlet.logpdf(pi / pi.sum(), np.full(COMPONENTS, 2.0)),
        stats.norm.logpdf(mu, 0.0, 3.0).sum(),
        stats.gamma.logpdf(tau, 4.0, scale=1 / 4.0).sum(),
    ]
    for i in range(sum(name.startswith("z") for name in value)):
        z = int(value[f"z{i}"])
        terms.append(np.log(pi[z]))
        terms.append(stats.norm.logpdf(value[f"x{i}"], mu[z], tau[z] ** -0.5))
    return float(sum(terms))


# The gradient of one factor of the guide.


def factor_gradients(num_rows: int, num_draws: int, seed: int) -> dict[str, np.ndarray]:
    """Estimates of the ELBO's gradient by the logits of q(z0), [num_draws, components].

    "all terms" and "energy terms": score functions times log p - log q, of all
    variables and of those that depend on z0.  "enumerated": the same expectation with
    z0 summed out.
    """
    graph = graph_of(ppl.describe(gaussian_mixture, num_rows))
    with ppl.tape() as data, ppl.seeded((0, seed)):
        gaussian_mixture(num_rows)
    observed = {f"x{i}": data[f"x{i}"].value for i in range(num_rows)}
    with ppl.tape() as drawn, ppl.seeded((1, seed)):
        guide(num_rows, num_draws)
    latents = ppl.align(alignment(num_rows), drawn)
    log_prob_parts = ppl.make_log_prob_parts_fn(
        gaussian_mixture, batch_ndims=1, observed=observed
    )

    @tf.function(autograph=False)
    def terms(values: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return log_prob_parts(num_rows, **values)

    log_p = terms(latents)
    log_q = {
        name: tf.reduce_sum(tf.reshape(part.log_prob(), [num_draws, -1]), axis=1)
        for name, part in drawn.items()
    }
    needed = energy_terms(graph, "z0")
    own = sum(log_p[name] for name in needed) - log_q["q_z0"]
    probs = drawn["q_z0"].distribution.probs_parameter()
    score = tf.one_hot(latents["z0"], COMPONENTS) - probs
    enumerated = tf.zeros([num_draws, COMPONENTS])
    for k in range(COMPONENTS):
        at_k = terms({**latents, "z0": tf.fill([num_draws], k)})
        weight = sum(at_k[name] for name in needed) - tf.math.log(probs[k])
        score_k = tf.one_hot(k, COMPONENTS) - probs
        enumerated += probs[k] * weight[:, None] * score_k
    whole = tf.add_n([*log_p.values()]) - tf.add_n([*log_q.values()])
    return {
        "all terms": (whole[:, None] * score).numpy(),
        "energy terms": (own[:, None] * score).numpy(),
        "enumerated": enumerated.numpy(),
    }


def run(
    *,
    run_dir: Path,
    seed: int,
    num_rows: int = 20,
    num_draws: int = 20_000,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Answers queries of the mixture's graph and compares them with what is known.

    num_rows, num_draws: of the comparison of gradients.

    Prints the table of variables with their log probs, writes claims and picture to
    `run_dir`.  Raises ValueError for a wrong argument; CheckFailed for a claim that
    does not hold.
    """
    check_counts(2, num_rows=num_rows, num_draws=num_draws)
    if dry_run:
        return {}
    described = ppl.describe(gaussian_mixture, ROWS)
    graph = graph_of(described)
    with ppl.tape() as variables, ppl.seeded((0, seed)):
        gaussian_mixture(ROWS)
    values = {name: variable.value for name, variable in variables.items()}
    parts = ppl.make_log_prob_parts_fn(gaussian_mixture)(ROWS, **values)
    log_probs = {name: float(part) for name, part in parts.items()}
    print(described)
    for name, log_prob in log_probs.items():
        print(f"log prob of {name}: {log_prob:.3f}")
    answers = [independent(graph, *query[:3]) == query[3] for query in QUERIES]
    blankets = {name: markov_blanket(graph, name) for name in graph}
    mixed = mixed_differences(values)
    contradictions = [
        (a, b) for (a, b), size in mixed.items() if (size > 0) != (b in blankets[a])
    ]
    terms = changed_terms(values)
    gradients = factor_gradients(num_rows, num_draws, seed)
    exact = gradients.pop("enumerated")
    made = [
        claims.at_most(
            f"independences that differ from those by hand, of {len(QUERIES)}",
            answers.count(False),
            0,
        ),
        claims.at_most(
            f"Markov blankets that differ from those by hand, of {len(BLANKETS)}",
            sum(blankets[name] != BLANKETS[name] for name in BLANKETS),
            0,
        ),
        claims.at_most(
            f"pairs whose mixed difference contradicts the blankets, of {len(mixed)}",
            len(contradictions),
            0,
        ),
        claims.at_most(
            f"variables whose energy terms are not those that change with it, of "
            f"{len(terms)}",
            sum(terms[name] != energy_terms(graph, name) for name in terms),
            0,
        ),
        claims.at_most(
            "log prob of an execution: difference from SciPy's in nats",
            abs(sum(log_probs.values()) - scipy_log_joint(values)),
            1e-4,
        ),
    ]
    for name, estimates in gradients.items():
        differences = estimates - exact
        error = differences.std(0) / num_draws**0.5
        made.append(
            claims.at_most(
                f"gradient of q(z0) by {name}: largest error in standard errors",
                float(np.abs(differences.mean(0) / error).max()),
                4.0,
            )
        )
    variances = {name: float(part.var(0).sum()) for name, part in gradients.items()}
    made.append(
        claims.at_least(
            "variance of that gradient: all terms over energy terms",
            variances["all terms"] / variances["energy terms"],
            10.0,
        )
    )
    facts = {"log_probs": log_probs, "gradient_variances": variances}
    draw(run_dir / claims.PICTURE, graph, log_probs)
    return claims.finish(run_dir, made, facts)


def draw(path: Path, graph: nx.DiGraph, log_probs: Mapping[str, float]) -> None:
    """Writes a picture of the graph, with the Markov blanket of z0, to `path`."""
    with pictures.figure(path, height=5) as figure:
        axes = figure.subplots()
        rows = (["pi"], [f"z{i}" for i in range(ROWS)], [f"x{i}" for i in range(ROWS)])
        places = {"pi": (1.5, 3.0), "mu": (1.0, 0.0), "tau": (2.0, 0.0)}
        for height, names in ((2.0, rows[1]), (1.0, rows[2])):
            places |= {name: (0.5 + i, height) for i, name in enumerate(names)}
        blanket = markov_blanket(graph, "z0")
        for parent, child in graph.edges:
            axes.annotate(
                "",
                places[child],
                places[parent],
                arrowprops={"arrowstyle": "->", "shrinkA": 24, "shrinkB": 24},
            )
        for name, (x, y) in places.items():
            color = (
                "#c8553d" if name == "z0" else "#f2c9bd" if name in blanket else "white"
            )
            text = f"{name}\n{log_probs[name]:.2f}"
            axes.text(
                x,
                y,
                text,
                ha="center",
                va="center",
                fontsize=11,
                color="white" if name == "z0" else "black",
                bbox={"boxstyle": "circle,pad=0.35", "fc": color, "ec": "black"},
            )
        axes.set_xlim(0, 3)
        axes.set_ylim(-0.5, 3.5)
        axes.set_axis_off()
        axes.set_title(
            "One execution of the mixture: variables with their log probs in nats;\n"
            "shaded: the Markov blanket of z0"
        )
