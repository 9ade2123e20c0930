"""The Forest Covertype data (UCI), prepared as the paper's NUTS experiment does.

Source, licence and the making of the compact file: COVERTYPE.md beside this module.
"""

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from experiments.datasets.files import BROKEN_ZIP
from experiments.datasets.regression import RegressionProblem

ROWS = 581_012
CONTINUOUS = (
    "Elevation",
    "Aspect",
    "Slope",
    "Horizontal_Distance_To_Hydrology",
    "Vertical_Distance_To_Hydrology",
    "Horizontal_Distance_To_Roadways",
    "Hillshade_9am",
    "Hillshade_Noon",
    "Hillshade_3pm",
    "Horizontal_Distance_To_Fire_Points",
)
NUM_WILDERNESS = 4
NUM_SOIL = 40
NUM_FEATURES = len(CONTINUOUS) + NUM_WILDERNESS + NUM_SOIL
COLUMNS = (  # of the UCI csv, in its order
    *CONTINUOUS,
    *(f"Wilderness_Area{i}" for i in range(1, NUM_WILDERNESS + 1)),
    *(f"Soil_Type{i}" for i in range(1, NUM_SOIL + 1)),
    "Cover_Type",
)

# The arrays of a compact file, which is an npz that also holds `columns`, the names
# above. One-hot groups are stored as the index of their one.
FIELDS = {  # dtype, shape, lowest and highest value
    "continuous": (np.int16, (len(CONTINUOUS), ROWS), -32768, 32767),
    "wilderness": (np.uint8, (ROWS,), 0, NUM_WILDERNESS - 1),
    "soil": (np.uint8, (ROWS,), 0, NUM_SOIL - 1),
    "cover_type": (np.uint8, (ROWS,), 1, 7),
}
COMPACT_FILE = Path(__file__).with_name("covertype.npz")
COMPACT_FILE_SHA256 = "f69c58faf2421c1a38f00f01831474c031d302a3bd9c6e2f42a213758dd1b671"
# The values' digest, by content_sha256:
CONTENT_SHA256 = "6e51a78550cd1c817c5f0bb9b19ff8eb5a234fbe6d9a853ee51b93eab506f678"

LABELLINGS = {"cover_type_1": 1, "most_frequent": 2}  # the class whose rows count as 1

# The state after 20 NUTS steps that Edward2 (Apache-2.0) gives every system to start
# from: examples/no_u_turn_sampler/logistic_regression.py in its repository.
WARM_START = (
    2.03420663, -0.0353567265, -0.149223924, -0.307049364, -0.100028366,
    -0.146827862, -0.164167881, -0.420344204, 0.0947479829, -0.0112681836,
    0.264442056, -0.122087866, -0.0600568838, -0.379419506, -0.106668741,
    -0.297053963, -0.205253899, -0.0469537191, -0.027807273, -0.143250525,
    -0.0677954629, -0.00434899796, 0.0590927452, 0.0723133609, 0.0138526391,
    -0.124497898, -0.0150733739, -0.0268872194, -0.0180925727, 0.0347936489,
    0.04035528, -0.00998773426, 0.062018808, 0.115002751, 0.132145107,
    0.269109547, 0.245785132, 0.119035013, -0.0259744357, 0.000994279515,
    0.0339266285, -0.0144057125, -0.0695222765, -0.0752013028, 0.121171586,
    0.0229205526, 0.147308692, -0.0834354162, -0.0934122875, -0.0297472421,
    -0.303937674, -0.170958012, -0.15949668, -0.188516974, -1.20889175,
)  # fmt: skip


def content_sha256(arrays: Mapping[str, np.ndarray]) -> str:
    """The sha256 of the arrays' values, which no choice of compression changes."""
    digest = hashlib.sha256()
    for name in FIELDS:
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


def load_compact(path: Path | str | None = None) -> dict[str, np.ndarray]:
    """The checked arrays of FIELDS from the file at `path`, or from the built-in one.

    The built-in file must have the pinned sha256. A file given by path may be packed
    in another way (any npz) but must hold the very same values.

    Raises FileNotFoundError for a missing file, and ValueError, naming the file, for
    one that is truncated or no npz, for an array that is missing or has another dtype,
    shape or range, and for values that are not those of the UCI file.
    """
    file = COMPACT_FILE if path is None else Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file, wanted the compact covertype")
    if path is None:
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        if sha256 != COMPACT_FILE_SHA256:
            raise ValueError(
                f"{file}: sha256 is {sha256}, wanted {COMPACT_FILE_SHA256}; check the "
                "file out again, or make it: "
                "python -m experiments.datasets.make_covertype"
            )
    arrays = _read_npz(file)
    for name in FIELDS:
        _check_field(file, name, arrays[name])
    sha256 = content_sha256(arrays)
    if sha256 != CONTENT_SHA256:
        raise ValueError(
            f"{file}: sha256 of the values is {sha256}, wanted {CONTENT_SHA256}: some "
            "value is not the UCI file's"
        )
    return arrays


