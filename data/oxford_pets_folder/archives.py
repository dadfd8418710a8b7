"""The two official archives, unpacked without trusting what they say."""

import gzip
import hashlib
import os
import pathlib
import shutil
import tarfile
import tempfile
import zlib

ARCHIVES = ("images.tar.gz", "annotations.tar.gz")
MAX_FILE = 64 * 2**20  # bytes; the largest official file has under 2 MB
MAX_TOTAL = 8 * 2**30  # bytes; the official archives hold under 1 GB
MAX_FILES = 100_000  # the official archives hold about 30,000


class _Limited:
    """A file that refuses to hand out more than an honest archive has.

    `tarfile` reads some headers (long names, pax) whole, whatever size they claim, so
    limits on the members alone would not stop every bomb.
    """

    def __init__(self, file, name: pathlib.Path):
        self.file = file
        self.name = name

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_FILE or self.file.tell() > MAX_TOTAL:
            raise ValueError(_too_large(self.name))
        return self.file.read(size)

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        if position > MAX_TOTAL:
            raise ValueError(_too_large(self.name))
        return self.file.seek(position, whence)

    def tell(self) -> int:
        return self.file.tell()


def _too_large(archive: pathlib.Path, member: str = "") -> str:
    """Say which archive claims too much."""
    which = f" ({member})" if member else ""
    return (
        f"{archive} unpacks to more than this data set can hold{which}: it is damaged "
        "or made to fill the disk, so download the official archive anew."
    )


def _target(member: tarfile.TarInfo, archive: pathlib.Path) -> str | None:
    """Return where the member goes, None for what the loader never reads.

    Raises:
        ValueError: it would leave the folder, is a link or a device, or is too large.
    """
    parts = pathlib.PurePosixPath(member.name.replace("\\", "/")).parts
    outside = not parts or ".." in parts or parts[0] == "/" or ":" in parts[0]
    if outside and member.name not in (".", "./"):
        raise ValueError(
            f"{archive} holds the path {member.name!r}, which leaves the folder: do "
            "not use this archive, download the official one."
        )
    if not (member.isfile() or member.isdir()):
        raise ValueError(
            f"{archive} holds {member.name!r}, a link or a device: the official "
            "archives hold plain files only, so download them anew."
        )
    if member.size > MAX_FILE:
        raise ValueError(_too_large(archive, f"{member.name}, {member.size:,} bytes"))
    wanted = parts[:1] == ("images",) or (
        parts[:1] == ("annotations",) and parts[1:2] != ("xmls",)
    )
    return "/".join(parts) if wanted and member.isfile() else None


def _unpack(archive: pathlib.Path, folder: pathlib.Path) -> None:
    """Write the archive's photos, masks and lists below `folder`."""
    with open(archive, "rb") as raw:
        # TFDS notes that the official files are plain tar in spite of their name.
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        limited = _Limited(gzip.GzipFile(fileobj=raw) if packed else raw, archive)
        with tarfile.open(fileobj=limited, mode="r:") as tar:
            total = 0
            for count, member in enumerate(tar):
                total += member.size
                if total > MAX_TOTAL or count >= MAX_FILES:
                    raise ValueError(_too_large(archive))
                target = _target(member, archive)
                if target is None:
                    continue
                path = folder / target
                path.parent.mkdir(parents=True, exist_ok=True)
                with tar.extractfile(member) as source, open(path, "wb") as sink:
                    shutil.copyfileobj(source, sink)


def unpacked(folder: pathlib.Path, cache: pathlib.Path) -> pathlib.Path:
    """Unpack `images.tar.gz` and `annotations.tar.gz` of `folder` into the cache, once.

    Args:
        folder: holds the two archives.
        cache: where to unpack; a folder named after the archives' sizes and dates
            appears there when, and only when, all went well.

    Returns:
        The unpacked folder, in the official layout.

    Raises:
        FileNotFoundError: one of the two archives is missing.
        ValueError: an archive is damaged, leaves the folder, holds links or is a bomb.
    """
    digest = hashlib.sha256()
    for name in ARCHIVES:
        archive = folder / name
        if not archive.is_file():
            raise FileNotFoundError(
                f"{archive} is missing: put both official archives, "
                f"{' and '.join(ARCHIVES)}, into {folder}, or the folders they hold."
            )
        state = archive.stat()
        digest.update(
            os.fsencode(f"{archive.resolve()} {state.st_size} {state.st_mtime_ns}")
        )
    final = cache / "unpacked" / digest.hexdigest()[:16]
    if final.is_dir():
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    partial = pathlib.Path(tempfile.mkdtemp(prefix="incomplete.", dir=final.parent))
    try:
        for name in ARCHIVES:
            try:
                _unpack(folder / name, partial)
            except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise ValueError(
                    f"{folder / name} is truncated or no tar archive ({error}): "
                    "download it anew."
                ) from error
        if not final.is_dir():  # another process may have been faster
            os.replace(partial, final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return final
