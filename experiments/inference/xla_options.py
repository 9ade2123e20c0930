"""Options of XLA's CPU compiler that suit the sampler's loop.

XLA reads them once, when it first compiles.
"""

import functools
import hashlib
import os
from pathlib import Path

# XLA compiles a loop as one function, without the cost of starting each operation of
# each turn, if what the loop reads and writes is smaller than this many bytes.
LOOP_BYTES = 4 << 20
SMALL_LOOP = "xla_cpu_small_while_loop_byte_threshold"
OPTIONS = {
    "--xla_backend_extra_options": f"{SMALL_LOOP}={LOOP_BYTES}",
    # In loops compiled as one, minimum and maximum would otherwise swallow NaN.
    "--xla_cpu_enable_fast_min_max": "false",
    # A third less compile time than level 3, and the same speed.
    "--xla_backend_optimization_level": "2",
}
# JAX's XLA does not know it, and ends the process where it reads it.  It saves up to a
# fifth of the compile time; the draws are the same, and as fast.
OPTIONS_OF_TENSORFLOW = {"--xla_cpu_use_fusion_emitters": "false"}
_USERS = os.environ.get("XLA_FLAGS")
CACHE = "PPL_COMPILE_CACHE"  # the environment variable that names the folder
CACHE_OPTION = "--tf_xla_persistent_cache_directory"


def set_options() -> None:
    """Adds the options to XLA_FLAGS, but those that the user has set.

    With PPL_COMPILE_CACHE, XLA keeps what it compiles in that folder: a later process
    then compiles nothing that is there.  See `cache_folder`.

    Raises ValueError for a folder with white space, which TensorFlow cannot read.
    """
    _add("XLA_FLAGS", OPTIONS)
    if cache := os.environ.get(CACHE):
        folder = cache_folder(Path(cache).absolute())
        if len(str(folder).split()) > 1:
            raise ValueError(
                f"{CACHE}: given {cache!r}, wanted a folder without white space"
            )
        folder.mkdir(parents=True, exist_ok=True)
        _add("TF_XLA_FLAGS", {CACHE_OPTION: str(folder)})


@functools.cache
def read_options() -> None:
    """Makes TensorFlow's XLA read the options; XLA_FLAGS then is the user's again.

    Programs that this process starts, and JAX within it, have their own XLA.

    Raises ValueError where PPL_COMPILE_CACHE has a damaged file.
    """
    import tensorflow as tf  # not above, since a process may set the options without it

    set_options()
    _add("XLA_FLAGS", OPTIONS_OF_TENSORFLOW)
    # XLA reads them when it compiles for the first time.
    first = tf.function(lambda: tf.constant(0) + 1, jit_compile=True, autograph=False)
    try:
        first()
    except tf.errors.OpError as error:
        if cache := os.environ.get(CACHE):
            raise ValueError(
                f"{CACHE}: given {cache!r}, whose programs cannot be read: "
                f"{error.message}; remove that folder"
            ) from error
        raise
    finally:
        if _USERS is None:
            del os.environ["XLA_FLAGS"]
        else:
            os.environ["XLA_FLAGS"] = _USERS


def cache_folder(cache: Path) -> Path:
    """The folder of this CPU, TensorFlow and XLA_FLAGS within `cache`.

    TensorFlow's key of a program is the program alone, but its machine code depends on
    these as well.
    """
    import tensorflow as tf

    cpu = [
        line
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith(("model name", "flags", "Features", "CPU part"))
    ]
    parts = [
        tf.version.VERSION,
        os.environ.get("XLA_FLAGS", ""),
        *sorted(set(cpu)),
        str(len(os.sched_getaffinity(0))),
    ]
    return cache / hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _add(variable: str, options: dict[str, str]) -> None:
    flags = os.environ.get(variable, "").split()
    names = {flag.split("=", 1)[0] for flag in flags}
    flags += [f"{name}={value}" for name, value in options.items() if name not in names]
    os.environ[variable] = " ".join(flags)
