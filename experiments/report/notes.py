"""What a reader of a table must know of each system, by its name in the records.

A record's own note, as it was written then, is shown for other systems alone.
"""

from collections.abc import Iterable, Sequence

from experiments.records.record import Record
from experiments.report.tables import cell

_STAN = (
    "compiled with PyStan's default flags, -O3 without -march=native. Where the "
    "program is compiled already, the build loads it and the data"
)
_PYMC = "PyMC's default backend; the features are column-major, the faster order"
_INDEXED = (
    "bernoulli_logit_glm of the numbers, with a shift that is looked up for each row "
    "and one-hot group"
)
_STRUCTURED = (
    "the same model of features kept as numbers and categories (ppl.DesignMatrix), "
    "rows sorted by category. Compare it with Stan's structured data; the other rows "
    "read every column"
)
_BY_XLA = "XLA compiles the sampler together with the density"
_JAX = "float32, features [rows, dim]; several chains are one vectorised program"
_LEAPFROGS = "leapfrog steps alone: no tree, no U-turn check, no acceptance step"
_DEVICES = "divides the rows over logical devices of one CPU; no accelerator"
_FUSED_ADAM = "Adam by TensorFlow's fused kernel"
_DRAWS = "its random draws are made before the clock starts"
_OURS = (
    "the traced program, trained by this project's loop. Attention and layer "
    "normalisation have hand-written gradients; the other systems' gradients are those "
    "of their framework, unless their note says otherwise"
)
NOTES = {
    "nuts": {
        "stan_plain": _STAN,
        "stan_glm": _STAN,
        "stan_glm_all_cores": _STAN,
        "pymc_float64": _PYMC,
        "pymc_float32": _PYMC,
        "pymc_float64_all_cores": _PYMC,
        "handwritten_tf": _BY_XLA,
        "handwritten_tf_grad": _BY_XLA,
        "ppl_core": (
            "data larger than a core's cache are read in blocks of rows that fit it; "
            "a hand-written density could do the same"
        ),
        "ppl_core_whole": (
            "reads the data whole. Beside hand-written TensorFlow with autodiff it "
            "shows what the language costs"
        ),
        "stan_structured": f"{_INDEXED}; {_STAN}",
        "stan_structured_all_cores": f"{_INDEXED}; {_STAN}",
        "ppl_core_structured": _STRUCTURED,
        "ppl_core_structured_64_chains": _STRUCTURED,
        "numpyro": _JAX,
        "blackjax": _JAX,
        "nutpie": (
            "has no identity metric: it takes its own, from the gradient. Trees are "
            "capped at depth 7. Compare its time per leapfrog alone"
        ),
        "jax_dim_rows": _LEAPFROGS,
        "jax_rows_dim": _LEAPFROGS,
        "one_pass": "one matrix-vector product; its leapfrogs are passes over the data",
        "ppl_core_1_device": _DEVICES,
        "ppl_core_2_devices": _DEVICES,
    },
    "posteriors": {
        "tfp_windowed": (
            "windowed_adaptive_nuts on our log density, compiled by XLA, float64; all "
            "chains in lock-step share a step size. Its one call does not say where "
            "warm-up ends: the seconds are divided as the batch's leapfrogs are"
        ),
        "stan": (
            "compiled with PyStan's default flags, -O3 without -march=native. Its "
            "chains run in processes, one per core, and it is charged only for the "
            "cores that they keep busy"
        ),
        "pymc": (
            "its own NUTS, chains in processes, one per core. Warm-up and sampling are "
            "the time inside its transitions, and all else is the build"
        ),
        "nutpie": (
            "on the PyMC models. It does not say where warm-up ends: the seconds of a "
            "run are divided as its gradients are"
        ),
        "numpyro": "float64; all chains are one vectorised program",
        "blackjax": (
            "on NumPyro's log densities, float64; all chains are one vectorised program"
        ),
    },
    "image_transformer": {
        "ours": _OURS,
        "handwritten_tf": f"plain operations and autodiff; {_FUSED_ADAM}",
        "handwritten_tf_kernels": (
            "this project's attention and layer normalisation with their hand-written "
            f"gradients, otherwise plain operations and autodiff; {_FUSED_ADAM}. Ours "
            "over this row is what the language and the training loop cost"
        ),
        "keras": "Keras 3 layers and keras.ops on TensorFlow; Keras's Adam",
        "keras_xla": "as Keras 3, with jit_compile=True",
        "flax": (
            "linen modules, one jitted step that donates its buffers, optax.adam. Its "
            "attention runs block by block in jax.lax.map and recomputes the scores "
            "for the gradient"
        ),
    },
    "vae": {
        "ours": _OURS,
        "ours_cores": "as ours, with each core of the virtual topology on a logical "
        "device of one CPU, on as many threads; the ratio is the cost of dividing the "
        "model and says nothing about accelerators",
        "handwritten_tf": f"plain operations and autodiff; {_FUSED_ADAM}; {_DRAWS}",
        "flax": f"linen modules, optax.adam, one jitted step that donates its buffers; "
        f"{_DRAWS}",
    },
}


def note_lines(systems: Iterable[tuple[str, str, Sequence[Record]]]) -> Iterable[str]:
    """A line for each note, after the labels of the systems that it is of.

    systems: id, label and records.  A system that NOTES lacks has its records' notes.
    """
    labels: dict[str, list[str]] = {}
    for system, label, records in systems:
        for record in records:
            text = NOTES.get(record.experiment, {}).get(system, record.note)
            if text and label not in labels.setdefault(text, []):
                labels[text].append(label)
    for text, names in labels.items():
        yield f"{'; '.join(names)}: {cell(text, 1000)}."
