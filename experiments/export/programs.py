"""Loads exported programs with JAX: from portable StableHLO to a compiled function."""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export
from jax.extend.mlir.dialects import stablehlo

from experiments.export import packing
from experiments.inference.memory import memory_bytes


class Program:
    """A compiled program with its data on the device: arrays in, arrays out."""

    def __init__(self, compiled: Any, data: Sequence[Any], seconds: float) -> None:
        self._compiled, self._data = compiled, tuple(data)
        self.seconds = seconds  # of compilation

    def __call__(self, *args: Any) -> list[Any]:
        """What the program computes of flat arguments, on the device."""
        return list(self._compiled(*args, *self._data))

    def memory_bytes(self) -> int:
        """What the device needs to run it, arguments and results included."""
        found = self._compiled.memory_analysis()
        if found is None:
            return 0
        sizes = ("argument_size_in_bytes", "output_size_in_bytes", "temp_size_in_bytes")
        return sum(int(getattr(found, name)) for name in sizes)


class Programs:
    """The programs of one folder on one device; each is compiled once."""

    def __init__(self, folder: Path, manifest: dict[str, Any], device: Any) -> None:
        self._folder, self._manifest, self.device = folder, manifest, device
        self._data: dict[str, Any] = {}
        self._compiled: dict[str, Program] = {}

    def data_bytes(self) -> int:
        """The size of all data that the programs read."""
        return sum(
            int(np.prod(one["shape"])) * np.dtype(one["dtype"]).itemsize
            for one in self._manifest["data"].values()
        )

    def data(self, name: str) -> np.ndarray:
        """The data of this name in the manifest.

        Raises ValueError where they are not those that were exported.
        """
        stated = self._manifest["data"][name]
        array = packing.unpack(self._folder / stated["file"])
        if packing.digest(array) != stated["sha256"]:
            raise ValueError(f"{stated['file']}: unpacks to other values than exported")
        return array

    def load(self, name: str) -> Program:
        """The program of this name, compiled for the device.

        Raises ValueError, in one line, where this JAX cannot read or compile it.
        """
        if name in self._compiled:
            return self._compiled[name]
        stated = self._manifest["programs"][name]
        files, platform = stated["files"], self.device.platform
        kind = "cpu" if platform == "cpu" else "accelerator"
        blob = (self._folder / files[kind]).read_bytes()
        sharding = jax.sharding.SingleDeviceSharding(self.device)
        shapes = [*stated["arguments"]]
        for one in stated["data"]:
            if one not in self._data:
                self._data[one] = jax.device_put(self.data(one), self.device)
            shapes.append((self._data[one].dtype.name, self._data[one].shape))
        began = time.perf_counter()
        try:
            call = exported(name, blob, shapes, stated["results"], platform).call
            args = [
                jax.ShapeDtypeStruct(tuple(shape), dtype, sharding=sharding)
                for dtype, shape in shapes
            ]
            compiled = jax.jit(call).lower(*args).compile()
        except (ValueError, RuntimeError, TypeError, NotImplementedError) as error:
            text = " ".join(str(error).split())[:300]
            raise ValueError(
                f"{files[kind]}: jaxlib {jax.lib.__version__} cannot compile it for "
                f"{platform}, wanted one like {self._manifest['versions']['jaxlib']}, "
                f"which it was made with: {text}"
            ) from error
        data = [self._data[one] for one in stated["data"]]
        self._compiled[name] = Program(compiled, data, time.perf_counter() - began)
        return self._compiled[name]


def device_bytes(device: Any) -> int:
    """The memory of a device of JAX; of one that does not tell, this machine's."""
    stats = device.memory_stats() or {}
    return int(stats.get("bytes_limit", memory_bytes()))


def check_version(wanted: str) -> None:
    """Raises ValueError where this jaxlib reads no artifacts of this StableHLO."""

    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split(".")]

    low, high = stablehlo.get_minimum_version(), stablehlo.get_current_version()
    if not numbers(low) <= numbers(wanted) <= numbers(high):
        raise ValueError(
            f"jaxlib: {jax.lib.__version__} reads StableHLO {low} to {high}, wanted "
            f"one that reads {wanted}, as of the programs: install another jax"
        )


def exported(
    name: str,
    module: bytes,
    arguments: Sequence[tuple[str, Sequence[int]]],
    results: Sequence[tuple[str, Sequence[int]]],
    platform: str,
) -> export.Exported:
    """A portable StableHLO module as an export of JAX.

    JAX's own file format is read by the same JAX and by later ones of some months only;
    StableHLO's portable artifacts are read for years, and by earlier ones.  So the file
    is the artifact, and what JAX keeps beside it is made here.

    Raises NotImplementedError for a JAX whose exports have other parts.
    """
    arguments_in, results_out = (
        tuple(
            jax.core.ShapedArray(tuple(shape), np.dtype(dtype)) for dtype, shape in of
        )
        for of in (arguments, results)
    )
    convention = export.maximum_supported_calling_convention_version
    num_in, num_out = len(arguments_in), len(results_out)
    parts: dict[str, Any] = {
        "fun_name": name.replace("-", "_"),
        "in_tree": jax.tree.structure(((0,) * num_in, {})),
        "in_avals": arguments_in,
        "out_tree": jax.tree.structure((0,) * num_out),
        "out_avals": results_out,
        "_in_named_shardings": (None,) * num_in,
        "_out_named_shardings": (None,) * num_out,
        "in_shardings_hlo": (None,) * num_in,
        "out_shardings_hlo": (None,) * num_out,
        "_has_named_shardings": False,
        "nr_devices": 1,
        "platforms": ("cuda" if platform == "gpu" else platform,),
        "ordered_effects": (),
        "unordered_effects": (),
        "disabled_safety_checks": (export.DisabledSafetyCheck.platform(),),
        "mlir_module_serialized": module,
        "calling_convention_version": convention,
        # TensorFlow leaves empty arguments out of the module.
        "module_kept_var_idx": tuple(
            i for i, one in enumerate(arguments_in) if one.size
        ),
        "uses_global_constants": False,
        "_get_vjp": None,
    }
    wanted = [field.name for field in dataclasses.fields(export.Exported)]
    unknown = [field for field in wanted if field not in parts]
    if unknown:
        raise NotImplementedError(
            f"exports of JAX {jax.__version__} have {unknown} too"
        )
    return export.Exported(**{field: parts[field] for field in wanted})
