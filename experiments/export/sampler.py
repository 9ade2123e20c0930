"""The exported sampler: the programs of a folder behind the interface of a kernel."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from experiments.export.programs import Programs
from experiments.inference import streams
from experiments.inference.loop_state import Loop, Setting
from experiments.inference.tile_run import Tile
from experiments.inference.tiles import Kernel
from experiments.inference.warmup_state import WarmupSettings


def flatten(parts: Any) -> list[Any]:
    """The arrays in nested tuples, in order, which is that of a program's arguments."""
    if isinstance(parts, tuple):
        return [leaf for part in parts for leaf in flatten(part)]
    return [parts]


def pack_as(structure: Any, leaves: list[Any]) -> Any:
    """These arrays in the structure of nested (named) tuples; takes them from `leaves`.

    The inverse of `flatten`.
    """
    if not isinstance(structure, tuple):
        return leaves.pop(0)
    parts = [pack_as(part, leaves) for part in structure]
    return type(structure)(*parts) if hasattr(structure, "_fields") else tuple(parts)


def warmup_settings(manifest: dict[str, Any]) -> WarmupSettings:
    """The settings that the sampler was exported with."""
    stated = dict(manifest["settings"]["warmup"])
    if stated["inverse_mass"] is not None:
        stated["inverse_mass"] = np.asarray(stated["inverse_mass"])
    return WarmupSettings(**stated)


def tile_size(manifest: dict[str, Any], num_chains: int, platform: str) -> int:
    """How many chains a program moves together.

    On a CPU those of the reference, so that the draws are the same to the last bit; on
    an accelerator all of them, if there is such a program.
    """
    sizes = sorted(
        one["chains"]
        for one in manifest["programs"].values()
        if one["role"] == "transitions"
    )
    if platform == "cpu" and str(num_chains) in manifest["tiles"]:
        return int(manifest["tiles"][str(num_chains)])
    enough = [size for size in sizes if size >= num_chains]
    return enough[0] if enough else sizes[-1]


def kernel_of(
    programs: Programs,
    manifest: dict[str, Any],
    num_chains: int,
    *,
    size: int | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Kernel:
    """The exported sampler of so many chains; its programs are compiled on first use.

    size: chains of a tile; None: those of `tile_size`.
    """
    settings = manifest["settings"]
    size = size or tile_size(manifest, num_chains, programs.device.platform)
    name = f"transitions-{size}"
    rows = int(manifest["programs"][name]["rows"])
    dim, max_depth = settings["dim"], settings["warmup"]["max_depth"]
    draw = functools.partial(
        streams.draw,
        rows=rows,
        dim=dim,
        max_depth=max_depth,
        dtype=np.dtype(settings["dtype"]),
        energy_dtype=np.dtype(settings["log_prob_dtype"]),
    )

    def transitions(loop: Loop, setting: Setting, numbers: streams.Numbers) -> Loop:
        program = programs.load(name)
        return pack_as(loop, program(*flatten((loop, setting, numbers))))

    def numbers(*args: Any) -> streams.Numbers:
        first, *rest = draw(*args)
        # Once for the many calls that read them.
        return streams.Numbers(
            first, *(jax.device_put(part, programs.device) for part in rest)
        )

    def density(position: np.ndarray) -> tuple[Any, Any]:
        log_prob, grad = programs.load(f"density-{size}")(position)
        return log_prob, grad

    tiles = tuple(
        Tile(
            slice(first, min(first + size, num_chains)),
            np.arange(first, first + size, dtype=np.int32),
        )
        for first in range(0, num_chains, size)
    )
    return Kernel(
        num_chains=num_chains,
        dim=dim,
        max_depth=max_depth,
        first_chain=0,
        dtype=np.dtype(settings["dtype"]),
        log_prob_dtype=np.dtype(settings["log_prob_dtype"]),
        keep_grads=settings["warmup"]["metric"] == "gradient",
        tiles=tiles,
        rows=rows,
        extend=lambda loop: loop,
        density=density,
        transitions=transitions,
        numbers=numbers,
        should_stop=should_stop,
    )


def by_name(
    programs: Programs, manifest: dict[str, Any], draws: np.ndarray
) -> dict[str, np.ndarray]:
    """The variables' values at draws [chains, num, dim]: [chains, num, ...] by name."""
    program, batch = (
        programs.load("constrain"),
        manifest["programs"]["constrain"]["rows"],
    )
    flat = draws.reshape(-1, draws.shape[-1])
    parts: list[list[np.ndarray]] = []
    for first in range(0, len(flat), batch):
        some = flat[first : first + batch]
        padded = np.concatenate([some, np.repeat(some[:1], batch - len(some), axis=0)])
        parts.append([np.asarray(one)[: len(some)] for one in program(padded)])
    whole = [np.concatenate(part) for part in zip(*parts, strict=True)]
    names = [one["name"] for one in manifest["values"]]
    return {
        name: value.reshape(*draws.shape[:2], *value.shape[1:])
        for name, value in zip(names, whole, strict=True)
    }