def _read_npz(file: Path) -> dict[str, np.ndarray]:
    with file.open("rb") as stream:
        if not zipfile.is_zipfile(stream):
            size = file.stat().st_size
            raise ValueError(f"{file}: no npz, or a truncated one ({size} bytes)")
        stream.seek(0)
        try:
            with np.load(stream, allow_pickle=False) as archive:
                arrays = {name: np.asarray(archive[name]) for name in archive.files}
        except BROKEN_ZIP as error:
            raise ValueError(f"{file}: cannot be read as an npz: {error}") from error
    wanted = {*FIELDS, "columns"}
    if arrays.keys() != wanted:
        raise ValueError(f"{file}: holds {sorted(arrays)}, wanted {sorted(wanted)}")
    columns = arrays.pop("columns")
    if columns.shape != (len(COLUMNS),):
        raise ValueError(
            f"{file}: columns has shape {columns.shape}, wanted ({len(COLUMNS)},)"
        )
    for i, (column, name) in enumerate(zip(columns.tolist(), COLUMNS, strict=True)):
        if column != name:
            raise ValueError(f"{file}: columns[{i}] is {column!r}, wanted {name!r}")
    return arrays


def _check_field(file: Path, name: str, array: np.ndarray) -> None:
    dtype, shape, low, high = FIELDS[name]
    if array.dtype != dtype:
        message = f"{file}: {name} is {array.dtype}, wanted {np.dtype(dtype)}"
        if np.issubdtype(array.dtype, np.floating):
            message += f" ({np.sum(~np.isfinite(array))} of its values are not finite)"
        raise ValueError(message)
    if array.shape != shape:
        raise ValueError(f"{file}: {name} has shape {array.shape}, wanted {shape}")
    if array.min() < low or array.max() > high:
        raise ValueError(
            f"{file}: {name} runs from {array.min()} to {array.max()}, wanted values "
            f"from {low} to {high}"
        )


def load_covertype(
    *,
    num_rows: int | None = None,
    seed: int = 0,
    labelling: str = "cover_type_1",
    path: Path | str | None = None,
) -> RegressionProblem:
    """The logistic regression of the paper's NUTS table: 581,012 rows, 55 columns.

    All 54 columns are standardised by the mean and the population standard deviation
    (ddof 0) of the full data, in float64; a last column of ones is the intercept;
    the cast to float32 comes last. With `num_rows`, that many rows are drawn without
    replacement by `seed` and stay in their original order. They are still standardised
    by the full data, so a row has the same numbers in every subset.

    labelling "cover_type_1": the 211,840 rows of cover type 1 are the ones. The
        published script means the most frequent class, but takes the argmax over the
        class counts, a 0-based 1, for a label, and labels begin at 1. Its warm start
        (`start`) fits these labels only.
    labelling "most_frequent": the 283,301 rows of cover type 2 are the ones, as the
        script meant it. No start was published: `start` is zeros.

    Raises ValueError for another labelling or a num_rows outside 1 to 581,012, and
    what load_compact raises. Tran et al. (2018), section 4.2; Edward2,
    examples/no_u_turn_sampler/logistic_regression.py.

    >>> problem = load_covertype(num_rows=1000)
    >>> problem.features.shape, problem.start.shape
    ((1000, 55), (55,))
    """
    if labelling not in LABELLINGS:
        raise ValueError(
            f"labelling: given {labelling!r}, wanted one of {sorted(LABELLINGS)}"
        )
    is_integer = isinstance(num_rows, int | np.integer) and num_rows is not True
    if num_rows is not None and not (is_integer and 1 <= num_rows <= ROWS):
        raise ValueError(
            f"num_rows: given {num_rows!r}, wanted None or a whole number from 1 to "
            f"{ROWS}"
        )
    if seed < 0:
        raise ValueError(f"seed: given {seed}, wanted 0 or more")
    arrays = load_compact(path)
    source = "UCI Covertype, doi:10.24432/C50K5N"
    rows = np.arange(ROWS)
    if num_rows is not None and num_rows < ROWS:
        generator = np.random.default_rng(seed)
        rows = np.sort(generator.choice(ROWS, size=num_rows, replace=False))
        source += f", {num_rows} of {ROWS} rows (seed {seed})"
    labels = arrays["cover_type"][rows] == LABELLINGS[labelling]
    features = _standardised(arrays, rows)
    start = np.zeros(NUM_FEATURES + 1)
    if labelling == "cover_type_1":
        start = np.array(WARM_START)
    return RegressionProblem(
        name="covertype",
        source=source,
        features=features,
        labels=labels.astype(np.int32),
        start=start.astype(np.float32),
    )


def _standardised(arrays: Mapping[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
    """The chosen rows, by the full data's moments: [rows, 55] float32, ones last."""
    features = np.ones([len(rows), NUM_FEATURES + 1], np.float32)
    for i, values in enumerate(arrays["continuous"]):
        column = values.astype(np.float64)  # one column at a time: 5 MB
        features[:, i] = (column[rows] - column.mean()) / column.std()
    first = len(CONTINUOUS)
    for name, num_classes in (("wilderness", NUM_WILDERNESS), ("soil", NUM_SOIL)):
        # A one-hot column takes two values: off everywhere, and on where it is hot.
        index = arrays[name]
        mean = np.bincount(index, minlength=num_classes) / ROWS
        std = np.sqrt(mean * (1 - mean))
        features[:, first : first + num_classes] = (0 - mean) / std
        hot = index[rows]
        features[np.arange(len(rows)), first + hot] = ((1 - mean) / std)[hot]
        first += num_classes
    return features
