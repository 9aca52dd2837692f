"""C2PA content credentials: signed provenance manifests inside MP4 files.

The manifest holds one action, ``c2pa.created``, with IPTC's source type ``trainedAlgorithmicMedia``. Unless the user
names a certificate, a throw-away test certificate signs: readers find a valid manifest and an intact file, and
correctly report the signer as untrusted.
"""

from __future__ import annotations

import datetime
import os
from functools import cache
from pathlib import Path
from typing import Any

from deepfakemnist import __version__
from deepfakemnist.config.dataset import MarkSettings
from deepfakemnist.errors import ConfigError, Failed

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
#: Environment variable with the path of the PEM private key for ``compress.mark.certificate``; a secret, so not config.
KEY_VARIABLE = "DEEPFAKEMNIST_C2PA_KEY"
_TEST_SIGNER = "DeepFakeMnist+ test certificate, not trusted"


def sign(source: Path, target: Path, settings: MarkSettings, software: str) -> None:
    """Write ``source`` with a C2PA manifest to ``target``; the coded stream is copied.

    Args:
        source: MP4 file.
        target: file to write.
        settings: certificate, algorithm and timestamp authority.
        software: what generated the video, e.g. the animator's name.

    Raises: ConfigError when signing with this certificate and key fails.
    """
    c2pa = _library()
    action = {"action": "c2pa.created", "digitalSourceType": SOURCE_TYPE, "softwareAgent": {"name": software}}
    manifest = {
        "claim_generator_info": [{"name": "deepfakemnist", "version": __version__}],
        "format": "video/mp4",
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}],
    }
    try:
        with source.open("rb") as before, target.open("w+b") as after:
            c2pa.Builder(manifest).sign(_signer(settings), "video/mp4", before, after)
    except c2pa.C2paError as error:
        raise ConfigError(
            f"compress.mark: signing with certificate {settings.certificate or '(test)'} and algorithm "
            f"{settings.algorithm} failed: {error}. The file must hold the PEM chain, leaf certificate first, and "
            f"{KEY_VARIABLE} must name its private key"
        ) from error


def read_credentials(path: Path) -> dict[str, Any] | None:
    """Return the contents of a file's C2PA manifest, or None when it has none.

    Keys: state (Invalid, Valid, Trusted), source_type, software, signer.

    Raises: Failed with reason bad_credentials for a file or manifest that cannot be understood.
    """
    c2pa = _library()
    try:
        with path.open("rb") as file, c2pa.Reader("video/mp4", file) as reader:
            state = reader.get_validation_state()
            manifest = reader.get_active_manifest()
        return _contents(manifest, state)
    except c2pa.C2paError.ManifestNotFound:
        return None
    except (c2pa.C2paError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise Failed("bad_credentials", f"{path}: its C2PA manifest cannot be read: {error}") from error


def _contents(manifest: dict[str, Any], state: Any) -> dict[str, Any]:
    actions = [
        action
        for assertion in manifest.get("assertions", [])
        if assertion["label"].startswith("c2pa.actions")
        for action in assertion["data"]["actions"]
    ]
    created: dict[str, Any] = next((action for action in actions if action["action"] == "c2pa.created"), {})
    agent = created.get("softwareAgent", {})
    return {
        "state": state,
        "source_type": created.get("digitalSourceType", ""),
        "software": agent.get("name", "") if isinstance(agent, dict) else str(agent),
        "signer": manifest.get("signature_info", {}).get("issuer", ""),
    }


def check_signer(settings: MarkSettings) -> None:
    """Raise ConfigError when the package, certificate or key is missing, or the key does not match the certificate."""
    _signer(settings)


def _library() -> Any:
    try:
        import c2pa  # deferred: it loads a 40 MB library
    except ImportError as error:
        raise ConfigError(
            "compress.mark.c2pa: the package c2pa-python is not installed. Install it, or set compress.mark.c2pa: "
            "false; the comment tag in the container needs no package"
        ) from error
    return c2pa


@cache
def _signer(settings: MarkSettings) -> Any:
    c2pa = _library()
    if settings.certificate is None:
        chain, key = _test_certificate()
        algorithm = "es256"
    else:
        named = os.environ.get(KEY_VARIABLE)
        if not named or not Path(named).is_file():
            raise ConfigError(
                f"compress.mark.certificate is {settings.certificate}, so the environment variable {KEY_VARIABLE} must "
                "name the PEM file with its private key"
            )
        if not settings.certificate.is_file():
            raise ConfigError(f"compress.mark.certificate: {str(settings.certificate)!r} is not a file")
        chain, key, algorithm = settings.certificate.read_bytes(), Path(named).read_bytes(), settings.algorithm
    try:
        return c2pa.Signer.from_info(c2pa.C2paSignerInfo(algorithm, chain, key, settings.timestamp_url))
    except c2pa.C2paError as error:
        raise ConfigError(f"compress.mark.certificate: {settings.certificate}: {error}") from error


@cache
def _test_certificate() -> tuple[bytes, bytes]:
    """Return a PEM chain (leaf first) and the leaf's key, generated per process and never written to disk."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    usages = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )

    def named(common: str) -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, common),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, _TEST_SIGNER),
            ]
        )

    def certificate(subject: str, key: Any, authority: bool, *allowed: str) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(named(subject))
            .issuer_name(named("authority"))
            .public_key(key.public_key())
            .serial_number(1 + authority)
            .not_valid_before(datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC))
            .not_valid_after(datetime.datetime(2045, 1, 1, tzinfo=datetime.UTC))
            .add_extension(x509.BasicConstraints(authority, None), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(x509.KeyUsage(**{name: name in allowed for name in usages}), True)
        )

    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = certificate("authority", authority_key, True, "key_cert_sign", "crl_sign")
    leaf = (
        certificate("signer", key, False, "digital_signature")
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
    )
    signed = [builder.sign(authority_key, hashes.SHA256()) for builder in (leaf, authority)]
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return b"".join(one.public_bytes(pem) for one in signed), secret
