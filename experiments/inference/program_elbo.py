"""The ELBO of a model and a guide that are both programs, and its gradient."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from experiments.inference import prng
from experiments.inference.elbo import Drawn, Objective
from experiments.inference.program_terms import (
    ProgramGuide,
    Site,
    Values,
    Variables,
    entropy,
    has_term,
    kl,
    run_aligned,
    run_guide,
    total,
)
from ppl_core.terms import is_deterministic


def of_program(posterior: Any, guide: ProgramGuide, *, num_samples: int) -> Objective:
    """The ELBO of a guide program, for `fit_vi`.

    Raises ValueError for another posterior than the guide's, and for one draw a step
    where the score function needs two.
    """
    if posterior is not guide.posterior:
        raise ValueError(
            "posterior: given another than the guide was made for, wanted that one"
        )
    sites = {site.name: site for site in guide.sites}
    by_score = [name for name, site in sites.items() if "score" in site.gradient]
    if by_score and num_samples < 2:
        raise ValueError(
            f"num_samples: given {num_samples}, wanted 2 or more for the score "
            f"function of {by_score}, whose baseline is the mean of the other draws"
        )
    tables = {n: s.values for n, s in sites.items() if s.values is not None}
    assignments = [
        dict(zip(tables, values, strict=True))
        for values in itertools.product(*tables.values())
    ]

    def of_draw(params: Any, seed: tf.Tensor) -> tuple[tf.Tensor, Any, Any]:
        """The ELBO of one draw; and the gradients of what is to be ascended, and of the
        score that the baseline multiplies."""
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(params)
            elbos, surrogates, scores = [], [], []
            for values in assignments:
                own = run_guide(guide, params, seed, values, sites)
                value = _integrand(guide, sites, own, run_aligned(guide, own))
                weight = tf.exp(total(own[name].log_prob() for name in tables))
                score = total(own[name].log_prob() for name in by_score)
                elbos.append(weight * value)
                surrogates.append(elbos[-1] + tf.stop_gradient(elbos[-1]) * score)
                scores.append(tf.stop_gradient(weight) * score)
            elbo, surrogate, score = map(tf.add_n, (elbos, surrogates, scores))
        gradients = [
            tape.gradient(part, params, unconnected_gradients="zero")
            for part in (surrogate, score)
        ]
        return elbo, gradients[0], gradients[1]

    def numbers(seed: tf.Tensor, num: int) -> tf.Tensor:
        """The seeds of draws: [num, num_samples, 2] int32."""
        seeds = tf.random.split(seed, num * num_samples, alg=prng.RNG)
        return tf.reshape(seeds, [num, num_samples, 2])

    def estimate(params: Any, seeds: tf.Tensor) -> tuple[tf.Tensor, Any]:
        if num_samples == 1:
            elbo, grads, _ = of_draw(params, seeds[0])
            return elbo, grads
        types = tf.nest.map_structure(lambda p: tf.TensorSpec(p.shape, p.dtype), params)
        elbos, grads, scores = tf.map_fn(
            lambda one: of_draw(params, one),
            seeds,
            fn_output_signature=(tf.TensorSpec([], tf.float64), types, types),
        )
        if not by_score:
            return tf.reduce_mean(elbos), tf.nest.map_structure(_mean, grads)
        # Of the other draws: Mnih & Rezende (2016), section 2.5.
        baseline = (tf.reduce_sum(elbos) - elbos) / (num_samples - 1)

        def combined(grad: tf.Tensor, score: tf.Tensor) -> tf.Tensor:
            weight = tf.reshape(baseline, [-1] + [1] * (score.shape.rank - 1))
            return _mean(grad - tf.cast(weight, score.dtype) * score)

        return tf.reduce_mean(elbos), tf.nest.map_structure(combined, grads, scores)

    def drawn(params: Any, seed: tf.Tensor) -> tuple[Values, Values, Values]:
        """Values, and both programs' log probs by name, of one draw."""
        own = run_guide(guide, params, seed, {}, {})
        of_model = run_aligned(guide, own)
        values = {
            name: variable.value
            for name, variable in of_model.items()
            if name in guide.alignment or is_deterministic(variable)
        }
        terms = {n: total([v.log_prob()]) for n, v in of_model.items() if has_term(v)}
        return values, terms, {n: total([v.log_prob()]) for n, v in own.items()}

    @tf.function(jit_compile=True, autograph=False)
    def draws_of(params: Any, seeds: tf.Tensor) -> tuple[Values, Values, Values]:
        shapes: Any = None

        def look(seed: tf.Tensor) -> Any:
            nonlocal shapes
            found = drawn(params, seed)
            shapes = tf.nest.map_structure(tf.type_spec_from_value, found)
            return found

        tf.function(look, autograph=False).get_concrete_function(
            tf.TensorSpec([2], tf.int32)
        )
        return tf.map_fn(lambda s: drawn(params, s), seeds, fn_output_signature=shapes)

    def draw(params: Any, num: int, seed: tf.Tensor) -> Drawn:
        seeds = tf.random.split(seed, num, alg=prng.RNG)
        values, terms, of_guide = draws_of(params, seeds)
        log_prob = np.sum([np.asarray(part) for part in terms.values()], axis=0)
        log_q = np.sum([np.asarray(part) for part in of_guide.values()], axis=0)
        arrays = {name: value.numpy() for name, value in values.items()}
        return Drawn(arrays, log_prob, log_q, log_prob - log_q)

    def explain(params: Any, seeds: tf.Tensor) -> str:
        _, terms, of_guide = draws_of(params, seeds)
        for words, parts in (("log prob", terms), ("guide's log prob", of_guide)):
            names = [n for n, part in parts.items() if not np.isfinite(part).all()]
            if names:
                return f"the {words} of {names}"
        return "its gradient"

    return Objective(
        "program",
        guide.posterior,
        guide.params,
        guide.posterior.source.dtype,
        {name: str(sites[other]) for name, other in guide.alignment.items()},
        False,
        numbers,
        estimate,
        draw,
        explain,
    )


def _integrand(
    guide: ProgramGuide,
    sites: Mapping[str, Site],
    own: Variables,
    of_model: Variables,
) -> tf.Tensor:
    """log p - log q of one draw, or the exact expectations of its terms: float64."""
    terms = []
    exact = set()
    for name, other in guide.alignment.items():
        variable, site = own[other], sites[other]
        if site.term == "KL":
            exact.add(name)
            terms.append(-_known(kl(variable, of_model[name])))
        elif site.term == "entropy":
            terms.append(_known(entropy(variable)))
        else:
            terms.append(-variable.log_prob())
    terms += [
        variable.log_prob()
        for name, variable in of_model.items()
        if has_term(variable) and name not in exact
    ]
    return total(terms)


def _known(found: Any) -> tf.Tensor:
    assert found is not None  # or another term would have been chosen
    return found


def _mean(parts: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(parts, axis=0)
