"""Rebuilds the compact covertype file from sklearn.datasets.fetch_covtype().

python -m experiments.datasets.make_covertype [--out FILE]
"""

import argparse
import hashlib
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from experiments.datasets import covertype

CSV_SHA256 = "0a9371cef7c964b5475d6053cc3e0894a5aa6f65ad1ed3ecb01c45aa96217945"
CSV_BYTES = 75_169_317  # covtype.data, unpacked
CSV_CHUNK_ROWS = 65_536


def compact(data: np.ndarray, target: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of covertype.FIELDS for all rows of `data`.

    data: [rows, 54] numbers in the order of covertype.COLUMNS; target: [rows] 1 to 7.

    Raises ValueError for other shapes, and for a value that the compact form cannot
    hold: a fraction, out of range, or a one-hot group without its single 1.
    """
    data, target = np.asarray(data), np.asarray(target)
    if data.ndim != 2 or data.shape[1] != covertype.NUM_FEATURES:
        raise ValueError(
            f"data: given shape {data.shape}, wanted [rows, {covertype.NUM_FEATURES}]"
        )
    if target.shape != data.shape[:1]:
        raise ValueError(
            f"target: given shape {target.shape}, wanted {data.shape[:1]} as data has"
        )
    num_continuous = len(covertype.CONTINUOUS)
    first_soil = num_continuous + covertype.NUM_WILDERNESS
    continuous = np.empty([num_continuous, len(data)], np.int16)
    for i, name in enumerate(covertype.CONTINUOUS):
        continuous[i] = _whole(name, data[:, i], "continuous")
    return {
        "continuous": continuous,
        "wilderness": _hot_index("wilderness", data[:, num_continuous:first_soil]),
        "soil": _hot_index("soil", data[:, first_soil:]),
        "cover_type": _whole("target", target, "cover_type"),
    }


def _whole(name: str, values: np.ndarray, field: str) -> np.ndarray:
    dtype, _, low, high = covertype.FIELDS[field]
    fits = (values >= low) & (values <= high)  # False for NaN
    fits &= values == np.rint(values)
    if not fits.all():
        row = int(np.argmin(fits))
        raise ValueError(
            f"{name}: row {row} is {values[row]}, wanted a whole number from {low} to "
            f"{high}"
        )
    return values.astype(dtype)


def _hot_index(name: str, block: np.ndarray) -> np.ndarray:
    fits = ((block == 0) | (block == 1)).all(axis=1) & (block.sum(axis=1) == 1)
    if not fits.all():
        row = int(np.argmin(fits))
        raise ValueError(
            f"{name}: row {row} is {block[row].tolist()}, wanted a single 1 among 0s"
        )
    return block.argmax(axis=1).astype(np.uint8)


def csv_chunks(arrays: Mapping[str, np.ndarray]) -> Iterator[bytes]:
    """The UCI csv (covtype.data) from compact arrays, some 65,536 lines at a time."""
    low, high = arrays["continuous"].min(), arrays["continuous"].max()
    numbers = _texts([f"{value}," for value in range(low, high + 1)])
    wilderness = _texts(_one_hot_texts(covertype.NUM_WILDERNESS))
    soil = _texts(_one_hot_texts(covertype.NUM_SOIL))
    cover_type = _texts([f"{value}\n" for value in range(8)])
    for first in range(0, len(arrays["cover_type"]), CSV_CHUNK_ROWS):
        rows = slice(first, first + CSV_CHUNK_ROWS)
        offsets = arrays["continuous"][:, rows].astype(np.int32) - low
        parts = [numbers[column] for column in offsets]
        parts.append(wilderness[arrays["wilderness"][rows]])
        parts.append(soil[arrays["soil"][rows]])
        parts.append(cover_type[arrays["cover_type"][rows]])
        text = np.concatenate(parts, axis=1)
        yield text[text != 0].tobytes()


def _one_hot_texts(num_classes: int) -> list[str]:
    rows = np.eye(num_classes, dtype=int).tolist()
    return ["".join(f"{value}," for value in row) for row in rows]


def _texts(texts: list[str]) -> np.ndarray:
    """The texts as rows of bytes, padded with zero bytes: [texts, width] uint8."""
    padded = np.array(texts, dtype="S")
    return padded.view(np.uint8).reshape(len(texts), padded.itemsize)


def csv_sha256(arrays: Mapping[str, np.ndarray]) -> tuple[str, int]:
    """The sha256 and the number of bytes of the csv of `csv_chunks`."""
    digest, size = hashlib.sha256(), 0
    for chunk in csv_chunks(arrays):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


def write_compact(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """Writes an npz atomically.  Equal arrays give equal bytes.

    It is packed by LZMA, which np.load reads and np.savez cannot write: 3.5 MB against
    5.2 MB.
    """
    fields = dict(arrays, columns=np.array(covertype.COLUMNS))
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_LZMA) as archive:
            for name, array in fields.items():
                member = zipfile.ZipInfo(f"{name}.npy")  # dated 1980, as np.savez does
                member.compress_type = zipfile.ZIP_LZMA
                member.create_system = 3  # the writing system would show in the bytes
                with archive.open(member, "w") as stream:
                    np.lib.format.write_array(stream, array, allow_pickle=False)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Fetches, packs, checks that nothing was lost, writes, and reads back.

    Raises ValueError, and writes nothing, when the csv rebuilt from the packed arrays
    is not the UCI file.
    """
    parser = argparse.ArgumentParser(
        prog="python -m experiments.datasets.make_covertype",
        description="Makes the compact covertype file from scikit-learn's download.",
    )
    parser.add_argument("--out", type=Path, default=covertype.COMPACT_FILE)
    out = parser.parse_args(argv).out
    if not out.parent.is_dir():
        raise FileNotFoundError(f"--out: no folder {out.parent} to write {out.name} in")

    from sklearn import datasets  # a second to import, and only this function needs it

    fetched = datasets.fetch_covtype()
    arrays = compact(fetched.data, fetched.target)
    sha256, size = csv_sha256(arrays)
    if (sha256, size) != (CSV_SHA256, CSV_BYTES):
        raise ValueError(
            f"the csv rebuilt has sha256 {sha256} and {size} bytes, wanted "
            f"{CSV_SHA256} and {CSV_BYTES}: what was fetched is not the UCI file"
        )
    write_compact(arrays, out)
    covertype.load_compact(out)
    file_bytes = out.read_bytes()
    file_sha256 = hashlib.sha256(file_bytes).hexdigest()
    print(f"{out}: {len(file_bytes)} bytes, sha256 {file_sha256}")
    if file_sha256 != covertype.COMPACT_FILE_SHA256:
        print(
            "The values are the UCI file's, but another LZMA library packed them: load "
            "the file by its path, or pin its sha256 as COMPACT_FILE_SHA256."
        )


if __name__ == "__main__":
    main()
