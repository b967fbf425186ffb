"""The certificate that a public name shows, and whether clients would take it. Nothing secret goes over what was looked
at here: see :attr:`Trust.secure`."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from postflight.cluster.access import Access
from postflight.cluster.api import ApiError
from postflight.deployment.front import Authority
from postflight.limits import Limit
from postflight.probes.public_places import Place

#: OpenSSL's X509_V_ERR_CERT_HAS_EXPIRED and _NOT_YET_VALID: the leaf's own dates, or one above it.
EXPIRED, NOT_YET = 10, 9


@dataclass(frozen=True, slots=True)
class Certificate:
    """What one name was shown at one place. ``refusal`` is OpenSSL's word on its chain ("" where an authority that
    counts signed it: ``authority`` names it where it is none of the machine's own), ``code`` its number. ``names`` are
    those of the certificate itself, ``der`` is all of it; ``problem`` says why none was seen."""

    host: str
    names: tuple[str, ...] = ()
    issuer: str = ""
    begins: datetime | None = None
    ends: datetime | None = None
    seen: datetime | None = None
    refusal: str = ""
    code: int = 0
    authority: str = ""
    problem: str = ""
    der: bytes = field(default=b"", repr=False)

    @property
    def is_for_host(self) -> bool:
        """A wildcard stands for one label, the leftmost (RFC 6125, 6.4.3)."""
        above = self.host.partition(".")[2]
        return any(each.lower() in (self.host, f"*.{above}") for each in self.names)

    @property
    def good(self) -> bool:
        return not self.problem and not self.refusal and self.is_for_host


@dataclass(frozen=True, slots=True)
class Trust:
    """The authorities that count: this machine's, then ``further`` ones. ``secure`` is for what may carry a token: the
    chain and the name must be right."""

    further: tuple[Authority, ...]
    system: ssl.SSLContext = field(repr=False)
    wider: ssl.SSLContext = field(repr=False)
    secure: ssl.SSLContext = field(repr=False)

    @classmethod
    def of(cls, further: Sequence[Authority]) -> Trust:
        """Raises ssl.SSLError (an OSError) where an authority is none."""
        system, secure = _roots(), _roots()
        # Each holds some hundred authorities, a MiB of them.
        wider = _roots() if further else system
        for each in further:
            wider.load_verify_locations(cadata=each.pem)
            secure.load_verify_locations(cadata=each.pem)
        # The name is looked at by itself: one fault must not hide another.
        system.check_hostname = wider.check_hostname = False
        return cls(tuple(further), system, wider, secure)


def unverified() -> ssl.SSLContext:
    """To see what is shown, and to ask what anybody may ask: nothing secret may go over it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def look(access: Access, place: Place, host: str, trust: Trust) -> Certificate:
    """The certificate of a name at a place: up to three handshakes."""
    try:
        return _look(access, place, host, trust)
    except (OSError, ApiError, ValueError) as error:
        words = "no answer in time" if isinstance(error, TimeoutError) else " ".join(str(error).split())[:200]
        return Certificate(host, problem=words or type(error).__name__)


def _look(access: Access, place: Place, host: str, trust: Trust) -> Certificate:
    authority, refusal, code = "", "", 0
    try:
        shown = _handshake(access, place, host, trust.system)
    except ssl.SSLCertVerificationError as error:
        refusal, code = error.verify_message, error.verify_code
        shown = b""
    if refusal and trust.further:
        try:
            shown = _handshake(access, place, host, trust.wider)
            authority, refusal, code = " or ".join(dict.fromkeys(each.origin for each in trust.further)), "", 0
        except ssl.SSLCertVerificationError as error:
            refusal, code = error.verify_message, error.verify_code
    return read(host, shown or _handshake(access, place, host, unverified()), refusal, code, authority)


def read(host: str, der: bytes, refusal: str = "", code: int = 0, authority: str = "") -> Certificate:
    """Of a certificate as it is shown (DER). Raises ValueError where it is none."""
    from cryptography import x509

    found = x509.load_der_x509_certificate(der)
    try:
        alternative = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = tuple(alternative.get_values_for_type(x509.DNSName))
    except x509.ExtensionNotFound:
        names = ()
    begins, ends = found.not_valid_before_utc, found.not_valid_after_utc
    issuer = found.issuer.rfc4514_string()
    return Certificate(host, names, issuer, begins, ends, datetime.now(UTC), refusal, code, authority, der=der)


def _handshake(access: Access, place: Place, host: str, context: ssl.SSLContext) -> bytes:
    """The leaf, where the handshake comes to its end. Raises OSError (of which ssl's errors are), ApiError."""
    with (
        place.reach(access) as address,
        socket.create_connection(address, timeout=Limit.CONNECT) as plain,
        context.wrap_socket(plain, server_hostname=host) as secured,
    ):
        return secured.getpeercert(binary_form=True) or b""


def _roots() -> ssl.SSLContext:
    """With the machine's authorities; those of a package where it has none, as a bare image may."""
    paths, context = ssl.get_default_verify_paths(), ssl.create_default_context()
    folder = Path(paths.capath) if paths.capath else None
    if not paths.cafile and not (folder and folder.is_dir() and any(os.scandir(folder))):
        import certifi

        context.load_verify_locations(certifi.where())
    return context
