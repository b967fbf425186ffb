"""What opens LI's front door beside a Matrix login: a client certificate, or a user's name and password."""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from postflight.account import NOTHING, read_secret
from postflight.secrets import Redactor, Secret
from postflight.settings import LiCredentialSettings, SettingsError

#: What a Secret of type kubernetes.io/tls and of type kubernetes.io/basic-auth holds.
CERTIFICATE, KEY, USER, PASSWORD = "tls.crt", "tls.key", "username", "password"


@dataclass(frozen=True, slots=True)
class Credential:
    """``certificate`` (PEM, with its key in it) and a ``user`` with a password; empty where there is none of that kind.
    ``origin`` says where it is from, ``problem`` why it could not be had."""

    certificate: Secret = NOTHING
    user: str = ""
    password: Secret = NOTHING
    origin: str = ""
    problem: str = ""

    @property
    def given(self) -> bool:
        return bool(self.certificate or self.user)

    @property
    def basic(self) -> str:
        """The header that shows name and password; "" without."""
        if not self.user:
            return ""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password.reveal()}".encode()).decode()

    def load(self, context: ssl.SSLContext) -> None:
        """Have it shown in handshakes. Raises OSError (of which ssl's errors are) where it is no certificate with its
        key."""
        if self.certificate:
            with _as_file(self.certificate.reveal()) as path:
                context.load_cert_chain(path)

    def register(self, redactor: Redactor) -> None:
        """Have it hidden in all that the run says."""
        if self.password:
            redactor.register(self.password, "the password for LI's front door")
            redactor.register(self.basic.removeprefix("Basic "), "the password for LI's front door")
        if self.certificate:
            redactor.register(self.certificate, "the key for LI's front door")


#: Where neither the settings nor the cluster give one.
NONE = Credential()


def read(named: LiCredentialSettings, environment: Mapping[str, str]) -> Credential:
    """What the settings themselves give. Raises SettingsError, one line, for a file or a variable that is not there,
    or holds no such thing."""
    certificate, password = NOTHING, NOTHING
    key = "settings: li.credential: certificate_file"
    if file := named.certificate_file:
        try:
            certificate = Secret(Path(file).read_text(encoding="utf-8"))
            Credential(certificate).load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        except (OSError, UnicodeDecodeError) as error:
            why = "no certificate with its key (PEM)" if isinstance(error, (ssl.SSLError, UnicodeDecodeError)) else ""
            raise SettingsError([f"{key}: {file}: {why or getattr(error, 'strerror', '')}"]) from error
    if named.user:
        password = read_secret("password", named.password_file, named.password_env, environment, "li.credential")
    origin = "the settings" if certificate or named.user else ""
    return Credential(certificate, named.user, password, origin)


def of_secret(name: str, data: Mapping[str, Secret]) -> Credential:
    """What a Secret holds under the keys that its kind has."""
    parts = [data[each].reveal() for each in (CERTIFICATE, KEY) if data.get(each)]
    user = data[USER].reveal() if data.get(USER) else ""
    certificate = Secret("\n".join(parts)) if len(parts) == 2 else NOTHING
    if not certificate and not user:
        wanted = f"{CERTIFICATE} and {KEY}, nor {USER} and {PASSWORD}"
        return Credential(problem=f"Secret {name} holds neither {wanted}")
    return Credential(certificate, user, data.get(PASSWORD) or NOTHING, f"Secret {name}")


@contextmanager
def _as_file(text: str) -> Iterator[str]:
    """For what only takes paths: a file that only we may read, and that no disk holds where the system has such."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("postflight")
        try:
            os.write(descriptor, text.encode())
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
        return
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        yield file.name
