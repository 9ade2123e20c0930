"""The benchmark's posteriors as NumPyro programs of the data, named as in Stan."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from numpyro import distributions as dist
from numpyro.distributions import constraints

sample = numpyro.sample
Data = Mapping[str, np.ndarray]


def program(name: str, data: Data) -> Callable[[], None]:
    """The program; its sites have the names of the benchmark's parameters.

    Raises ValueError for a name that has no program here.
    """
    if name not in PROGRAMS:
        raise ValueError(f"name: given {name!r}, wanted one of {list(PROGRAMS)}")
    return lambda: PROGRAMS[name](data)


def _flat(*shape: int) -> Any:
    return dist.ImproperUniform(constraints.real, shape, ())


def _half_flat() -> Any:
    return dist.ImproperUniform(constraints.positive, (), ())


def _ordered_normal(name: str, loc: Any, scale: float, num: int) -> Any:
    """A vector in ascending order with a normal density, not normalised again."""
    prior = dist.ImproperUniform(constraints.ordered_vector, (), (num,))
    value = sample(name, prior)
    numpyro.factor(f"{name}_prior", dist.Normal(loc, scale).log_prob(value).sum())
    return value


def _recursion(coeff: Any, terms: Any) -> Any:
    """x with x[t] = coeff x[t - 1] + terms[t] and x[-1] = 0, in log2(T) turns."""
    num, back = len(terms), 1
    while back < num:
        earlier = jnp.concatenate([jnp.zeros(back), terms[:-back]])
        terms = terms + coeff * earlier
        coeff, back = coeff * coeff, 2 * back
    return terms


def _schools(data: Data) -> None:
    mu, tau = sample("mu", dist.Normal(0, 5)), sample("tau", dist.HalfCauchy(5))
    theta = sample("theta", dist.Normal(mu, tau).expand([8]))
    sample("y", dist.Normal(theta, data["sigma"]), obs=data["y"])


def _schools_noncentred(data: Data) -> None:
    mu, tau = sample("mu", dist.Normal(0, 5)), sample("tau", dist.HalfCauchy(5))
    base = sample("theta_base", dist.Normal(0, 1).expand([8]))
    theta = numpyro.deterministic("theta", mu + tau * base)
    sample("y", dist.Normal(theta, data["sigma"]), obs=data["y"])


def _exam_scores(data: Data) -> None:
    beta, sigma = sample("beta", _flat(2)), sample("sigma", dist.HalfCauchy(2.5))
    sample("y", dist.Normal(beta[0] + beta[1] * data["x"], sigma), obs=data["y"])


def _yearly_temperatures(data: Data) -> None:
    alpha = sample("alpha", dist.Normal(9.3, 100.0))
    beta = sample("beta", dist.Normal(0.0, 0.0333))
    sigma = sample("sigma", _half_flat())
    sample("y", dist.Normal(alpha + beta * data["year"], sigma), obs=data["y"])


def _survey(data: Data) -> None:
    beta = sample("beta", _flat(data["x"].shape[1]))
    sigma = sample("sigma", _half_flat())
    sample("y", dist.Normal(data["x"] @ beta, sigma), obs=data["y"])


def _radon_top(data: Data) -> tuple[Any, Any, Any, Any]:
    """The counties' means, their standard deviation, and beta and sigma."""
    gamma = sample("gamma", dist.Normal(0, 5).expand([2]))
    beta = sample("beta", dist.Normal(0, 5))
    sigma_alpha = sample("sigma_alpha", dist.HalfNormal(1))
    sigma = sample("sigma", dist.HalfNormal(1))
    return gamma[0] + gamma[1] * data["uranium"], sigma_alpha, beta, sigma


def _radon_data(data: Data, alpha: Any, beta: Any, sigma: Any) -> None:
    mean = alpha[data["county"] - 1] + beta * data["floor"]
    sample("y", dist.Normal(mean, sigma), obs=data["y"])


def _radon(data: Data) -> None:
    mean, sigma_alpha, beta, sigma = _radon_top(data)
    alpha = sample("alpha", dist.Normal(mean, sigma_alpha))
    _radon_data(data, alpha, beta, sigma)


def _radon_noncentred(data: Data) -> None:
    mean, sigma_alpha, beta, sigma = _radon_top(data)
    base = sample("alpha_base", dist.Normal(0, 1).expand([int(data["J"])]))
    alpha = numpyro.deterministic("alpha", mean + sigma_alpha * base)
    _radon_data(data, alpha, beta, sigma)


def _gaussian_mixture(data: Data) -> None:
    theta = sample("theta", dist.Beta(5, 5))
    mu = _ordered_normal("mu", 0.0, 2.0, 2)
    sigma = sample("sigma", dist.HalfNormal(2).expand([2]))
    weights = dist.Categorical(probs=jnp.stack([theta, 1 - theta]))
    mixture = dist.MixtureSameFamily(weights, dist.Normal(mu, sigma))
    sample("y", mixture, obs=data["y"])


def _gaussian_process(data: Data) -> None:
    x = data["x"]
    rho = sample("rho", dist.Gamma(5, 2))
    alpha = sample("alpha", dist.HalfNormal(2))
    sigma = sample("sigma", dist.HalfNormal(1))
    squares = (x[:, None] - x[None, :]) ** 2
    kernel = alpha**2 * jnp.exp(-0.5 * squares / rho**2)
    factor = jnp.linalg.cholesky(kernel + sigma**2 * jnp.eye(len(x)))
    normal = dist.MultivariateNormal(jnp.zeros(len(x)), scale_tril=factor)
    sample("y", normal, obs=data["y"])


