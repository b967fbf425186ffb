"""The account that the settings give a run to act by, read from where they say it is, before anything is touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from postflight.secrets import Redactor, Secret
from postflight.settings import ProbeUserSettings, SettingsError

NOTHING = Secret("")
#: Characters. A file that holds more is no token's and no password's (Synapse's have 512 characters at most:
#: synapse/rest/client/account.py, 1.163).
LONGEST = 4096


@dataclass(frozen=True, slots=True)
class Account:
    """A ``token``, or the name and password of a ``user``; nothing of either where the settings give none. A token is
    somebody else's session: it is used, and never logged out."""

    token: Secret = NOTHING
    user: str = ""
    password: Secret = NOTHING

    @property
    def given(self) -> bool:
        return bool(self.token or self.user)

    def register(self, redactor: Redactor) -> None:
        """Have it hidden in all that the run says."""
        for value, name in ((self.token, "the given token"), (self.password, "the given user's password")):
            if value:
                redactor.register(value, name)


#: Where the settings give none: the probe user is registered by the shared secret.
NOBODY = Account()


def read(named: ProbeUserSettings, environment: Mapping[str, str]) -> Account:
    """Raises SettingsError, one line, for a file or a variable that is not there, or holds no secret."""
    if named.user:
        password = read_secret("password", named.password_file, named.password_env, environment, "probe_user")
        return Account(user=named.user, password=password)
    if named.token_file or named.token_env:
        token = read_secret("token", named.token_file, named.token_env, environment, "probe_user")
        if any(char.isspace() for char in token.reveal()):
            where = named.token_file or named.token_env
            raise SettingsError([f"settings: probe_user: {where} holds more than one word, and so no token"])
        return Account(token=token)
    return NOBODY


def read_secret(what: str, file: str, variable: str, environment: Mapping[str, str], whose: str) -> Secret:
    """A password or token from a file or a variable that the settings name under ``whose``, without the line break at
    its end. Raises SettingsError, one line."""
    key = f"settings: {whose}: {what}_{'file' if file else 'env'}"
    if not file:
        if variable not in environment:
            raise SettingsError([f"{key}: the environment has no {variable}"])
        text = environment[variable]
    else:
        try:
            text = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError([f"{key}: {file}: {getattr(error, 'strerror', None) or 'no text'}"]) from error
    value = text.strip("\r\n")
    if not value.strip():
        raise SettingsError([f"{key}: {file or variable} is empty"])
    if len(value) > LONGEST or not value.isprintable() or (what == "token" and not value.isascii()):
        raise SettingsError([f"{key}: {file or variable} holds no {what}"])
    return Secret(value)
