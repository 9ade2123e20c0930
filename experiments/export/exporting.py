"""Writes a sampler of a posterior as a folder of programs, data and reference draws."""

import dataclasses
import importlib.metadata
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from experiments.datasets.regression import RegressionProblem
from experiments.export import folder as folders
from experiments.export import packing
from experiments.export.lowering import STABLEHLO_VERSION, lower
from experiments.inference import SamplerSettings, drawing, results, saved
from experiments.inference.kernel import compile_kernel
from experiments.inference.loop_state import Setting
from experiments.inference.tiles import Kernel
from experiments.inference.warmup_state import WarmupSettings
from experiments.records import provenance

REPO = Path(__file__).resolve().parents[2]
GROUP_BYTES = 16 << 20  # of an array of data beside the draws
CONSTRAIN_ROWS = 256  # draws that one call names the values of
# Copied into the folder: none of them imports TensorFlow.
RUNNER = (
    "__init__",
    "inference/__init__",
    *(
        f"inference/{name}"
        for name in (
            "drawing loop_state memory metric named_statistics philox samples saved "
            "settings starts step_size streams tile_run tiles warmup warmup_state "
            "windows xla_options"
        ).split()
    ),
    "export/__init__",
    *(
        f"export/{name}"
        for name in (
            "comparing folder netcdf packing programs running sampler timing"
        ).split()
    ),
)


class Plan(NamedTuple):
    """What is exported."""

    name: str
    posterior: Any  # of ppl.posterior
    warmup: WarmupSettings
    num_chains: int
    num_draws: int
    seed: int
    start: np.ndarray | None  # [chains, dim]; None: drawn
    config: str  # gin's text, for the record
    argv: Sequence[str]


def plan_of_regression(
    problem: RegressionProblem,
    settings: SamplerSettings,
    posterior: Any,
    *,
    num_chains: int,
    **facts: Any,
) -> Plan:
    """NUTS with a fixed step from the problem's own start, the same of every chain.

    posterior: of the problem, in one block, since XLA compiles the loop only so.
    facts: the seed, the config and the command line.
    """
    return Plan(
        name=problem.name,
        posterior=posterior,
        warmup=WarmupSettings(
            num_warmup=0, step_size=settings.step_size, max_depth=settings.max_depth
        ),
        num_chains=num_chains,
        num_draws=settings.num_results,
        start=np.repeat(problem.start[np.newaxis], num_chains, 0).astype(np.float64),
        **facts,
    )


def export(
    plan: Plan,
    out: Path,
    *,
    more_chains: Sequence[int] = (),
    num_reference: int = 100,
) -> dict[str, Any]:
    """Writes the folder `out`, which must not be there or be empty: its manifest.

    more_chains: further numbers of chains that programs move at once.
    num_reference: kept draws of each chain in the reference, at most `plan.num_draws`.

    Raises ValueError, naming it, for what XLA cannot compile, for a folder with files,
    where JAX is not installed, and where no chain can start.
    """
    folders.check_new(out)
    try:
        return _export(plan, out, sorted({*more_chains}), num_reference)
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise


