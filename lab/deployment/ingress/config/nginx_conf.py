"""nginx's configuration for some Ingresses, as ingress-nginx writes it (v1.11, rootfs/etc/nginx/template/nginx.tmpl),
cut to what the lab needs: hosts, TLS, Prefix and Exact paths, and the annotations named here."""

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
      {snippet}
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
    }}
"""


def render(ingresses, certificates, state, resolver):
    """``certificates`` are the names of the files with certificate and key, by namespace and name of their Secret. Of
    two Ingresses that claim the same path the older one has it."""
    hosts = {}
    for ingress in sorted(ingresses, key=lambda each: (each["metadata"].get("creationTimestamp", ""), _name(each))):
        if ingress["spec"].get("ingressClassName") != "nginx":
            continue
        for rule in ingress["spec"].get("rules", ()):
            server = hosts.setdefault(rule["host"], {"locations": {}, "tls": None})
            server["tls"] = server["tls"] or _tls(ingress, rule["host"], certificates)
            for path in rule.get("http", {}).get("paths", ()):
                for match in _matches(path):
                    server["locations"].setdefault(match, _location(ingress, path, match))
    servers = [_server(host, found) for host, found in sorted(hosts.items()) if found["tls"]]
    return HEAD.format(state=state, resolver=resolver) + "".join(servers) + "}\n"


def _name(ingress):
    return ingress["metadata"]["namespace"], ingress["metadata"]["name"]


def _tls(ingress, host, certificates):
    for each in ingress["spec"].get("tls", ()):
        if host in each.get("hosts", ()):
            return certificates.get((ingress["metadata"]["namespace"], each["secretName"]))
    return None


def _matches(path):
    """Prefix is by whole elements of a path."""
    own = path["path"]
    if path["pathType"] == "Exact":
        return [f"= {own}"]
    return [own] if own.endswith("/") else [f"= {own}", f"{own}/"]


def _location(ingress, path, match):
    notes = ingress["metadata"].get("annotations") or {}
    service = path["backend"]["service"]
    return LOCATION.format(
        match=match,
        body=notes.get(PREFIX + "proxy-body-size", "1m"),
        read=notes.get(PREFIX + "proxy-read-timeout", "60"),
        snippet=notes.get(PREFIX + "configuration-snippet", "").strip(),
        service=service["name"],
        namespace=ingress["metadata"]["namespace"],
        port=service["port"]["number"],
    )


def _server(host, found):
    files = f"    ssl_certificate {found['tls']};\n    ssl_certificate_key {found['tls']};\n"
    # What no path is for ends at the controller's default backend.
    found["locations"].setdefault("/", "    location / { return 404; }\n")
    locations = "".join(found["locations"].values())
    return f"  server {{\n    listen 8443 ssl;\n    server_name {host};\n{files}{locations}  }}\n"
