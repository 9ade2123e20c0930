"""The experiment: train on a grammar's strings, and say what the model has learnt."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from experiments.programs import claims
from experiments.programs.claims import Claim, at_least, at_most
from experiments.programs.grammar_vae import (
    baselines,
    grammars,
    measure,
    network,
    picture,
    program,
    source,
    training,
)
from experiments.programs.grammar_vae.grammar import check_budget, to_string
from experiments.programs.grammar_vae.measure import Derivations, Trained
from experiments.programs.grammar_vae.parser import parse
from experiments.training.checks import check_counts, check_number

COMPARED = 10  # strings of which the two programs' densities are compared
LEAST_GAP = 1e-5  # relative, of densities in float32
SHOWN = 8  # samples in the record


def run(
    *,
    run_dir: Path,
    seed: int,
    interpolations: Mapping[str, Sequence[str]],
    growth: Mapping[str, float],
    num_strings: int = 20_000,
    num_held_out: int = 1000,
    shortest: int = 8,
    max_productions: int = 40,
    num_steps: int = 1500,
    batch_size: int = 64,
    learning_rate: float = 3e-3,
    latent: int = 8,
    units: int = 128,
    kl_weight: float = 0.05,
    num_draws: int = 16,
    num_samples: int = 100,
    num_reconstructed: int = 200,
    num_paths: int = 10,
    least_saved: float = 0.05,
    least_right: float = 0.2,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Trains a grammar VAE for each grammar, and checks what it does.

    interpolations: of each grammar, "arithmetic" or "smiles", two of its strings.
      What is decoded between them is shown.
    growth: of each grammar, how its strings grow: see `source.make`.
    num_strings: strings to train on.
    shortest, max_productions: the fewest and the most productions of a string.
    num_steps: of each of two trainings.  The second goes on from the first's weights,
      and weighs the latent's divergence from its prior by `kl_weight`.  The first has
      the better bound; strings are reconstructed by the second.
    num_draws: of the latent, for a held-out string's tighter bound.
    num_samples: strings drawn from the model, and parsed.
    num_reconstructed: held-out strings to encode and decode.
    num_paths: lines between two latents, of which neighbours are compared.
    least_saved: bits per production to save against each baseline.
    least_right: share of productions to decode rightly.
    dry_run: checks all arguments, and returns {} without a run.

    Writes claims.json and picture.png to `run_dir`, and returns what is in claims.json.

    Raises ValueError for arguments that do not fit, such as a string that its grammar
    does not have, and CheckFailed for claims that do not hold.
    """
    check_counts(
        num_strings=num_strings,
        shortest=shortest,
        max_productions=max_productions,
        batch_size=batch_size,
        latent=latent,
        units=units,
        num_draws=num_draws,
        num_samples=num_samples,
    )
    check_counts(
        2,
        num_steps=num_steps,
        num_held_out=num_held_out,
        num_reconstructed=num_reconstructed,
        num_paths=num_paths,
    )
    check_number("learning_rate", learning_rate, above=0)
    check_number("kl_weight", kl_weight, at_least=0)
    check_number("least_saved", least_saved)
    check_number("least_right", least_right, at_least=0)
    ends = {
        name: [_parsed(name, string, max_productions) for string in _two(name, given)]
        for name, given in interpolations.items()
    }
    if not ends or set(growth) != set(ends):
        raise ValueError(
            f"growth: given {sorted(growth)}, wanted the grammars of interpolations, "
            f"{sorted(ends)}"
        )
    sources = {
        name: source.make(
            grammars.named(name),
            seed=seed,
            growth=growth[name],
            shortest=shortest,
            longest=max_productions,
        )
        for name in ends
    }
    if dry_run:
        return {}
    made: list[Claim] = []
    facts, shown = {}, {}
    for name, strings in sources.items():
        drawn = source.draw(strings, num_strings, seed=seed, part=0)
        held_out = source.draw(strings, num_held_out, seed=seed, part=1).derivations
        sizes = network.Sizes(len(strings.grammar.productions), latent, units)
        trained = training.train(
            network.initial_weights(sizes, seed),
            program.to_strings(strings.grammar, drawn.derivations, max_productions),
            kl_weights=(1.0, kl_weight),
            num_steps=num_steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            seed=seed,
            label=name,
        )
        vae, telling = (Trained(w, strings.grammar, max_productions) for w in trained)
        bits = {
            **baselines.bits(strings.grammar, drawn.derivations, held_out),
            **_bits_of_vae(vae, held_out, num_draws, seed),
            "source": source.bits(strings, held_out, drawn.kept),
        }
        sampled = measure.samples(vae, num_samples, seed)
        path = measure.interpolation(telling, ends[name])
        trained_on = set(drawn.derivations)
        unseen = [d for d in dict.fromkeys(held_out) if d not in trained_on]
        encoded = unseen[:num_reconstructed]
        decoded = [tuple(one) for one in measure.reconstructions(telling, encoded)]
        lengths = np.array([len(derivation) for derivation in held_out])
        made += [
            *_parse_claims(vae, sampled, path),
            _density_claim(vae, held_out[:COMPARED], seed),
            *_bits_claims(vae, bits, lengths, least_saved),
            *_latent_claims(
                telling,
                encoded,
                decoded,
                least_right=least_right,
                least_saved=least_saved,
                num_paths=num_paths,
            ),
        ]
        per_production = {
            kind: float(own.sum() / lengths.sum()) for kind, own in bits.items()
        }
        texts = [to_string(strings.grammar, derivation) for derivation in path]
        shown[name] = picture.Shown(per_production, interpolations[name], texts)
        facts[name] = {
            "productions of the grammar": len(strings.grammar.productions),
            "productions of a string": float(lengths.mean()),
            "share of draws of a wanted length": drawn.kept,
            "share of held-out strings not trained on": len(unseen) / num_held_out,
            "share of unseen strings decoded whole": float(
                np.mean([a == b for a, b in zip(encoded, decoded, strict=True)])
            ),
            "bits per production": per_production,
            "samples": [to_string(vae.grammar, one) for one in sampled[:SHOWN]],
            "interpolation": texts,
        }
    picture.draw(run_dir / claims.PICTURE, shown)
    return claims.finish(run_dir, made, facts)


