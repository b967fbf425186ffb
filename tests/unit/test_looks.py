"""One look into each pod: which container, which paths, and what the command's words say."""

import subprocess
import time
from collections.abc import Sequence

import pytest

from postflight.cluster.api import ApiError
from postflight.probes.looks import SCRIPT, Disk, Listener, Look, Wish, look_into, understood, wishes
from tests.unit.worlds import container, deployment, pod, pods_of, snapshot

SAID = """=clock
1000.250000000
=tcp
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1146 1 0 100 0 0 10 0
   1: 0100007F:1F91 0100007F:A0B1 01 00000000:00000000 00:00000000 00000000     0        0 1147 1 0 100 0 0 10 0
=tcp6
   0: 00000000000000000000000000000000:1F92 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 1148 1 0 100
=udp
  12: 00000000:0D96 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1149 2 0 0
=udp6
=bytes
Filesystem     1024-blocks     Used Available Capacity Mounted on
/dev/vda              1000      400       500      45% /
//server/a share       200      200         0     100% /media
=inodes
Filesystem     Inodes IUsed IFree IUse% Mounted on
/dev/vda          100    40    60   40% /
//server/a share    0     0     0     - /media
=end
"""
ONE = pods_of(snapshot(pod("one", container())))["pod/matrix/one"]
WISH = Wish(ONE, "main", ("/", "/media"))


def seen(text: str = SAID, paths: Sequence[str] = ("/", "/media")) -> Look:
    return understood(Wish(ONE, "main", tuple(paths)), text, began=990.0, took=0.5)


def test_a_clock_is_held_against_the_middle_of_the_way_there_and_back() -> None:
    assert (seen().ahead, seen().within) == (10.0, 0.25)


def test_a_date_of_whole_seconds_is_half_a_second_less_certain() -> None:
    whole = seen(SAID.replace("1000.250000000", "1000.%N"))
    assert (whole.ahead, whole.within) == (10.25, 0.75)


def test_a_container_without_date_says_nothing_of_its_clock() -> None:
    assert seen(SAID.replace("1000.250000000\n", "")).ahead is None


def test_only_what_listens_is_a_listener() -> None:
    assert seen().listeners == frozenset(
        {
            Listener("TCP", "127.0.0.1", 8080),
            Listener("TCP", "::", 8082),
            Listener("UDP", "0.0.0.0", 3478),
        }
    )


def test_a_listener_at_the_loopback_is_nobody_elses() -> None:
    assert (seen().listens(8080), seen().listens(8082), seen().listens(3478, "UDP")) == (False, True, True)
    assert Listener("TCP", "::ffff:127.0.0.1", 1).local


def test_sockets_that_were_cut_short_are_not_seen() -> None:
    assert seen(SAID.partition("=udp6")[0]).listens(8082) is None


def test_a_disk_is_told_in_bytes_and_inodes() -> None:
    assert seen().disks["/"] == Disk("/", "/dev/vda", 1024000, 409600, 512000, 100, 60)


def test_a_filesystem_without_inodes_has_none() -> None:
    assert seen().disks["/media"] == Disk("/media", "//server/a share", 204800, 204800, 0)


def test_a_path_that_df_leaves_out_is_not_taken_for_another() -> None:
    assert set(seen(paths=("/", "/gone", "/media")).disks) == {"/", "/media"}


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_the_command_runs(shell: str) -> None:
    began, ticks = time.time(), time.monotonic()
    ran = subprocess.run([shell, "-c", SCRIPT, "sh", "/"], capture_output=True, text=True, check=True, timeout=20)
    look = understood(Wish(ONE, "main", ("/",)), ran.stdout, began, time.monotonic() - ticks)
    assert look.ahead is not None
    assert abs(look.ahead) <= look.within + 0.1
    assert look.listeners is not None
    assert look.disks["/"].size > 0


def test_the_container_that_mounts_most_is_looked_into_with_what_can_be_full() -> None:
    world = snapshot(
        pod(
            "one",
            container("side", volumeMounts=[{"name": "settings", "mountPath": "/etc/side"}]),
            container("store", volumeMounts=[{"name": "data", "mountPath": "/data"}]),
            volumes=[
                {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
                {"name": "settings", "configMap": {"name": "settings"}},
            ],
        )
    )
    (wish,) = wishes(deployment(world), world)
    assert (wish.container, wish.paths) == ("store", ("/", "/data"))


def test_who_shows_nothing_is_unseen_and_the_others_are_seen() -> None:
    others = [pods_of(snapshot(pod(name, container())))[f"pod/matrix/{name}"] for name in ("a", "b")]

    def look(wish: Wish) -> Look:
        if wish.pod.name == "a":
            raise ApiError(0, "no sh")
        return Look(wish.pod.id, wish.container)

    looks = look_into([Wish(each, "main", ("/",)) for each in others], look)
    assert (set(looks.seen), looks.unseen) == ({"pod/matrix/b"}, {"pod/matrix/a": "no sh"})


def test_what_is_late_is_unseen() -> None:
    def look(wish: Wish) -> Look:
        time.sleep(0.4)
        return Look(wish.pod.id, wish.container)

    looks = look_into([WISH], look, limit=0.05)
    assert (looks.seen, looks.unseen) == ({}, {ONE.id: "no answer within the time limit"})
