"""The benchmark's posteriors as PyMC models, of the data by their names in Stan."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.distributions import transforms

Data = Mapping[str, np.ndarray]


def build(name: str, data: Data) -> pm.Model:
    """The model; its variables have the names of the benchmark's parameters.

    Raises ValueError for a name that has no model here.
    """
    if name not in MODELS:
        raise ValueError(f"name: given {name!r}, wanted one of {list(MODELS)}")
    with pm.Model() as model:
        MODELS[name](data)
    return model


def _recursion(coeff: Any, terms: Any, num: int) -> Any:
    """x with x[t] = coeff x[t - 1] + terms[t] and x[-1] = 0, in log2(num) turns."""
    back = 1
    while back < num:
        earlier = pt.concatenate([pt.zeros(back), terms[:-back]])
        terms = terms + coeff * earlier
        coeff, back = coeff * coeff, 2 * back
    return terms


def _schools(data: Data) -> None:
    mu, tau = pm.Normal("mu", 0.0, 5.0), pm.HalfCauchy("tau", 5.0)
    theta = pm.Normal("theta", mu, tau, shape=8)
    pm.Normal("y", theta, data["sigma"], observed=data["y"])


def _schools_noncentred(data: Data) -> None:
    mu, tau = pm.Normal("mu", 0.0, 5.0), pm.HalfCauchy("tau", 5.0)
    base = pm.Normal("theta_base", 0.0, 1.0, shape=8)
    theta = pm.Deterministic("theta", mu + tau * base)
    pm.Normal("y", theta, data["sigma"], observed=data["y"])


def _exam_scores(data: Data) -> None:
    beta, sigma = pm.Flat("beta", shape=2), pm.HalfCauchy("sigma", 2.5)
    pm.Normal("y", beta[0] + beta[1] * data["x"], sigma, observed=data["y"])


def _yearly_temperatures(data: Data) -> None:
    alpha = pm.Normal("alpha", 9.3, 100.0)
    beta = pm.Normal("beta", 0.0, 0.0333)
    sigma = pm.HalfFlat("sigma")
    pm.Normal("y", alpha + beta * data["year"], sigma, observed=data["y"])


def _survey(data: Data) -> None:
    beta, sigma = pm.Flat("beta", shape=data["x"].shape[1]), pm.HalfFlat("sigma")
    pm.Normal("y", data["x"] @ beta, sigma, observed=data["y"])


def _radon_top(data: Data) -> tuple[Any, Any, Any, Any]:
    """The counties' means, their standard deviation, and beta and sigma."""
    gamma = pm.Normal("gamma", 0.0, 5.0, shape=2)
    beta = pm.Normal("beta", 0.0, 5.0)
    sigma_alpha = pm.HalfNormal("sigma_alpha", 1.0)
    sigma = pm.HalfNormal("sigma", 1.0)
    return gamma[0] + gamma[1] * data["uranium"], sigma_alpha, beta, sigma


def _radon_data(data: Data, alpha: Any, beta: Any, sigma: Any) -> None:
    mean = alpha[data["county"] - 1] + beta * data["floor"]
    pm.Normal("y", mean, sigma, observed=data["y"])


def _radon(data: Data) -> None:
    mean, sigma_alpha, beta, sigma = _radon_top(data)
    alpha = pm.Normal("alpha", mean, sigma_alpha, shape=int(data["J"]))
    _radon_data(data, alpha, beta, sigma)


def _radon_noncentred(data: Data) -> None:
    mean, sigma_alpha, beta, sigma = _radon_top(data)
    base = pm.Normal("alpha_base", 0.0, 1.0, shape=int(data["J"]))
    alpha = pm.Deterministic("alpha", mean + sigma_alpha * base)
    _radon_data(data, alpha, beta, sigma)


def _gaussian_mixture(data: Data) -> None:
    theta = pm.Beta("theta", 5.0, 5.0)
    start = np.array([-1.0, 1.0])
    mu = pm.Normal("mu", 0.0, 2.0, shape=2, transform=transforms.ordered, initval=start)
    sigma = pm.HalfNormal("sigma", 2.0, shape=2)
    weights = pt.stack([theta, 1.0 - theta])
    pm.NormalMixture("y", weights, mu, sigma=sigma, observed=data["y"])


def _gaussian_process(data: Data) -> None:
    x = data["x"]
    rho = pm.Gamma("rho", 5.0, 2.0)
    alpha = pm.HalfNormal("alpha", 2.0)
    sigma = pm.HalfNormal("sigma", 1.0)
    squares = (x[:, None] - x[None, :]) ** 2
    kernel = alpha**2 * pt.exp(-0.5 * squares / rho**2)
    factor = pt.linalg.cholesky(kernel + sigma**2 * np.eye(len(x)))
    pm.MvNormal("y", np.zeros(len(x)), chol=factor, observed=data["y"])


