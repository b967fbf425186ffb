"""What opens LI's front door, as it was given for this run: by the settings, else by a Secret beside LI."""

from __future__ import annotations

import ssl

from postflight.cluster.api import Api
from postflight.cluster.secrets import read_secrets
from postflight.credential import NONE, Credential, of_secret
from postflight.deployment.model import Deployment
from postflight.limits import Limit
from postflight.probes.probe import probe
from postflight.secrets import Redactor
from postflight.settings import Settings


@probe(limit=Limit.KUBERNETES)
def li_credential(
    deployment: Deployment, settings: Settings, api: Api, redactor: Redactor, credential: Credential
) -> Credential:
    """Read the Secret that holds it, where the settings themselves give none."""
    name = settings.li.credential.secret
    if credential.given or not deployment.li or not name:
        return credential
    where = (deployment.li.namespace, name)
    held = read_secrets(api, (where,), redactor.register)
    if why := held.unseen.get(where):
        return Credential(problem=why)
    if not (found := held.get(*where)):
        return NONE
    given = of_secret(name, found.data)
    given.register(redactor)
    try:
        given.load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    except OSError:
        return Credential(problem=f"Secret {name} holds no certificate with its key (PEM)")
    return given
