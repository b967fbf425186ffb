"""nginx's configuration for some Ingresses, as ingress-nginx writes it (v1.11, rootfs/etc/nginx/template/nginx.tmpl),
cut to what the lab needs: hosts, TLS, Prefix and Exact paths, and the annotations named here."""

from dataclasses import dataclass, field

PREFIX = "nginx.ingress.kubernetes.io/"

HEAD = """\
worker_processes 1;
pid {state}/nginx.pid;
error_log /dev/stderr error;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  server_tokens off;
  client_body_temp_path {state}/body;
  proxy_temp_path {state}/proxy;
  fastcgi_temp_path {state}/fastcgi;
  uwsgi_temp_path {state}/uwsgi;
  scgi_temp_path {state}/scgi;
  # Services are looked up as requests come: one that is not there yet stops nothing.
  resolver {resolver} valid=2s ipv6=off;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  server {{
    listen 10254;
    location = /healthz {{ return 200; }}
    location / {{ return 404; }}
  }}
  server {{
    listen 8080 default_server;
    return 308 https://$host$request_uri;
  }}
  server {{
    listen 8443 ssl default_server;
    ssl_reject_handshake on;
  }}
"""

LOCATION = """\
    location {match} {{
      client_max_body_size {body};
      {extra}
      set $to {service}.{namespace}.svc.cluster.local:{port};
      proxy_pass http://$to;
      proxy_http_version 1.1;
      proxy_buffering off;
      proxy_read_timeout {read}s;
      proxy_set_header Host $http_host;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header ssl-client-verify $ssl_client_verify;
      proxy_set_header ssl-client-subject-dn $ssl_client_s_dn;
    }}
"""

#: auth-type: basic. What was shown here goes no further (nginx.tmpl does the same).
BASIC = """\
auth_basic "{realm}";
      auth_basic_user_file {file};
      proxy_set_header Authorization "";
      """

#: auth-tls-secret, for the whole host.
CLIENT_CERTIFICATE = """\
    ssl_client_certificate {file};
    ssl_verify_client {verify};
    ssl_verify_depth {depth};
"""


@dataclass
class Files:
    """The names of files, by namespace and name of the Secret that each is made of: ``certificates`` with their key,
    ``authorities`` that client certificates are signed by (key ca.crt), ``passwords`` as htpasswd makes them (key auth)."""

    certificates: dict = field(default_factory=dict)
    authorities: dict = field(default_factory=dict)
    passwords: dict = field(default_factory=dict)


def render(ingresses, files, state, resolver):
    """Of two Ingresses that claim the same path the older one has it."""
    hosts = {}
    for ingress in sorted(ingresses, key=lambda each: (each["metadata"].get("creationTimestamp", ""), _name(each))):
        if ingress["spec"].get("ingressClassName") != "nginx":
            continue
        for rule in ingress["spec"].get("rules", ()):
            server = hosts.setdefault(rule["host"], {"locations": {}, "tls": None, "clients": ""})
            server["tls"] = server["tls"] or _tls(ingress, rule["host"], files.certificates)
            server["clients"] = server["clients"] or _clients(ingress, files.authorities)
            for path in rule.get("http", {}).get("paths", ()):
                for match in _matches(path):
                    server["locations"].setdefault(match, _location(ingress, path, match, files.passwords))
    servers = [_server(host, found) for host, found in sorted(hosts.items()) if found["tls"]]
    return HEAD.format(state=state, resolver=resolver) + "".join(servers) + "}\n"


def _name(ingress):
    return ingress["metadata"]["namespace"], ingress["metadata"]["name"]


def _tls(ingress, host, certificates):
    for each in ingress["spec"].get("tls", ()):
        if host in each.get("hosts", ()):
            return certificates.get((ingress["metadata"]["namespace"], each["secretName"]))
    return None


def _clients(ingress, authorities):
    """What asks clients for a certificate; "" where nothing does. A Secret that is not there shuts the host."""
    notes = ingress["metadata"].get("annotations") or {}
    secret = notes.get(PREFIX + "auth-tls-secret")
    if not secret:
        return ""
    file = authorities.get(tuple(secret.split("/", 1)))
    if not file:
        return "    return 403;\n"
    return CLIENT_CERTIFICATE.format(
        file=file,
        verify=notes.get(PREFIX + "auth-tls-verify-client", "on"),
        depth=notes.get(PREFIX + "auth-tls-verify-depth", "1"),
    )


def _password(ingress, passwords):
    """What asks clients for a password; "" where nothing does. A Secret that is not there shuts the path."""
    notes = ingress["metadata"].get("annotations") or {}
    if notes.get(PREFIX + "auth-type") != "basic":
        return ""
    namespace, _, name = notes.get(PREFIX + "auth-secret", "").rpartition("/")
    file = passwords.get((namespace or ingress["metadata"]["namespace"], name))
    if not file:
        return "return 503;\n      "
    return BASIC.format(realm=notes.get(PREFIX + "auth-realm", ""), file=file)


def _matches(path):
    """Prefix is by whole elements of a path."""
    own = path["path"]
    if path["pathType"] == "Exact":
        return [f"= {own}"]
    return [own] if own.endswith("/") else [f"= {own}", f"{own}/"]


def _location(ingress, path, match, passwords):
    notes = ingress["metadata"].get("annotations") or {}
    service = path["backend"]["service"]
    return LOCATION.format(
        match=match,
        body=notes.get(PREFIX + "proxy-body-size", "1m"),
        read=notes.get(PREFIX + "proxy-read-timeout", "60"),
        extra=_password(ingress, passwords) + notes.get(PREFIX + "configuration-snippet", "").strip(),
        service=service["name"],
        namespace=ingress["metadata"]["namespace"],
        port=service["port"]["number"],
    )


def _server(host, found):
    files = f"    ssl_certificate {found['tls']};\n    ssl_certificate_key {found['tls']};\n{found['clients']}"
    # What no path is for ends at the controller's default backend.
    found["locations"].setdefault("/", "    location / { return 404; }\n")
    locations = "".join(found["locations"].values())
    return f"  server {{\n    listen 8443 ssl;\n    server_name {host};\n{files}{locations}  }}\n"