def _export(
    plan: Plan, out: Path, more_chains: Sequence[int], num_reference: int
) -> dict[str, Any]:
    # Dots of full precision, also on GPUs.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    data = _Data(out)
    kernel = _compile(plan, plan.num_chains)
    own_tile = len(kernel.tiles[0].numbers)
    sizes = sorted({own_tile, plan.num_chains, *more_chains})
    programs: dict[str, Any] = {}
    for size in sizes:
        of_size = kernel if size == own_tile else _compile(plan, size, tile_size=size)
        programs |= _programs_of(of_size, plan, size, data, out)
    programs["constrain"] = _constrain(plan, data, out)
    num = min(num_reference, plan.num_draws)
    reference = _reference(kernel, plan, num)
    saved.write(out / "reference.npz", reference)
    if plan.start is not None:
        saved.write(out / "start.npz", {"start": plan.start})
    coords: dict[str, Any] = {}
    values = [*_values(plan.posterior, coords)]
    groups = _groups(plan.posterior, data, coords)
    _copy_runner(out)
    posterior = plan.posterior
    manifest = {
        "kind": "nuts",
        "name": plan.name,
        "stablehlo": STABLEHLO_VERSION,
        "precision": "highest",
        "versions": {
            **provenance.versions(),
            "jaxlib": importlib.metadata.version("jaxlib"),
        },
        "settings": {
            "seed": plan.seed,
            "num_chains": plan.num_chains,
            "num_draws": plan.num_draws,
            "dim": int(posterior.dim),
            "dtype": kernel.dtype.name,
            "log_prob_dtype": kernel.log_prob_dtype.name,
            "warmup": _plain(dataclasses.asdict(plan.warmup)),
        },
        "tiles": {str(plan.num_chains): own_tile},
        "start": None if plan.start is None else "start.npz",
        "variables": {
            "names": list(posterior.names),
            "sizes": [int(size) for size in posterior.sizes],
        },
        "values": values,
        "coords": coords,
        "groups": groups,
        "programs": programs,
        "data": data.stated,
        "reference": {
            "file": "reference.npz",
            "num_draws": num,
            "hardware": provenance.hardware(),
        },
        "provenance": provenance.collect(argv=plan.argv, config=plan.config),
        "config": plan.config,
    }
    folders.write_manifest(out, manifest)
    return manifest


class _Data:
    """The data of all programs, each array written once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.stated: dict[str, Any] = {}

    def add(self, array: np.ndarray) -> str:
        """The name of the array in the manifest."""
        array = np.asarray(array)
        whole = packing.digest(array)
        name = whole[:16]
        if name not in self.stated:
            (self._folder / "data").mkdir(parents=True, exist_ok=True)
            packing.pack(self._folder / "data" / f"{name}.npz", array)
            self.stated[name] = {
                "file": f"data/{name}.npz",
                "dtype": array.dtype.name,
                "shape": list(array.shape),
                "sha256": whole,
            }
        return name


def _compile(plan: Plan, num_chains: int, tile_size: int | None = None) -> Kernel:
    posterior = plan.posterior
    return compile_kernel(
        posterior.log_prob_and_grad,
        num_chains=num_chains,
        dim=posterior.dim,
        max_depth=plan.warmup.max_depth,
        keep_grads=plan.warmup.metric == "gradient",
        tile_size=tile_size,
    )


def _programs_of(
    kernel: Kernel, plan: Plan, size: int, data: _Data, out: Path
) -> dict[str, Any]:
    """The programs of so many chains: they start, warm up and draw by `transitions`."""
    dim, chains = kernel.dim, np.arange(size, dtype=np.int32)
    loop = kernel.empty_loop(size)
    dense = plan.warmup.metric == "dense"
    setting = Setting(
        chains=chains,
        num_draws=np.int32(0),
        until=np.int32(0),
        max_depth=np.int32(kernel.max_depth),
        max_turns=np.int32(0),
        adapting=np.bool_(False),
        target_accept=np.float64(0.8),
        scale=np.zeros((size, dim, dim) if dense else (dim, size), kernel.dtype),
    )
    zeros = np.zeros(2, np.int32)
    numbers = kernel.numbers(zeros, chains, np.zeros(size, np.int32), 1)
    of_role = {
        "transitions": (kernel.program, (loop, setting, numbers)),
        "density": (kernel.density, (np.zeros((size, dim), kernel.dtype),)),
    }
    return {
        f"{role}-{size}": {
            "role": role,
            "chains": size,
            "rows": kernel.rows,
            **_write_program(f"{role}-{size}", function, args, data, out),
        }
        for role, (function, args) in of_role.items()
    }


def _constrain(plan: Plan, data: _Data, out: Path) -> dict[str, Any]:
    posterior = plan.posterior

    @tf.function(jit_compile=True, autograph=False)
    def constrain(vectors: tf.Tensor) -> list[tf.Tensor]:
        values = posterior.constrain(vectors)
        return [values[name] for name in sorted(values)]

    vectors = np.zeros((CONSTRAIN_ROWS, posterior.dim), _dtype(posterior))
    stated = _write_program("constrain", constrain, (vectors,), data, out)
    return {"role": "constrain", "rows": CONSTRAIN_ROWS, **stated}


def _write_program(
    name: str, function: Any, args: Any, data: _Data, out: Path
) -> dict[str, Any]:
    """Writes a program, and returns what the manifest says of it."""
    lowered = lower(name, function, *args)
    (out / "programs").mkdir(parents=True, exist_ok=True)
    files, written = {}, {}
    for kind, module in lowered.modules.items():
        if module not in written:
            suffix = "" if not written else f"-{kind}"
            written[module] = f"programs/{name}{suffix}.mlir"
            (out / written[module]).write_bytes(module)
        files[kind] = written[module]
    return {
        "files": files,
        "arguments": lowered.arguments,
        "results": lowered.results,
        "data": [data.add(array) for array in lowered.data],
    }


def _reference(kernel: Kernel, plan: Plan, num: int) -> dict[str, np.ndarray]:
    """Draws of TensorFlow, and the warm-up that they go on from."""
    samples, found = drawing.kept(
        drawing.chunks(
            kernel,
            plan.warmup,
            num_draws=num,
            seed=drawing.seed_pair(plan.seed),
            posterior=plan.posterior,
            start=plan.start,
        )
    )
    return {
        **samples._asdict(),
        "step_size": found.step_size,
        "scale": found.scale,
        "position": found.position,
    }


def _values(posterior: Any, coords: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The named values, in the order of the results of the program `constrain`."""
    vectors = tf.zeros((1, posterior.dim), _dtype(posterior))
    found = posterior.constrain(vectors)
    for name in sorted(found):
        shape = [int(size) for size in found[name].shape[1:]]
        yield {
            "name": results.flat_name(name),
            "shape": shape,
            "dims": _dims(name, shape, posterior, coords),
        }


