"""What a container's environment and files are by its spec: for containers that cannot be asked, and
for what a restart would take today."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from postflight.cluster.changes import last_change
from postflight.cluster.kinds import CONFIG_MAP, POD
from postflight.cluster.secrets import SecretStore
from postflight.cluster.snapshot import Snapshot

#: ``envsubst < SOURCE > TARGET``, with or without a list of variables: with one, no other is put in.
ENVSUBST = re.compile(r"envsubst(?:\s+'([^']*)')?\s*<\s*(\S+?)\s*>\s*([^\s;&|]+)")
COPY = re.compile(r"\bcp\s+(?:-\w+\s+)*(\S+)\s+([^\s;&|]+)")
PLACEHOLDER = re.compile(r"\$\{(\w+)\}|\$(\w+)")
#: ``$$`` is a dollar of its own: ``$$(NAME)`` is no reference.
REFERENCE = re.compile(r"\$\$|\$\(([\w.-]+)\)")
DEPTH = 5
#: How the origin of what a Secret holds begins.
OF_SECRET = "Secret "
#: Stands for all variables of a Secret whose keys are not known.
ANY = "*"


class Unreadable(Exception):
    """A value comes from a Secret that could not be read."""


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable by spec. ``origin`` names the Secret or ConfigMap key it comes from;
    ``unreadable`` says why its value is not known."""

    value: str
    origin: str = ""
    secret: tuple[str, str] | None = None
    unreadable: str = ""


