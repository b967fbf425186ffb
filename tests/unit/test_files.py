"""What is read in a container: files, folders of configuration, and what cannot be read."""

from __future__ import annotations

import subprocess
from pathlib import Path

from postflight.cluster.files import SCRIPT, understood


def ask(*paths: str | Path) -> dict[str, bytes]:
    """What the command says of this machine's files."""
    names = tuple(map(str, paths))
    answer = subprocess.run(["sh", "-c", SCRIPT, "sh", *names], capture_output=True, text=True, check=True)
    return dict(understood(names, answer.stdout.splitlines()))


def test_a_file_is_read_whole_and_one_that_is_not_there_is_left_out(tmp_path: Path) -> None:
    body = bytes(range(256)) * 40
    (tmp_path / "with space").write_bytes(body)
    (tmp_path / "empty").touch()
    found = ask(tmp_path / "with space", tmp_path / "none", tmp_path / "empty")
    assert found == {str(tmp_path / "with space"): body, str(tmp_path / "empty"): b""}


def test_of_a_folder_the_yaml_files_are_read_as_synapse_takes_them(tmp_path: Path) -> None:
    folder = tmp_path / "conf.d"
    (folder / "x.yaml").mkdir(parents=True)
    for name in ("b.yaml", "a.yaml", ".hidden.yaml", "c.yml", "notes"):
        (folder / name).write_text(name)
    (folder / "linked.yaml").symlink_to("c.yml")
    given = f"{folder}/"
    expected = {given: b""} | {f"{folder}/{each}": each.encode() for each in (".hidden.yaml", "a.yaml", "b.yaml")}
    assert ask(given) == expected | {f"{folder}/linked.yaml": b"c.yml"}
    (tmp_path / "nothing").mkdir()
    assert ask(tmp_path / "nothing") == {str(tmp_path / "nothing"): b""}


def test_a_folder_of_which_one_file_cannot_be_read_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: 1")
    # Opened by anyone, and read by nobody, root included.
    (tmp_path / "b.yaml").symlink_to("/proc/self/clear_refs")
    assert ask(tmp_path) == {}


def test_a_folder_with_a_link_that_leads_nowhere_is_read_without_it(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to("gone")
    assert ask(tmp_path) == {str(tmp_path): b""}


def test_a_file_that_one_of_them_names_as_holding_a_secret_is_read_with_it(tmp_path: Path) -> None:
    for name in ("turn", "redis", "pg pass", "unread", "a.yaml"):
        (tmp_path / name).write_text(f"in {name}")
    folder = tmp_path / "conf.d"
    folder.mkdir()
    (folder / "a.yaml").write_text(
        f"turn_shared_secret_path: {tmp_path}/turn\nredis: {{enabled: true, password_path: '{tmp_path}/redis'}}\n"
    )
    whole = tmp_path / "homeserver.yaml"
    whole.write_text(
        f'database:\n  args:\n    "passfile": "{tmp_path}/pgpass" # mine\n#turn_shared_secret_path: {tmp_path}/unread\n'
        f"registration_shared_secret_path: {tmp_path}/gone\nmy_passfile: {tmp_path}/unread\n"
    )
    (tmp_path / "pgpass").write_text("*:*:*:synapse:hunter2\n")
    found = ask(folder, whole)
    assert found.keys() == {
        *map(str, (folder, folder / "a.yaml", whole, tmp_path / "pgpass", tmp_path / "turn", tmp_path / "redis"))
    }
    assert found[f"{tmp_path}/turn"] == b"in turn"
    assert found[f"{tmp_path}/pgpass"] == b"*:*:*:synapse:hunter2\n"