def _groups(
    posterior: Any, data: _Data, coords: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """Observed data and the program's arguments, but for text and large arrays."""
    source = getattr(posterior, "source", None)
    if source is None:
        return {}
    found: dict[str, Mapping[str, Any]] = {
        "observed_data": source.observed_data(),
        "constant_data": source.constant_data(),
    }
    return {
        group: {
            results.flat_name(name): {
                "data": data.add(np.asarray(value)),
                "dims": _dims(name, np.shape(value), posterior, coords),
            }
            for name, value in values.items()
            if _is_small_number(np.asarray(value))
        }
        for group, values in found.items()
        if values
    }


def _is_small_number(value: np.ndarray) -> bool:
    """Whether it is of numbers, and not so many that each run would write them."""
    return value.dtype.kind in "biuf" and value.nbytes <= GROUP_BYTES


def _dims(
    name: str, shape: Sequence[int], posterior: Any, coords: dict[str, Any]
) -> list[str]:
    dims, labels = results.layout(name, shape, posterior)
    known = getattr(posterior, "coords", None) or {}
    coords |= {dim: np.asarray(labels[dim]).tolist() for dim in dims if dim in known}
    return list(dims)


def _copy_runner(out: Path) -> None:
    """Copies the modules that run the folder, and the script that calls them."""
    for name in RUNNER:
        target = out / "runner" / "experiments" / f"{name}.py"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPO / "experiments" / f"{name}.py", target)
    script = Path(__file__).with_name("run_exported.py")
    shutil.copyfile(script, out / "run_exported.py")


def _dtype(posterior: Any) -> Any:
    return tf.as_dtype(posterior.dtype).as_numpy_dtype


def _plain(value: Any) -> Any:
    """The value with lists in place of arrays."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return np.asarray(value).tolist() if isinstance(value, np.ndarray) else value