@dataclass(frozen=True, slots=True)
class Spec:
    """A pod template with what its names lead to."""

    snapshot: Snapshot
    secrets: SecretStore
    namespace: str
    pod_name: str
    pod_ip: str
    raw: Mapping[str, Any]

    def containers(self) -> tuple[Mapping[str, Any], ...]:
        return (*(self.raw.get("initContainers") or ()), *(self.raw.get("containers") or ()))

    def environment(self, container: Mapping[str, Any]) -> dict[str, Variable]:
        """What the variables of a container would be if it started now; those of a Secret that could
        not be read say so (under ``ANY`` when not even their names are known)."""
        found: dict[str, Variable] = {}
        for source in container.get("envFrom") or ():
            prefix = source.get("prefix") or ""
            if ref := source.get("secretRef"):
                if why := self._unreadable(ref["name"]):
                    found[ANY] = Variable("", unreadable=why)
                held = self.secrets.get(self.namespace, ref["name"])
                for key, secret in (held.data if held else {}).items():
                    origin = f"Secret {ref['name']}/{key}"
                    found[prefix + key] = Variable(secret.reveal(), origin, (self.namespace, ref["name"]))
            if ref := source.get("configMapRef"):
                for key, value in self._config_map(ref["name"]).items():
                    found[prefix + key] = Variable(value, f"ConfigMap {ref['name']}/{key}")
        for each in container.get("env") or ():
            found[each["name"]] = self._variable(each, found)
        return found

    def origin_of(self, value: str) -> Variable | None:
        """The variable of one of the containers, in their order, that has a value from a Secret; else a file of theirs
        that is a key of one."""
        for container in self.containers() if value else ():
            for variable in self.environment(container).values():
                if variable.secret and variable.value == value:
                    return variable
        for container in self.containers() if value else ():
            for _, origin, text in self.mounted(container):
                if text.strip() == value and origin.startswith(OF_SECRET):
                    return Variable(value, origin, (self.namespace, origin.removeprefix(OF_SECRET).partition("/")[0]))
        return None

    def mounted(self, container: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
        """Path, origin and text of every file that a container has from a ConfigMap or a Secret."""
        volumes = {each["name"]: each for each in self.raw.get("volumes") or ()}
        for mount in container.get("volumeMounts") or ():
            at, sub = mount["mountPath"].rstrip("/"), mount.get("subPath")
            volume = volumes.get(mount["name"]) or {}
            for source in (volume, *((volume.get("projected") or {}).get("sources") or ())):
                for field, kind in (("configMap", "ConfigMap"), ("secret", "Secret")):
                    ref = source.get(field) or {}
                    name = ref.get("name") or ref.get("secretName") or ""
                    paths = {each["key"]: each["path"] for each in ref.get("items") or ()}
                    for key, text in self._texts(kind, name).items():
                        inner = paths.get(key, "" if paths else key)
                        if inner and sub in (None, "", inner):
                            yield (at if sub else f"{at}/{inner}"), f"{kind} {name}/{key}", text

    def _texts(self, kind: str, name: str) -> Mapping[str, str]:
        if kind == CONFIG_MAP.name:
            return self._config_map(name)
        held = self.secrets.get(self.namespace, name)
        return {key: value.reveal() for key, value in held.data.items()} if held else {}

    def file(
        self, container: Mapping[str, Any], path: str, environment: Callable[[str], str | None] | None = None
    ) -> str | None:
        """The text that a file has by spec: from a mounted ConfigMap or Secret, or as an init
        container makes it from one by ``envsubst`` or ``cp``. None where the spec does not tell.

        ``environment`` replaces the values of variables (for tracing where a value comes from).
        """
        return self._file(container, path, environment, DEPTH)

    def folder(self, container: Mapping[str, Any], path: str) -> dict[str, str]:
        """The files right within a folder that is a mounted ConfigMap or Secret, by name; none where it is not."""
        at = path.rstrip("/")
        return {
            name: text
            for where, _, text in self.mounted(container)
            if where.rpartition("/")[0] == at and (name := where.rpartition("/")[2])
        }

    def refreshed(self, container: Mapping[str, Any], path: str) -> datetime | None:
        """When the file that a running container has at a path was last changed under it: the kubelet brings a
        ConfigMap's new content into its volumes, where no ``subPath`` is mounted. None where it does not, or
        nobody tells when that was."""
        mount = self._mount(container, path)
        if mount is None or mount[2]:
            return None
        volume, inner, _ = mount
        for source in (volume, *((volume.get("projected") or {}).get("sources") or ())):
            ref = source.get("configMap") or {}
            items = {each["path"]: each["key"] for each in ref.get("items") or ()}
            found = self.snapshot.get(CONFIG_MAP, self.namespace, ref["name"]) if ref.get("name") else None
            key = items.get(inner, "") if items else inner
            if found and key in (found.get("data") or {}):
                return last_change(found, key)
        return None

    def _file(
        self, container: Mapping[str, Any], path: str, environment: Callable[[str], str | None] | None, depth: int
    ) -> str | None:
        mount = self._mount(container, path)
        if mount is None or depth == 0:
            return None
        volume, inner, _ = mount
        if (text := self._mounted(volume, inner)) is not None:
            return text
        for maker in self.raw.get("initContainers") or ():
            place = next((m["mountPath"] for m in maker.get("volumeMounts") or () if m["name"] == volume["name"]), None)
            if place is None:
                continue
            target = f"{place.rstrip('/')}/{inner}"
            script = " ".join((*(maker.get("command") or ()), *(maker.get("args") or ())))
            for listed, source, made in ENVSUBST.findall(script):
                if self._path(made, maker) == target:
                    template = self._file(maker, self._path(source, maker), environment, depth - 1)
                    only = {one or other for one, other in PLACEHOLDER.findall(listed)}
                    return None if template is None else self._substitute(template, maker, environment, only)
            folder, _, name = target.rpartition("/")
            for source, made in COPY.findall(script):
                origin, made = self._path(source, maker), self._path(made, maker)
                into = made.rstrip("/") == folder and origin.rpartition("/")[2] == name
                if made == target or into:
                    text = self._file(maker, origin, environment, depth - 1)
                    if text is not None:
                        return text
        return None

    def _path(self, word: str, container: Mapping[str, Any]) -> str:
        """A path as a shell script spells it: quotes off, variables in."""
        variables = self.environment(container)
        bare = word.strip("\"'")
        return PLACEHOLDER.sub(lambda m: variables.get(m[1] or m[2], Variable("")).value, bare)

    def _substitute(
        self,
        template: str,
        container: Mapping[str, Any],
        environment: Callable[[str], str | None] | None,
        only: Collection[str],
    ) -> str:
        """``only`` are the variables that are put in; all where it is empty."""
        variables = self.environment(container)

        def value(match: re.Match[str]) -> str:
            name = match[1] or match[2]
            if only and name not in only:
                return match[0]
            if environment is not None and (traced := environment(name)) is not None:
                return traced
            variable = variables.get(name) or variables.get(ANY) or Variable("")
            if variable.unreadable:
                raise Unreadable(variable.unreadable)
            return variable.value

        return PLACEHOLDER.sub(value, template)

    def _mount(self, container: Mapping[str, Any], path: str) -> tuple[Mapping[str, Any], str, bool] | None:
        """The volume that a path lies in, the path within it, and whether only a part of the volume is mounted."""
        best: Mapping[str, Any] | None = None
        for mount in container.get("volumeMounts") or ():
            at = mount["mountPath"].rstrip("/")
            if (path == at or path.startswith(at + "/")) and (
                best is None or len(at) > len(best["mountPath"].rstrip("/"))
            ):
                best = mount
        if best is None:
            return None
        at = best["mountPath"].rstrip("/")
        inner = "/".join(part for part in (best.get("subPath") or "", path[len(at) + 1 :]) if part)
        volume = next((each for each in self.raw.get("volumes") or () if each["name"] == best["name"]), None)
        return (volume, inner, bool(best.get("subPath"))) if volume else None

    def _mounted(self, volume: Mapping[str, Any], inner: str) -> str | None:
        for source in (volume, *((volume.get("projected") or {}).get("sources") or ())):
            for field in ("configMap", "secret"):
                if not (ref := source.get(field)):
                    continue
                name = ref.get("name") or ref.get("secretName")
                items = {each["path"]: each["key"] for each in ref.get("items") or ()}
                key = items.get(inner) if items else inner
                if key is None:
                    continue
                if field == "configMap":
                    text = self._config_map(name).get(key)
                else:
                    held = self.secrets.value(self.namespace, name, key)
                    text = held.reveal() if held else None
                if text is not None:
                    return text
        return None

    def _variable(self, each: Mapping[str, Any], so_far: Mapping[str, Variable]) -> Variable:
        source = each.get("valueFrom") or {}
        if ref := source.get("secretKeyRef"):
            if why := self._unreadable(ref["name"]):
                return Variable("", unreadable=why)
            held = self.secrets.value(self.namespace, ref["name"], ref["key"])
            origin = f"Secret {ref['name']}/{ref['key']}"
            return Variable(held.reveal() if held else "", origin, (self.namespace, ref["name"]))
        if ref := source.get("configMapKeyRef"):
            value = self._config_map(ref["name"]).get(ref["key"], "")
            return Variable(value, f"ConfigMap {ref['name']}/{ref['key']}")
        if ref := source.get("fieldRef"):
            fields = {"metadata.name": self.pod_name, "metadata.namespace": self.namespace, "status.podIP": self.pod_ip}
            pod = self.snapshot.get(POD, self.namespace, self.pod_name) or {}
            fields["status.hostIP"] = str((pod.get("status") or {}).get("hostIP") or "")
            return Variable(fields.get(ref["fieldPath"], ""))

        def expand(match: re.Match[str]) -> str:
            if match[0] == "$$":
                return "$"
            known = so_far.get(match[1])
            return known.value if known else match[0]

        return Variable(REFERENCE.sub(expand, str(each.get("value") or "")), "the pod's spec")

    def _unreadable(self, secret: str) -> str:
        return self.secrets.unseen.get((self.namespace, secret), "")

    def _config_map(self, name: str) -> Mapping[str, str]:
        found = self.snapshot.get(CONFIG_MAP, self.namespace, name)
        return (found.get("data") or {}) if found else {}
