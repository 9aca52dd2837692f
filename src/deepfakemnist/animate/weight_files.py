"""Weight files of animators: download, checksum, and recognition of files that are not weights."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from deepfakemnist.animate.official_files import official_file, official_files
from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.checksums import file_facts
from deepfakemnist.tables.files import atomic_path

log = logging.getLogger(__name__)

#: What to do without weights, where something can be done.
_WITHOUT = {
    "fomm": "Without them, set animator.weights to null, and animator.name to mesh, which needs none, or to fomm to "
    "train a model on the crops of this run"
}
_CHUNK = 1 << 20
#: Timeouts for connecting and between two chunks, seconds.
_TIMEOUT = (20, 60)


def checkpoint_sha256(path: Path | str) -> str:
    """Return the sha256 of a weight file. Raises ConfigError, see ``check_weight_file``."""
    path = Path(path)
    check_weight_file(path)
    return file_facts(path).sha256


def check_digest(path: Path | str, sha256: str | None) -> None:
    """Verify the checksum of a file: the given one, or the official one if the file has an official name and size.

    Raises: ConfigError that names both digests if they differ.
    """
    path = Path(path)
    if sha256 is not None:
        if (found := checkpoint_sha256(path)) != sha256:
            raise ConfigError(f"animator weights {path} have sha256 {found}, but the config expects {sha256}")
        return
    known = official_file(path)
    if known is None or path.stat().st_size != known.bytes:
        return
    if (found := file_facts(path).sha256) != known.sha256:
        raise ConfigError(
            f"animator weights {path} have the size of the official {known.name} but sha256 {found} instead of "
            f"{known.sha256}: a damaged download, or other weights of the same layout. If they are what you want, set "
            "weights_sha256 to the former"
        )


def fetch_weights(url: str, path: Path | str, sha256: str) -> None:
    """Download weights to ``path`` atomically and verify their checksum.

    An existing file with that checksum is kept; one with another checksum is not overwritten.

    Raises: ConfigError for no response, an error status, a web page instead of a file, an interrupted download or a
        checksum mismatch.
    """
    # Imported here, because local weights are also read where requests is not installed.
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    path = Path(path)
    if path.is_file():
        check_digest(path, sha256)
        return
    # A busy or restarting server is retried after 1, 2, 4 and 8 seconds.
    retry = Retry(4, connect=1, backoff_factor=1, status_forcelist=(429, 500, 502, 503, 504), raise_on_status=False)
    log.info("downloading %s", url)
    digest, size = hashlib.sha256(), 0
    with atomic_path(path) as part, requests.Session() as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=retry))
        try:
            with session.get(url, stream=True, timeout=_TIMEOUT) as response, part.open("wb") as file:
                if not response.ok:
                    raise ConfigError(f"animator.weights_url {url} returned {response.status_code} {response.reason}")
                for chunk in response.iter_content(_CHUNK):
                    file.write(chunk)
                    digest.update(chunk)
                    size += len(chunk)
        except requests.RequestException as error:
            raise ConfigError(
                f"animator.weights_url {url} could not be downloaded ({type(error).__name__}). "
                f"Try again, or put the file at {path} yourself"
            ) from error
        if problem := _not_weights(part):
            known = f". Expected is {official}" if (official := official_file(path)) else ""
            raise ConfigError(f"animator.weights_url {url} returned {size:,} bytes: this {problem}{known}")
        if digest.hexdigest() != sha256:
            raise ConfigError(
                f"animator.weights_url {url} returned {size:,} bytes with sha256 {digest.hexdigest()}, "
                f"but animator.weights_sha256 is {sha256}"
            )
    log.info("wrote %s (%d bytes)", path, size)


def check_weight_file(path: Path, animator: str = "") -> None:
    """Detect common mix-ups, e.g. a Git-LFS pointer or a web page.

    Args:
        path: weight file.
        animator: name of the animator it is for, whose official files the message names.

    Raises: ConfigError that says what the file is.
    """
    official = official_files(animator)
    if not path.is_file():
        what = "are a folder, not a file" if path.is_dir() else "do not exist"
        raise ConfigError(
            " ".join(filter(None, [f"animator weights {path} {what}.", official, _WITHOUT.get(animator)]))
        )
    if problem := _not_weights(path):
        raise ConfigError(
            f"animator weights {path} ({path.stat().st_size:,} bytes): this {problem}. {official}".rstrip()
        )


def _not_weights(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(512)
    start = head.lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        return "is a Git-LFS pointer, not the file itself (fetch it with `git lfs pull`)"
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page, probably the download's error or confirmation page, saved under the name of the weights"
    if head[257:262] == b"ustar" or head.startswith(b"\x1f\x8b"):
        return "is a tar or gzip archive; extract the checkpoint from it"
    return "" if start else "is empty"