def _autoregression(data: Data) -> None:
    y, num, lags = data["y"], int(data["T"]), int(data["K"])
    alpha = pm.Normal("alpha", 0.0, 10.0)
    beta = pm.Normal("beta", 0.0, 10.0, shape=lags)
    sigma = pm.HalfCauchy("sigma", 2.5)
    x = np.stack([y[lags - 1 - k : num - 1 - k] for k in range(lags)], axis=1)
    pm.Normal("y", alpha + x @ beta, sigma, observed=y[lags:])


def _arma(data: Data) -> None:
    y, num = data["y"], int(data["T"])
    mu = pm.Normal("mu", 0.0, 10.0)
    phi = pm.Normal("phi", 0.0, 2.0)
    theta = pm.Uniform("theta", -1.0, 1.0)
    sigma = pm.HalfCauchy("sigma", 2.5)
    before = pt.concatenate([mu[None], y[:-1]])
    errors = _recursion(-theta, y - mu - phi * before, num)
    pm.Potential("y", pm.logp(pm.Normal.dist(0.0, sigma), errors).sum())


def _garch(data: Data) -> None:
    y, num = data["y"], int(data["T"])
    mu, alpha0 = pm.Flat("mu", initval=0.0), pm.HalfFlat("alpha0", initval=1.0)
    alpha1 = pm.Uniform("alpha1", 0.0, 1.0)
    beta1 = pm.Uniform("beta1", 0.0, 1.0 - alpha1)
    pm.Potential("flat", pt.log(1.0 - alpha1))
    first = np.atleast_1d(data["sigma1"] ** 2)
    terms = pt.concatenate([first, alpha0 + alpha1 * (y[:-1] - mu) ** 2])
    pm.Normal("y", mu, pt.sqrt(_recursion(beta1, terms, num)), observed=y)


def _stochastic_volatility(data: Data) -> None:
    num = int(data["T"])
    mu = pm.Normal("mu", 0.0, 5.0)
    phi = 2.0 * pm.Beta("persistence", 20.0, 1.5) - 1.0
    sigma = pm.HalfNormal("sigma", 0.5)
    base = pm.Normal("h_base", 0.0, 1.0, shape=num)
    first = sigma * base[:1] / pt.sqrt(1.0 - phi**2)
    h = mu + _recursion(phi, pt.concatenate([first, sigma * base[1:]]), num)
    pm.Normal("y", 0.0, pt.exp(h / 2.0), observed=data["y"])


def _hidden_markov(data: Data) -> None:
    y, num, states = data["y"], int(data["T"]), int(data["K"])
    rows = pm.Dirichlet("transition", np.full((states, states), 2.0))
    centre = np.array([-2.0, 1.0, 4.0])
    mu = pm.Normal("mu", centre, 2.0, transform=transforms.ordered, initval=centre)
    sigma = pm.HalfNormal("sigma", 1.0)
    terms = pm.logp(pm.Normal.dist(mu, sigma), y[:, None])
    largest = terms.max(axis=1, keepdims=True)
    scale, weights = largest.sum(), pt.exp(terms - largest)
    steps, count = rows * weights[1:, None, :], num - 1
    while count > 1:
        pairs = pt.matmul(steps[: count // 2 * 2 : 2], steps[1::2][: count // 2])
        top = pairs.max(axis=(1, 2), keepdims=True)
        scale = scale + pt.log(top).sum()
        odd = [steps[-1:]] if count % 2 else []
        steps = pt.concatenate([pairs / top, *odd])
        count = count // 2 + count % 2
    total = (weights[0] @ steps[0]).sum()
    pm.Potential("y", scale + pt.log(total / states))


def _item_response(data: Data) -> None:
    items, people = int(data["I"]), int(data["J"])
    sigma_theta = pm.HalfCauchy("sigma_theta", 2.0)
    theta = pm.Normal("theta", 0.0, sigma_theta, shape=people)
    sigma_a = pm.HalfCauchy("sigma_a", 2.0)
    a = pm.LogNormal("a", 0.0, sigma_a, shape=items)
    mu_b = pm.Normal("mu_b", 0.0, 5.0)
    sigma_b = pm.HalfCauchy("sigma_b", 2.0)
    b = pm.Normal("b", mu_b, sigma_b, shape=items)
    logits = a[:, None] * (theta[None, :] - b[:, None])
    pm.Bernoulli("y", logit_p=logits, observed=data["y"])


def _logistic(data: Data) -> None:
    # Column-major is the faster order here.
    x = np.asfortranarray(data["x"], dtype=np.float64)
    beta = pm.Normal("beta", 0.0, 1.0, shape=x.shape[1])
    pm.Bernoulli("y", logit_p=x @ beta, observed=data["y"])


def _funnel(data: Data) -> None:
    v = pm.Normal("v", 0.0, 3.0)
    pm.Normal("x", 0.0, pt.exp(v / 2.0), shape=int(data["D"]))


MODELS: dict[str, Callable[[Data], None]] = {
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
