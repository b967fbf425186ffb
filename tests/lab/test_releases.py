"""The releases of Synapse that a lab may run, and what the deployment is for each."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import manifests, releases
from lab.errors import LabError
from lab.labs import Wanted, _release
from lab.releases import NEWEST, OLDER
from lab.setup import image

BASE = manifests.DEPLOYMENT / "base"
#: The file behind each text that a release changes, by ConfigMap.
TEXTS = {
    "synapse-config": BASE / "synapse/config/homeserver.yaml",
    "haproxy-config": BASE / "config/haproxy.cfg",
    "content-scanner-config": BASE / "config/content-scanner/config.yaml",
}


@pytest.mark.parametrize("name", ["1.119", "1.119.0", "v1.119.0"])
def test_a_release_is_found_by_what_people_call_it(name: str) -> None:
    assert releases.find(name) == OLDER
    assert OLDER.version == "1.119.0"


def test_the_newest_is_what_a_lab_has_unless_asked(tmp_path: Path) -> None:
    assert releases.find("") == releases.of(tmp_path) == NEWEST
    releases.record(tmp_path, OLDER)
    assert releases.of(tmp_path) == OLDER


def test_a_release_that_the_image_lacks_is_refused() -> None:
    with pytest.raises(LabError, match=r"the lab has Synapse [\d.]+ and 1\.119\.0, not 1\.120"):
        releases.find("1.120")


def test_a_stopped_lab_keeps_its_release(tmp_path: Path) -> None:
    releases.record(tmp_path, OLDER)
    assert _release(Wanted("lab", origin="stopped"), tmp_path) == OLDER
    assert _release(Wanted("lab"), tmp_path) == NEWEST
    with pytest.raises(LabError, match=r"lab lab has Synapse 1\.119\.0"):
        _release(Wanted("lab", origin="stopped", synapse=NEWEST.version), tmp_path)


def test_the_manifests_name_the_newest_and_every_name_is_in_the_image() -> None:
    named = {
        line.partition("image:")[2].strip().strip('"')
        for folder in (manifests.DEPLOYMENT, manifests.DEFECTS)
        for file in folder.rglob("*.yaml")
        for line in file.read_text().splitlines()
        if releases.REPOSITORY in line and "image:" in line and "{" not in line
    }
    assert named == {NEWEST.image}
    tags = image.TAGS.read_text().split()
    assert NEWEST.image in tags
    assert OLDER.image not in tags


def test_both_releases_are_locked_whole_without_an_index() -> None:
    for each in releases.ALL:
        lines = each.locked.read_text().splitlines()
        assert all("==" in line or line.startswith(("#", "    --hash=sha256:")) for line in lines)


def objects() -> list[dict[str, Any]]:
    return [
        {"kind": "ConfigMap", "metadata": {"name": name}, "data": {file.name: file.read_text()}}
        for name, file in TEXTS.items()
    ]


def test_every_change_of_a_release_is_one_of_the_deployment() -> None:
    made = objects()
    manifests._edit(made, manifests.RELEASES / "1.119.yaml", "release 1.119")
    synapse, haproxy, scanner = (next(iter(each["data"].values())) for each in made)
    assert "matrix_rtc" not in yaml.safe_load(synapse)
    assert yaml.safe_load(synapse)["max_event_delay_duration"] == "24h"
    assert "devices$|" in haproxy
    assert "delete_devices" not in haproxy
    assert "(keys/|" not in haproxy
    assert "http://synapse-media-repository-0." in scanner


def test_what_a_defect_has_taken_away_need_not_be_changed() -> None:
    made = objects()
    made[0]["data"]["homeserver.yaml"] = "server_name: matrix.lab.test\n"
    file = manifests.RELEASES / "1.119.yaml"
    manifests._edit(made, file, "release 1.119", may_miss=True)
    assert made[0]["data"]["homeserver.yaml"] == "server_name: matrix.lab.test\n"
    with pytest.raises(LabError, match=r"release 1\.119: synapse-config/homeserver.yaml does not hold"):
        manifests._edit(made, file, "release 1.119")


def test_pods_of_the_newest_run_the_release_and_a_defects_choice_stays() -> None:
    other = f"{releases.REPOSITORY}:v1.162.0"
    pod = {"spec": {"containers": [{"image": NEWEST.image}, {"image": other}], "image": NEWEST.version}}
    made = manifests._released(pod, OLDER)
    assert [each["image"] for each in made["spec"]["containers"]] == [OLDER.image, other]
    assert made["spec"]["image"] == NEWEST.version
