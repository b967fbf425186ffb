"""What the kinds of deployment change in configuration texts, without a lab."""

import pytest
import yaml

from lab import defects
from lab.manifests import DEPLOYMENT, KINDS

BASE = DEPLOYMENT / "base"
#: The file behind each text that a kind changes, by ConfigMap.
TEXTS = {
    "synapse-config": BASE / "synapse/config/homeserver.yaml",
    "synapse-li-config": BASE / "li/config/homeserver.yaml",
    "haproxy-config": BASE / "config/haproxy.cfg",
    "redis-config": BASE / "config/redis.conf",
}


@pytest.mark.parametrize("kind", [each.name for each in defects.kinds()])
class TestEveryKind:
    def test_finds_each_text_that_it_changes_once(self, kind: str) -> None:
        texts = {name: file.read_text() for name, file in TEXTS.items()}
        for edit in defects.load(kind).edits:
            text = texts[edit["configmap"]]
            assert text.count(edit["from"]) == 1, edit
            texts[edit["configmap"]] = text.replace(edit["from"], edit["to"])
        assert yaml.safe_load(texts["synapse-config"])["server_name"]

    def test_names_files_that_are_there(self, kind: str) -> None:
        made = yaml.safe_load((KINDS / kind / "kustomization.yaml").read_text())
        named = [*made.get("resources", ()), *(each["path"] for each in made.get("patches", ()) if "path" in each)]
        generated = [file for each in made.get("configMapGenerator", ()) for file in each.get("files", ())]
        assert all((KINDS / kind / each.rpartition("=")[2]).is_file() for each in (*named, *generated))
