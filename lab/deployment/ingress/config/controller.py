"""Runs nginx by what the Ingresses and Secrets of the cluster say, and has it read anew whenever they change."""

import base64
import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

import nginx_conf

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
STATE = Path("/state")
CONF = STATE / "nginx.conf"
NGINX = ["/usr/sbin/nginx", "-e", "/dev/stderr", "-c", str(CONF), "-g", "daemon off;"]
INGRESSES = "/apis/networking.k8s.io/v1/ingresses", {}
SECRETS = "/api/v1/secrets", {}
#: Seconds that one watch lasts; a request is given a little longer.
WATCH = 240


def ask(path, query, **more):
    """The open answer of the API server. Raises OSError, http.client.HTTPException."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"])
    context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    connection = http.client.HTTPSConnection(host, port, timeout=WATCH + 20, context=context)
    headers = {"Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}"}
    connection.request("GET", f"{path}?{urlencode({**query, **more})}", headers=headers)
    answer = connection.getresponse()
    if answer.status != 200:
        raise OSError(f"{path}: {answer.status}")
    return answer


class Watched:
    """One kind of object, kept as the API server has it."""

    def __init__(self, what, changed):
        self.what, self.changed = what, changed
        self.items = None
        threading.Thread(target=self.follow, daemon=True).start()

    def follow(self):
        path, query = self.what
        while True:
            try:
                found = json.load(ask(path, query))
                self.items = found["items"]
                self.changed.set()
                version = found["metadata"]["resourceVersion"]
                # Any event is a reason to list anew; so is the end of the watch.
                ask(path, query, watch=1, resourceVersion=version, timeoutSeconds=WATCH).readline()
            except (OSError, http.client.HTTPException, ValueError) as error:
                print(f"{path}: {error}", flush=True)
                time.sleep(0.3)


def written(secrets):
    """Writes what nginx may need of each to a file of its own, and returns their names."""
    found = nginx_conf.Files()
    for each in secrets:
        meta = each["metadata"]
        held = {key: base64.b64decode(value) for key, value in (each.get("data") or {}).items()}
        where, stem = (meta["namespace"], meta["name"]), f"{meta['namespace']}-{meta['name']}"
        if each.get("type") == "kubernetes.io/tls":
            pair = held.get("tls.crt", b"") + b"\n" + held.get("tls.key", b"")
            found.certificates[where] = keep(f"{stem}.pem", pair)
        if "ca.crt" in held:
            found.authorities[where] = keep(f"{stem}.ca", held["ca.crt"])
        if "auth" in held:
            found.passwords[where] = keep(f"{stem}.passwd", held["auth"])
    return found


def keep(name, content):
    file = STATE / name
    if not file.exists() or file.read_bytes() != content:
        file.touch(mode=0o600)
        file.write_bytes(content)
    return str(file)


def resolver():
    lines = Path("/etc/resolv.conf").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("nameserver"))


def end(nginx, *_):
    """As whoever ends this pod wants it; as the first process of a container nothing would end it otherwise."""
    if nginx:
        nginx.terminate()
        nginx.wait()
    sys.exit(0)


def main():
    signal.signal(signal.SIGTERM, partial(end, None))
    changed, nginx, before = threading.Event(), None, None
    ingresses, secrets = Watched(INGRESSES, changed), Watched(SECRETS, changed)
    while True:
        changed.wait(1)
        if nginx and nginx.poll() is not None:
            return nginx.returncode or 1
        if not changed.is_set() or ingresses.items is None or secrets.items is None:
            continue
        changed.clear()
        files = written(secrets.items)
        text = nginx_conf.render(ingresses.items, files, STATE, resolver())
        held = (*files.certificates.values(), *files.authorities.values(), *files.passwords.values())
        now = text, [Path(file).read_bytes() for file in held]
        if now == before:
            continue
        before = now
        CONF.write_text(text)
        if nginx is None:
            nginx = subprocess.Popen(NGINX)
            signal.signal(signal.SIGTERM, partial(end, nginx))
        else:
            # One that it cannot read leaves it as it was, and is told in its log.
            nginx.send_signal(signal.SIGHUP)
        print("nginx has a new configuration", flush=True)


if __name__ == "__main__":
    sys.exit(main())