def _two(name: str, strings: Sequence[str]) -> Sequence[str]:
    if isinstance(strings, str) or len(strings) != 2:
        raise ValueError(
            f"interpolations: given {strings!r} for {name!r}, wanted two strings"
        )
    return strings


def _parsed(name: str, string: str, max_productions: int) -> tuple[int, ...]:
    """A string's productions.  Raises ValueError for one that cannot be encoded."""
    grammar = grammars.named(name)
    check_budget(grammar, max_productions)
    found = parse(grammar, string)
    if len(found) > max_productions:
        raise ValueError(
            f"string: given {string!r} of {len(found)} productions, wanted at most "
            f"max_productions, {max_productions}"
        )
    return found


def _bits_of_vae(
    vae: Trained, held_out: Derivations, num_draws: int, seed: int
) -> dict[str, np.ndarray]:
    strings = program.to_strings(vae.grammar, held_out, vae.max_productions)
    bound, tighter = training.evaluate(
        vae.weights, strings, num_draws=num_draws, seed=seed
    )
    return {"bound": -bound / np.log(2), "tighter bound": -tighter / np.log(2)}


def _parse_claims(vae: Trained, sampled: Derivations, path: Derivations) -> list[Claim]:
    """That all that is sampled and decoded is in the grammar."""
    return [
        at_least(
            f"{vae.grammar.name}: share of {len(derivations)} strings, {how}, that "
            "parse to the productions they were made by",
            measure.share_parsed(vae.grammar, derivations),
            1.0,
        )
        for how, derivations in (
            ("sampled", sampled),
            ("decoded between two latents", path),
        )
    ]


def _density_claim(vae: Trained, held_out: Derivations, seed: int) -> Claim:
    return at_most(
        f"{vae.grammar.name}: relative difference of the log joints of the program "
        "that samples and of the one over batches",
        measure.density_gap(vae, held_out, seed),
        LEAST_GAP,
    )


def _bits_claims(
    vae: Trained, bits: Mapping[str, np.ndarray], lengths: np.ndarray, least: float
) -> list[Claim]:
    """That the bound is below the baselines, and not below the source itself."""
    name = vae.grammar.name
    found = []
    for other in ("unigram", "grammar", "parent"):
        saved, error = measure.ratio(bits[other] - bits["bound"], lengths)
        found.append(
            at_least(
                f"{name}: bits per production that the VAE's bound saves against the "
                f"baseline {other!r}",
                saved,
                least,
                error=error,
            )
        )
    above, error = measure.ratio(bits["tighter bound"] - bits["source"], lengths)
    found.append(
        at_least(
            f"{name}: bits per production of the VAE's tighter bound above the "
            "strings' own distribution",
            above,
            0.0,
            error=error,
        )
    )
    return found


def _latent_claims(
    vae: Trained,
    unseen: Derivations,
    decoded: Derivations,
    *,
    least_right: float,
    least_saved: float,
    num_paths: int,
) -> list[Claim]:
    """That the latent says which string it is, and that near latents mean near strings.

    unseen: strings that were not trained on.
    decoded: what their latents decode to.
    """
    name = vae.grammar.name
    lengths = np.array([len(derivation) for derivation in unseen])
    right = measure.num_right(decoded, unseen)
    others = measure.num_right([*decoded[1:], decoded[0]], unseen)
    share, error = measure.ratio(right, lengths)
    gained, gained_error = measure.ratio(right - others, lengths)
    codes = measure.codes(vae, unseen)
    saved, saved_error = measure.ratio(
        measure.bits_given(vae, unseen, tf.roll(codes, 1, axis=0))
        - measure.bits_given(vae, unseen, codes),
        lengths,
    )
    pairs = list(zip(unseen, unseen[1:], strict=False))[:num_paths]
    nearer = [measure.smoothness(measure.interpolation(vae, pair)) for pair in pairs]
    return [
        at_least(
            f"{name}: share of productions of {len(unseen)} unseen strings that are "
            "decoded rightly from the string's latent",
            share,
            least_right,
            error=error,
        ),
        at_least(
            f"{name}: the same, above the share from another string's latent",
            gained,
            0.0,
            error=gained_error,
        ),
        at_least(
            f"{name}: bits per production of these strings that their own latents save "
            "against those of others",
            saved,
            least_saved,
            error=saved_error,
        ),
        at_least(
            f"{name}: likeness of neighbours on {len(pairs)} lines between latents, "
            "above that of the ends",
            float(np.mean(nearer)),
            0.0,
            error=float(np.std(nearer, ddof=1) / len(nearer) ** 0.5),
        ),
    ]