def _autoregression(data: Data) -> None:
    y, num, lags = data["y"], int(data["T"]), int(data["K"])
    alpha = sample("alpha", dist.Normal(0, 10))
    beta = sample("beta", dist.Normal(0, 10).expand([lags]))
    sigma = sample("sigma", dist.HalfCauchy(2.5))
    x = np.stack([y[lags - 1 - k : num - 1 - k] for k in range(lags)], axis=1)
    sample("y", dist.Normal(alpha + x @ beta, sigma), obs=y[lags:])


def _arma(data: Data) -> None:
    y = data["y"]
    mu, phi = sample("mu", dist.Normal(0, 10)), sample("phi", dist.Normal(0, 2))
    theta = sample("theta", dist.Uniform(-1, 1))
    sigma = sample("sigma", dist.HalfCauchy(2.5))
    before = jnp.concatenate([mu[None], y[:-1]])
    errors = _recursion(-theta, y - mu - phi * before)
    numpyro.factor("y", dist.Normal(0, sigma).log_prob(errors).sum())


def _garch(data: Data) -> None:
    y = data["y"]
    mu, alpha0 = sample("mu", _flat()), sample("alpha0", _half_flat())
    alpha1 = sample("alpha1", dist.Uniform(0, 1))
    beta1 = sample("beta1", dist.Uniform(0, 1 - alpha1))
    numpyro.factor("flat", jnp.log(1 - alpha1))
    first = jnp.atleast_1d(data["sigma1"] ** 2)
    terms = jnp.concatenate([first, alpha0 + alpha1 * (y[:-1] - mu) ** 2])
    sample("y", dist.Normal(mu, jnp.sqrt(_recursion(beta1, terms))), obs=y)


def _stochastic_volatility(data: Data) -> None:
    mu = sample("mu", dist.Normal(0, 5))
    phi = 2 * sample("persistence", dist.Beta(20, 1.5)) - 1
    sigma = sample("sigma", dist.HalfNormal(0.5))
    base = sample("h_base", dist.Normal(0, 1).expand([int(data["T"])]))
    first = sigma * base[:1] / jnp.sqrt(1 - phi**2)
    h = mu + _recursion(phi, jnp.concatenate([first, sigma * base[1:]]))
    sample("y", dist.Normal(0, jnp.exp(h / 2)), obs=data["y"])


def _hidden_markov(data: Data) -> None:
    y, states = data["y"], int(data["K"])
    prior = dist.Dirichlet(jnp.full(states, 2.0)).expand([states])
    rows = sample("transition", prior)
    mu = _ordered_normal("mu", np.array([-2.0, 1.0, 4.0]), 2.0, states)
    sigma = sample("sigma", dist.HalfNormal(1))
    terms = dist.Normal(mu, sigma).log_prob(y[:, None])
    largest = terms.max(axis=1, keepdims=True)
    scale, weights = largest.sum(), jnp.exp(terms - largest)
    steps = rows * weights[1:, None, :]
    while len(steps) > 1:
        even = steps[: len(steps) // 2 * 2]
        odd = steps[len(even) :]
        pairs = even[::2] @ even[1::2]
        top = jax.lax.stop_gradient(pairs.max(axis=(1, 2), keepdims=True))
        scale += jnp.log(top).sum()
        steps = jnp.concatenate([pairs / top, odd])
    numpyro.factor("y", scale + jnp.log((weights[0] @ steps[0]).sum() / states))


def _item_response(data: Data) -> None:
    items, people = int(data["I"]), int(data["J"])
    sigma_theta = sample("sigma_theta", dist.HalfCauchy(2))
    theta = sample("theta", dist.Normal(0, sigma_theta).expand([people]))
    sigma_a = sample("sigma_a", dist.HalfCauchy(2))
    a = sample("a", dist.LogNormal(0, sigma_a).expand([items]))
    mu_b = sample("mu_b", dist.Normal(0, 5))
    sigma_b = sample("sigma_b", dist.HalfCauchy(2))
    b = sample("b", dist.Normal(mu_b, sigma_b).expand([items]))
    logits = a[:, None] * (theta[None, :] - b[:, None])
    sample("y", dist.Bernoulli(logits=logits), obs=data["y"])


def _logistic(data: Data) -> None:
    x = data["x"]
    beta = sample("beta", dist.Normal(0, 1).expand([x.shape[1]]))
    sample("y", dist.Bernoulli(logits=x @ beta), obs=data["y"])


def _funnel(data: Data) -> None:
    v = sample("v", dist.Normal(0, 3))
    sample("x", dist.Normal(0, jnp.exp(v / 2)).expand([int(data["D"])]))


PROGRAMS: dict[str, Callable[[Data], None]] = {
    "eight_schools_centred": _schools,
    "eight_schools_noncentred": _schools_noncentred,
    "exam_scores": _exam_scores,
    "yearly_temperatures": _yearly_temperatures,
    "survey": _survey,
    "radon_centred": _radon,
    "radon_noncentred": _radon_noncentred,
    "gaussian_mixture": _gaussian_mixture,
    "gaussian_process": _gaussian_process,
    "autoregression": _autoregression,
    "arma": _arma,
    "garch": _garch,
    "stochastic_volatility": _stochastic_volatility,
    "hidden_markov": _hidden_markov,
    "item_response": _item_response,
    "credit": _logistic,
    "covertype": _logistic,
    "funnel": _funnel,
}
