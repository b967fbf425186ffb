"""The Roles that a run needs, and that what lies in deploy/ is still right."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from postflight import roles
from postflight.cluster.access import Way
from postflight.probes.probe import EXEC, FORWARD, Safety
from postflight.probes.registry import all_probes
from postflight.rights_manifest import manifest, rights
from postflight.settings import Settings
from tests.unit import recorded, worlds

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
LEVELS = {"canary": "postflight", "read-only": "postflight-read-only"}
Json = dict[str, Any]


def allowed(role: Mapping[str, Any]) -> set[tuple[str, str, str]]:
    """Verb, group and resource of everything that a Role allows without naming objects."""
    return {
        (verb, group, resource)
        for rule in role["rules"]
        if "resourceNames" not in rule
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def made(safety: Safety = Safety.CANARY, way: Way = Way.DNS) -> dict[str, Json]:
    wanted = rights(all_probes().values(), safety, way)
    objects = manifest(recorded.healthy().snapshot, wanted, [("matrix", "further")], "me", "home")
    return {each["kind"]: each for each in objects}


class TestRights:
    def test_every_right_that_a_probe_declares_is_in(self) -> None:
        found = rights(all_probes().values(), Safety.CANARY, Way.TUNNEL)
        for each in all_probes().values():
            assert {*each.rights, *each.helped_by} <= found
        assert {EXEC, FORWARD} <= found

    def test_looking_only_makes_nothing(self) -> None:
        verbs = {verb for verb, _, resource in allowed(made(Safety.READ_ONLY)["Role"]) if resource != "pods/exec"}
        assert verbs == {"get", "list"}

    def test_a_tunnel_is_a_right_of_its_own(self) -> None:
        forward = ("create", "", "pods/portforward")
        assert forward not in allowed(made()["Role"])
        assert forward in allowed(made(way=Way.TUNNEL)["Role"])

    def test_secrets_are_read_by_name_and_never_listed(self) -> None:
        role = made()["Role"]
        assert not [each for each in allowed(role) if each[2] == "secrets"]
        (rule,) = [rule for rule in role["rules"] if "secrets" in rule["resources"]]
        assert rule["verbs"] == ["get"]
        assert {"synapse-secrets", "redis-password", "matrix-postgresql-app", "further"} <= set(rule["resourceNames"])

    def test_no_secret_named_is_no_rule_at_all(self) -> None:
        wanted = rights(all_probes().values(), Safety.CANARY, Way.DNS)
        objects = manifest(worlds.snapshot(), wanted, [], "me", "home")
        assert "secrets" not in json.dumps(objects)

    def test_in_all_namespaces_only_what_operators_and_controllers_are_is_listed(self) -> None:
        workloads = {("list", "apps", "deployments"), ("list", "apps", "daemonsets")}
        assert allowed(made()["ClusterRole"]) == {*workloads, ("list", "", "namespaces")}

    def test_each_role_is_bound_to_the_account(self) -> None:
        found = made()
        assert found["ServiceAccount"]["metadata"] == {"name": "me", "namespace": "home"}
        for kind in ("RoleBinding", "ClusterRoleBinding"):
            assert found[kind]["subjects"] == [{"kind": "ServiceAccount", "name": "me", "namespace": "home"}]
            assert found[kind]["roleRef"]["name"] == found[kind.removesuffix("Binding")]["metadata"]["name"]


class TestCommand:
    def test_manifests_serve_as_well_as_a_cluster(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        snapshot = recorded.healthy().snapshot
        items = [{"apiVersion": "v1", **each} for found in snapshot.objects.values() for each in found]
        (tmp_path / "all.yaml").write_text(json.dumps({"kind": "List", "items": items}))
        assert roles.main(["--manifests", str(tmp_path / "all.yaml")]) == 0
        printed = [each for each in yaml.safe_load_all(capsys.readouterr().out) if each]
        wanted = rights(all_probes().values(), Safety.CANARY, Way.DNS)
        own = [("matrix", Settings().canary.ca_secret), ("matrix", Settings().li.credential.secret)]
        assert printed == manifest(snapshot, wanted, own, "postflight", "postflight")

    @pytest.mark.parametrize(
        ("content", "line"),
        [("kind: Nothing\n", "the manifests hold nothing that a run reads"), ("- [\n", "while parsing")],
    )
    def test_what_is_no_manifest_is_a_usage_error(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, line: str
    ) -> None:
        (tmp_path / "all.yaml").write_text(content)
        assert roles.main(["--manifests", str(tmp_path / "all.yaml")]) == 4
        told = capsys.readouterr()
        assert told.err.startswith(f"postflight roles: {line}")
        assert told.err.count("\n") == 1
        assert not told.out

    def test_no_cluster_is_exit_code_6(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert roles.main(["--kubeconfig", "none"]) == 6
        assert capsys.readouterr().err == "postflight roles: --kubeconfig none: no such file\n"


class TestDeploy:
    @pytest.mark.parametrize("level", LEVELS)
    def test_the_rights_are_not_stale(self, level: str) -> None:
        """Beside the names of Secrets and the front door's namespace, which the whole deployment tells
        (tests/lab/live/test_in_cluster.py)."""
        wanted = rights(all_probes().values(), Safety(level), Way.DNS)
        made = manifest(recorded.healthy().snapshot, wanted, [], LEVELS[level], "postflight")
        kept = [each for each in yaml.safe_load_all((DEPLOY / f"rights/{level}/rights.yaml").read_text()) if each]
        anew = f"python -m postflight roles --kubeconfig LAB --safety {level} --account {LEVELS[level]}"
        kept = [each for each in kept if each["metadata"]["name"] != f"{LEVELS[level]}-front-door"]
        assert _without_secrets(kept) == _without_secrets(made), anew

    @pytest.mark.parametrize("file", ["base/cronjob.yaml", "overlays/release/job.yaml"])
    def test_a_pod_meets_pod_security_restricted_and_ends_in_time(self, file: str) -> None:
        spec = yaml.safe_load((DEPLOY / file).read_text())["spec"]
        if "jobTemplate" in spec:
            assert spec["concurrencyPolicy"] == "Forbid"
            assert spec["startingDeadlineSeconds"]
            assert spec["successfulJobsHistoryLimit"]
            assert spec["failedJobsHistoryLimit"]
            spec = spec["jobTemplate"]["spec"]
        assert spec["backoffLimit"] == 0
        assert spec["activeDeadlineSeconds"] >= 120
        pod = spec["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "--termination-log=/dev/termination-log" in container["args"]
        assert container["resources"]["limits"]["memory"]

    def test_the_image_runs_as_nobody_from_a_base_that_is_named_when_it_is_built(self) -> None:
        text = (DEPLOY / "image/Dockerfile").read_text()
        bases = [line for line in text.splitlines() if line.startswith("FROM ")]
        assert all(line.startswith("FROM ${BASE}") for line in bases)
        assert "--require-hashes" in text
        assert re.search(r"^USER 10991:10991$", text, re.MULTILINE)

    def test_the_images_packages_are_those_of_the_lock_as_far_as_postflight_needs_them(self) -> None:
        whole, image = locked(ROOT / "requirements.txt"), locked(DEPLOY / "image/requirements.txt")
        assert {name: whole.get(name) for name in image} == dict(image)
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        needed = {re.split(r"[\[<>=]", each)[0] for each in project["dependencies"]}
        assert needed <= set(image)
        assert "mypy" not in image


def locked(file: Path) -> Mapping[str, str]:
    """Each package's version and hashes, by its name."""
    found = {}
    for block in re.split(r"\n(?=\S)", file.read_text()):
        name, _, rest = block.partition("==")
        # Another resolver run may say anew on which platforms, never another version.
        found[name] = re.sub(r" ; [^\\\n]*", " ", rest).strip()
    return found


def _without_secrets(objects: list[Json]) -> list[Json]:
    for each in objects:
        if "rules" in each:
            each["rules"] = [rule for rule in each["rules"] if "resourceNames" not in rule]
    return objects
