"""The model written a second time: NumPy, float64, one image, an explicit mask.

Nothing of it is in blocks: whole rows of scores are made, and who sees whom is asked of
every pair by what the two places are in the image.
"""

import numpy as np
from scipy import special


def places(sizes):
    """(row, column) of every position, as they are generated."""
    columns = sizes.width * (1 if sizes.likelihood == "dmol" else 3)
    raster = [(r, c) for r in range(sizes.height) for c in range(columns)]
    if sizes.attention == "local_1d":
        return raster
    high, wide = block_of(sizes)
    return sorted(raster, key=lambda p: (p[0] // high, p[1] // wide, *p))


def block_of(sizes):
    columns = sizes.width * (1 if sizes.likelihood == "dmol" else 3)
    return min(sizes.block[0], sizes.height), min(sizes.block[1], columns)


def sees(sizes, order, first, second):
    """Whether the first-th position generated may see the second-th."""
    if second > first:
        return False
    if sizes.attention == "local_1d":
        whole = len(order) < 2 * sizes.block
        return whole or first // sizes.block - second // sizes.block <= 1
    high, wide = block_of(sizes)
    above, beside = sizes.block if sizes.flange is None else sizes.flange
    (row, column), (other_row, other_column) = order[first], order[second]
    top, left = row // high * high, column // wide * wide
    if other_row < top:
        near = left - beside <= other_column < left + wide + beside
        return near and other_row >= top - above
    return other_row < top + high and left - beside <= other_column < left + wide


def mask(sizes):
    """[positions, positions] bool, in the order of generation."""
    order = places(sizes)
    return np.array(
        [
            [sees(sizes, order, i, j) for j in range(len(order))]
            for i in range(len(order))
        ]
    )


def attended(query, key, value, visible, heads):
    """[positions, value_size]."""
    found = []
    by_head = (np.split(x, heads, -1) for x in (query, key, value))
    for q, k, v in zip(*by_head, strict=True):
        scores = np.where(visible, q @ k.T / np.sqrt(q.shape[-1]), -np.inf)
        found.append(special.softmax(scores, -1) @ v)
    return np.concatenate(found, -1)


def nothing_dropped(name, x):
    return x


def log_probs(sizes, weights, image, dropped=nothing_dropped):
    """Of each position as they are generated: [positions].  image: [h, w, 3]."""
    w = {name: np.asarray(weight, float) for name, weight in weights.items()}
    order = places(sizes)
    values = [
        image[r, c] if sizes.likelihood == "dmol" else image[r, c // 3, c % 3]
        for r, c in order
    ]
    x = np.zeros((len(order), sizes.hidden))
    for i, ((_, c), value) in enumerate(zip(order[:-1], values[:-1], strict=True)):
        x[i + 1] = embedded(sizes, w, value, c)
    x = dropped("input", x + np.array([signal(sizes, w, r, c) for r, c in order]))
    visible = mask(sizes)
    for layer in (f"layer{number}" for number in range(sizes.layers)):
        own = {
            n.partition("/")[2]: v for n, v in w.items() if n.startswith(f"{layer}/")
        }
        q, k, v = x @ own["query"], x @ own["key"], x @ own["value"]
        found = attended(q, k, v, visible, sizes.heads) @ own["out"]
        found = dropped(f"{layer}/attention", found)
        x = normalised(x + found, own["attention/scale"], own["attention/bias"])
        inner = np.maximum(x @ own["filter_in"] + own["filter_in_bias"], 0)
        found = inner @ own["filter_out"] + own["filter_out_bias"]
        found = dropped(f"{layer}/filter", found)
        x = normalised(x + found, own["filter/scale"], own["filter/bias"])
    outputs = x @ w["outputs"] + w.get("outputs_bias", 0)
    if sizes.likelihood == "dmol":
        return np.array(
            [
                pixel_log_prob(out, value, sizes.num_values)
                for out, value in zip(outputs, values, strict=True)
            ]
        )
    shares = special.log_softmax(outputs, -1)
    return shares[np.arange(len(values)), values]


def embedded(sizes, w, value, column):
    if sizes.likelihood == "dmol":
        scaled = value / ((sizes.num_values - 1) / 2) - 1
        return np.maximum(scaled @ w["merge"] + w["merge_bias"], 0)
    row = column % 3 * sizes.num_values + value
    return w["embedding"][row] * np.sqrt(sizes.hidden)


def signal(sizes, w, row, column):
    if sizes.positions == "learned":
        return np.sqrt(sizes.hidden) * (w["row"][row] + w["column"][column])
    number = sizes.hidden // 4
    waves = []
    for place in (row, column):
        rates = [10000 ** (-i / max(number - 1, 1)) for i in range(number)]
        waves += [np.sin(place * rate) for rate in rates]
        waves += [np.cos(place * rate) for rate in rates]
    return np.array(waves)


def normalised(x, scale, bias):
    mean = x.mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(x.var(-1, keepdims=True) + 1e-6) * scale + bias


def pixel_log_prob(outputs, value, num_values):
    """Of one pixel [3] under a mixture of logistics: masses as differences."""
    mixtures = len(outputs) // 10
    weights = special.log_softmax(outputs[:mixtures])
    means, log_scales, coefficients = outputs[mixtures:].reshape(3, 3, mixtures)
    scales = np.exp(np.maximum(log_scales, -7))
    a, b, c = np.tanh(coefficients)
    red, green, _ = value / ((num_values - 1) / 2) - 1
    means = [means[0], means[1] + a * red, means[2] + b * red + c * green]
    total = weights
    for channel, mean, scale in zip(value, means, scales, strict=True):
        edges = (np.array([channel, channel + 1]) - 0.5) / ((num_values - 1) / 2) - 1
        low = -np.inf if channel == 0 else edges[0]
        high = np.inf if channel == num_values - 1 else edges[1]
        total = total + log_mass(low, high, mean, scale)
    return special.logsumexp(total)


def log_mass(low, high, mean, scale):
    """log of a logistic's mass between two edges, in whichever tail has digits left."""
    low, high = (low - mean) / scale, (high - mean) / scale
    swap = low > 0
    low, high = np.where(swap, -high, low), np.where(swap, -low, high)
    below, above = special.log_expit(low), special.log_expit(high)
    return above + np.log1p(-np.exp(below - above))
