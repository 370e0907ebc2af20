"""The checksums inside a PyTorch file, which torch itself writes and never reads.

Since release 1.6 such a file is an uncompressed zip archive, with the CRC-32 of each storage in
its directory. torch maps the storages and believes them. Here the tensors that are used are read
against the directory; what nobody uses, such as optimizer state, is not read.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from tape_bench.data.formats.pickle_scan import CHECKPOINT, scan
from tape_bench.errors import CheckpointError

_FIX = "compare it with the published file and get it again"


READING: tuple[type[Exception], ...] = (
    RuntimeError, EOFError, ValueError, OSError, LookupError, TypeError, AttributeError,
    AssertionError, OverflowError, MemoryError, NotImplementedError, ImportError, zlib.error,
    zipfile.BadZipFile,
)  # fmt: skip
"""What torch raises on a file that is none of its own; UnpicklingError is told apart."""

_ZIP = b"PK\x03\x04"
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""First bytes of a file of before torch 1.6."""

_LARGEST_PICKLE = 1 << 28
_LEGACY_PICKLES = 5
"""A file of before torch 1.6: magic number, protocol, system, content, names of the storages."""


def check_pickle(path: Path) -> None:
    """See that what names and shapes the tensors is what was written, and is within bounds.

    Raises:
        CheckpointError: it is not.
    """
    try:
        with path.open("rb") as file:
            # As torch tells the two apart.
            if file.read(len(_ZIP)) != _ZIP:
                file.seek(0)
                _scan_legacy(file.read(_LARGEST_PICKLE))
                return
        with zipfile.ZipFile(path) as archive:
            pickled = _pickle(archive)
            if pickled is None:
                return
            if pickled.file_size > _LARGEST_PICKLE or pickled.compress_type != zipfile.ZIP_STORED:
                raise ValueError("its data.pkl is larger than any checkpoint's, or compressed")
            if not pickled.CRC:
                pickled.CRC = None  # type: ignore[assignment]
            scan(archive.read(pickled), CHECKPOINT)
    except READING as error:
        raise CheckpointError(
            f"the file is cut short or damaged: {error}", where=str(path), fix=_FIX
        ) from error


def is_legacy(path: Path) -> bool:
    """Tell a file of before torch 1.6 by its first bytes."""
    with path.open("rb") as file:
        return file.read(len(LEGACY)) == LEGACY


def _scan_legacy(content: bytes) -> None:
    end = 0
    for _ in range(_LEGACY_PICKLES):
        end = scan(content, CHECKPOINT, end)


def check_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """See that the bytes of tensors are what was written.

    A storage is known by its size and checksum together, one of which the directory must have:
    torch does not tell which member a tensor came from.

    Raises:
        CheckpointError: they are not.
    """
    with zipfile.ZipFile(path) as archive:
        pickled = _pickle(archive)
        if pickled is None or not pickled.CRC:
            # Written with torch.serialization.set_crc32_options(False).
            return
        written = {(member.file_size, member.CRC) for member in archive.infolist()}
    seen: dict[int, bool] = {}
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage()
        address = storage.data_ptr()
        if address not in seen:
            content = torch.empty(0, dtype=torch.uint8).set_(storage).numpy()
            seen[address] = (storage.nbytes(), zlib.crc32(content.data)) in written
        if not seen[address]:
            raise CheckpointError(
                f"the file is damaged: {name} is not what was written", where=str(path), fix=_FIX
            )


def _pickle(archive: zipfile.ZipFile) -> zipfile.ZipInfo | None:
    ends = (member for member in archive.infolist() if member.filename.endswith("/data.pkl"))
    return next(ends, None)
