"""``postflight prepare``: what a deployment needs so that a canary homeserver can stand in it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from postflight.deployment.canary import LABELS
from postflight.settings import CanarySettings

FIRST_PORT = 18448
PORTS = 8

TEXT = """\
# postflight prepare: what `federation.exactly_once` needs in namespace {namespace}, once.
#
# Nothing here runs. Between runs the Service leads nowhere. A canary stands there for the seconds of a run, under the
# names {service}.{namespace}.svc:{first} to :{last} (so many that each federation sender's share is met).

# 1. A certificate authority of the canary's own; its key stays in a Secret that the verifier reads by name:

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \\
  -subj "/CN=postflight canary" -addext "basicConstraints=critical,CA:TRUE" -keyout ca.key -out ca.crt
kubectl -n {namespace} create secret tls {secret} --cert=ca.crt --key=ca.key
kubectl -n {namespace} create configmap {secret} --from-file=ca.crt
rm ca.key

# 2. The Service (kubectl apply -f -):

apiVersion: v1
kind: Service
metadata:
  name: {service}
  namespace: {namespace}
spec:
  publishNotReadyAddresses: true
  selector: {{{selector}}}
  ports:
{ports}

# 3. In the configuration that all Synapse processes share, with the ConfigMap {secret} mounted at /canary-ca in each
#    of them, and ADDRESS that of the Service (kubectl -n {namespace} get service {service} -o \\
#    jsonpath={{.spec.clusterIP}}):

ip_range_whitelist: [ADDRESS/32]
federation_custom_ca_list: [/canary-ca/ca.crt]

#    With ip_range_whitelist already there, add the address to it. federation_custom_ca_list REPLACES the system's
#    authorities: it is right where this server federates with nobody else, or where the list names all it needs, one
#    file for each (Synapse reads the first certificate of a file). Else set, in each process, the environment variable
#    SSL_CERT_FILE to a file that holds the system's bundle and ca.crt.

# 4. Where federation_domain_whitelist is set, add the names (they stay the same):

{names}

# 5. Where NetworkPolicies shut the namespace: allow Synapse's pods to reach pods with the label
#    {label} on ports {first} to {last}, and the name service.
#    The pods of other checks are told apart by the label postflight/purpose: let all that have it out to anywhere,
#    so that it is the other end that lets them in or not; let `connections` in where Synapse comes in (it stands in for
#    Synapse where no process of it runs), and in at `participants` and `turn` whatever media come back. The one that is
#    called `foreign` is to be let in nowhere.
"""


def main(arguments: Sequence[str]) -> int:
    """Print it. Touches no cluster; returns the exit code."""
    parser = argparse.ArgumentParser(prog="postflight prepare", description=__doc__)
    parser.add_argument("--namespace", default="matrix", help="the namespace of the homeserver (default: matrix)")
    namespace = parser.parse_args(arguments).namespace
    print(text(namespace, CanarySettings()))
    return 0


def text(namespace: str, canary: CanarySettings) -> str:
    ports = range(FIRST_PORT, FIRST_PORT + PORTS)
    ((key, value),) = LABELS.items()
    return TEXT.format(
        namespace=namespace,
        service=canary.service,
        secret=canary.ca_secret,
        first=ports[0],
        last=ports[-1],
        selector=f"{key}: {value}",
        label=f"{key}={value}",
        ports="\n".join(f"    - {{name: canary-{number}, port: {port}}}" for number, port in enumerate(ports, 1)),
        names="\n".join(f"#   - {canary.service}.{namespace}.svc:{port}" for port in ports),
    )
