"""Who may import whom: imports only go down, and some libraries stay in one place."""

import ast
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
LOWER = (  # what every experiment may use
    "ppl_core",
    "experiments.records",
    "experiments.datasets",
    "experiments.inference",
    "experiments.cluster",
    "experiments.training",
    "experiments.engines",
)
CONTRACT = (  # what a compared system takes and returns
    "experiments.bench.problems",
    "experiments.datasets.regression",
    "experiments.inference",
)
FLOORS = {  # package or module: what of ours it may import, besides itself
    "ppl_core": (),
    "experiments.records": (),
    "experiments.datasets": (),
    "experiments.inference": (),
    # What needs a program, and not only its density.
    "experiments.inference.guide_program": ("ppl_core", "experiments.inference"),
    "experiments.inference.program_elbo": ("ppl_core", "experiments.inference"),
    "experiments.inference.program_terms": ("ppl_core", "experiments.inference"),
    "experiments.inference.minibatch": ("ppl_core", "experiments.inference"),
    "experiments.cluster": ("experiments.records",),
    "experiments.training": ("experiments.records", "experiments.cluster"),
    "experiments.engines": (
        "experiments.records",
        "experiments.cluster",
        "experiments.training",
    ),
    "experiments.nuts": LOWER,
    "experiments.sample": LOWER,
    "experiments.programs": LOWER,
    "experiments.image_transformer": LOWER,
    "experiments.vq_vae": (*LOWER, "experiments.image_transformer"),
    "experiments.audio_vae": (*LOWER, "experiments.image_transformer"),
    "experiments.toy_models": LOWER,
    "experiments.baselines": CONTRACT,
    "experiments.baselines.image_transformer.handwritten_tf_kernels": (
        *CONTRACT,
        "experiments.baselines",
        "experiments.image_transformer",
    ),
    "experiments.baselines.image_transformer.pixelcnn": (
        "experiments.training",
        "experiments.image_transformer",
    ),
    # The cosine basis of patches, which is no part of what is compared.
    "experiments.baselines.vae.vq_vae_tf": (
        *CONTRACT,
        "experiments.baselines",
        "experiments.vq_vae",
    ),
    "experiments.baselines.vae.vq_vae_flax": (
        *CONTRACT,
        "experiments.baselines",
        "experiments.vq_vae",
    ),
    "experiments.bench": (
        *LOWER,
        "experiments.image_transformer",
        "experiments.vq_vae",
        "experiments.audio_vae",
        "experiments.toy_models",
        "experiments.programs",
        "experiments.report",
        "experiments.export",
    ),
    "experiments.bench.problems": (),
    "experiments.bench.step_cost": (
        *LOWER,
        "experiments.bench",
        "experiments.baselines.training_tf",
        "experiments.toy_models",
        "experiments.report",
    ),
    "experiments.bench.posterior_references": (
        "experiments.bench",
        "experiments.baselines.posteriors.stan",
        "experiments.records",
    ),
    # What is exported, and what runs where it was.
    "experiments.bench.device": (
        *LOWER,
        "experiments.bench",
        "experiments.export",
        "experiments.nuts",
        "experiments.report",
    ),
    "experiments.bench.ppl_core_nuts": (
        *CONTRACT,
        "experiments.nuts",
    ),
    "experiments.report": ("experiments.records",),
    "experiments.export": (
        *LOWER,
        "experiments.nuts",
        "experiments.sample",
        "experiments.cli",
    ),
    "experiments.cli": ("experiments.records", "experiments.cluster"),
}
OURS = ("ppl_core", "experiments")
TENSORFLOW = ("tensorflow", "tensorflow_probability", "tf_keras")
VAGUE = ("utils", "util", "common", "misc", "helpers")


def within(name, packages):
    return any(name == p or name.startswith(f"{p}.") for p in packages)


def module_name(path, root=REPO):
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules(package):
    """The files of a package or module, those with a floor of their own left out."""
    base = REPO / package.replace(".", "/")
    paths = [*base.rglob("*.py"), *base.parent.glob(f"{base.name}.py")]
    narrower = [name for name in FLOORS if name.startswith(f"{package}.")]
    return [path for path in paths if not within(module_name(path), narrower)]


def imported_names(text, module):
    """Every name a module imports, wherever in it; relative ones spelt out."""
    names = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: -node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names += [f"{base}.{alias.name}" for alias in node.names]
    return names


def imports(path):
    return imported_names(path.read_text(), module_name(path))


def every_module():
    return [path for package in OURS for path in (REPO / package).rglob("*.py")]


@pytest.mark.parametrize("package", FLOORS)
def test_imports_only_go_down(package):
    assert modules(package), f"{package} has no module"
    allowed = (package, *FLOORS[package])
    for path in modules(package):
        for name in imports(path):
            if within(name, OURS):
                assert within(name, allowed), f"{path} imports {name}"


def test_every_module_stands_on_a_floor():
    known = {path for package in FLOORS for path in modules(package)}
    loose = set(every_module()) - known - {REPO / "experiments/__init__.py"}
    assert not loose and len(known) > 20


def test_only_the_cli_imports_gin_or_absl():
    found = {
        module_name(path)
        for path in every_module()
        if any(within(name, ("gin", "absl")) for name in imports(path))
    }
    assert {name.rpartition(".")[0] for name in found} == {"experiments.cli"}


@pytest.mark.parametrize(
    "package", ["experiments.records", "experiments.report", "experiments.cli"]
)
def test_records_report_and_cli_import_no_tensorflow(package):
    paths = modules(package)
    assert paths
    for path in paths:
        for name in imports(path):
            assert not within(name, TENSORFLOW), f"{path} imports {name}"


def test_no_module_has_a_name_that_says_nothing():
    assert not [path for path in every_module() if path.stem in VAGUE]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("import gin.config", "gin.config"),
        ("def f():\n  from experiments import nuts", "experiments.nuts"),
        ("from . import stan", "experiments.baselines.nuts.stan"),
        ("from ..vae import vq_vae_tf", "experiments.baselines.vae.vq_vae_tf"),
    ],
)
def test_every_way_to_import_is_seen(text, name):
    assert imported_names(text, "experiments.baselines.nuts.pymc") == [name]
