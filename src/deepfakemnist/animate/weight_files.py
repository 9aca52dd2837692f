"""The file that holds an animator's weights: is it what it should be, and where it is fetched from."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.files import atomic_path

log = logging.getLogger(__name__)

#: Size and sha256 of the official vox-cpk.pth.tar as a Git-LFS pointer of a third party gives them
#: (wisehackermonkey/deepfakes-server); the file itself was not at hand to confirm them.
OFFICIAL_BYTES = 728_766_691
OFFICIAL_SHA256 = "abb41ab1f279f26326c0d6e4d20702de6658364665aa1313daa7a63e89ea2b23"

OFFICIAL = (
    f"The official file is vox-cpk.pth.tar ({OFFICIAL_BYTES:,} bytes, sha256 {OFFICIAL_SHA256}; both taken from a "
    "third party's Git-LFS pointer, not confirmed). Despite its name it is a pickle, not a tar: use it as it is"
)
_CHUNK = 1 << 20
#: Seconds to connect, and between two chunks.
_TIMEOUT = (20, 60)


def checkpoint_sha256(path: Path | str) -> str:
    """Return the sha256 of a file. Raises ConfigError when there is none."""
    path = Path(path)
    check_weight_file(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sha256(path: Path | str, sha256: str) -> None:
    """Refuse a file with another digest. Raises ConfigError that names both."""
    if (found := checkpoint_sha256(path)) != sha256:
        raise ConfigError(f"animator weights {path} have sha256 {found}, but the config asks for {sha256}")


def fetch_weights(url: str, path: Path | str, sha256: str) -> None:
    """Download weights to ``path``, whole and with the right digest or not at all.

    A file that is there already and has that digest is left alone; with another digest it is not overwritten.

    Raises: ConfigError when there is no answer, an error status, a web page instead of a file, a connection that
        breaks off, or a file with another digest.
    """
    # Imported here, because weights at hand are read where no such library is installed.
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    path = Path(path)
    if path.is_file():
        check_sha256(path, sha256)
        return
    # A server that is busy or restarting is asked again after 1, 2, 4 and 8 seconds.
    retry = Retry(4, connect=1, backoff_factor=1, status_forcelist=(429, 500, 502, 503, 504), raise_on_status=False)
    log.info("fetching %s", url)
    digest, size = hashlib.sha256(), 0
    with atomic_path(path) as part, requests.Session() as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=retry))
        try:
            with session.get(url, stream=True, timeout=_TIMEOUT) as answer, part.open("wb") as file:
                if not answer.ok:
                    raise ConfigError(f"animator.weights_url {url} answered {answer.status_code} {answer.reason}")
                for chunk in answer.iter_content(_CHUNK):
                    file.write(chunk)
                    digest.update(chunk)
                    size += len(chunk)
        except requests.RequestException as error:
            raise ConfigError(
                f"animator.weights_url {url} could not be fetched ({type(error).__name__}). "
                f"Try again, or put the file at {path} yourself"
            ) from error
        if problem := _not_weights(part):
            raise ConfigError(f"animator.weights_url {url} gave {size:,} bytes: this {problem}. {OFFICIAL}")
        if digest.hexdigest() != sha256:
            raise ConfigError(
                f"animator.weights_url {url} gave {size:,} bytes with sha256 {digest.hexdigest()}, "
                f"but animator.weights_sha256 is {sha256}"
            )
    log.info("wrote %s (%d bytes)", path, size)


def check_weight_file(path: Path) -> None:
    """Recognise what people end up with instead of the weights. Raises ConfigError that says what it is."""
    if not path.is_file():
        raise ConfigError(
            f"animator weights {path} do not exist. {OFFICIAL}. "
            "Without it set animator.weights to null, and an animator is trained on this run's own crops"
        )
    if problem := _not_weights(path):
        raise ConfigError(f"animator weights {path} ({path.stat().st_size:,} bytes): this {problem}. {OFFICIAL}")


def _not_weights(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(512)
    start = head.lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        return "is a Git-LFS pointer, not the file it stands for (fetch it with `git lfs pull`)"
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page, probably a download's error or confirmation page, saved under the name of the weights"
    if head[257:262] == b"ustar" or head.startswith(b"\x1f\x8b"):
        return "is a tar or gzip archive; the checkpoint is the file that was packed into it"
    return "" if start else "is empty"
