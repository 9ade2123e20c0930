"""The docstring examples of user-facing functions run and print what they say."""

import doctest
import importlib
import inspect
import pkgutil

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import ppl_core as ppl

PACKAGES = (
    "ppl_core",
    "experiments.cluster",
    "experiments.inference",
    "experiments.datasets",
)
NAMES = {"np": np, "ppl": ppl, "tf": tf, "tfp": tfp}  # that every example may use

USER_FACING = """
experiments.datasets.audio_on_disk.audio_files
experiments.datasets.covertype.load_covertype
experiments.datasets.crops.natural_image_crops
experiments.datasets.images_on_disk.image_array
experiments.datasets.images_on_disk.image_files
experiments.datasets.tones.synthetic_tones
experiments.inference.chain.sample
experiments.inference.results.constrain_draws
experiments.inference.results.to_datatree
experiments.inference.settings.SamplerSettings
experiments.inference.summary.summarize
ppl_core.description.describe
ppl_core.dimensions.coords
ppl_core.dimensions.plate
ppl_core.marginal.marginalize
ppl_core.unconstrained.posterior
ppl_core.unconstrained.unconstrain
ppl_core.random_variable.RandomVariable
ppl_core.reparam.lift
ppl_core.reparam.reparam
ppl_core.scipy.make_log_joint_fn
ppl_core.seeds.seeded
ppl_core.terms.deterministic
ppl_core.terms.factor
ppl_core.trace.trace
ppl_core.tracers.block
ppl_core.tracers.condition
ppl_core.tracers.intervene
ppl_core.tracers.mask
ppl_core.tracers.prefix
ppl_core.tracers.replay
ppl_core.tracers.scale
ppl_core.tracers.substitute
ppl_core.tracers.tape
ppl_core.transformations.align
ppl_core.transformations.make_log_joint_fn
ppl_core.transformations.make_log_likelihood_fn
ppl_core.transformations.mutilate
ppl_core.transformations.posterior_predictive
ppl_core.transformations.prior_predictive
""".split()


def modules():
    return [
        f"{package}.{module.name}"
        for package in PACKAGES
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__)
    ]


def examples(module):
    """The examples of a module's public functions and classes, one test each."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    own = importlib.import_module(module)
    tests = finder.find(own, extraglobs=NAMES)
    return {test.name: test for test in tests if test.examples}


@pytest.mark.parametrize("module", modules())
def test_a_modules_examples_print_what_they_say(module, capsys):
    runner = doctest.DocTestRunner(verbose=False)
    for test in examples(module).values():
        runner.run(test)
    assert runner.failures == 0, capsys.readouterr().out


@pytest.mark.parametrize("name", USER_FACING)
def test_a_user_facing_function_has_an_example(name):
    module, _, attribute = name.rpartition(".")
    documented = getattr(importlib.import_module(module), attribute)
    assert ">>> " in inspect.getdoc(documented)


def test_the_languages_public_functions_are_all_listed():
    listed = {name.rpartition(".")[2] for name in USER_FACING}
    public = {
        name
        for name, member in vars(ppl).items()
        if inspect.isfunction(member) and not hasattr(member, "makes_random_variable")
    }
    # The examples of `trace` show `forward`; docs/language.md has one for each.
    assert public - listed == {
        "forward",
        "make_log_prob_parts_fn",
        "make_random_variable",
        "traceable",
        "unconstrain_shards",
    }
