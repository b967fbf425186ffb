"""The pages of the checks: made of what stands elsewhere, and never behind it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import pages

MADE = {file.stem: text for file, text in pages.pages().items()}
SECTIONS = ("How it looks", "What it leaves behind", "Causes seen", "Remedy", "What it cannot see")


def test_the_pages_are_those_that_would_be_made_now() -> None:
    assert pages.differences() == []


def test_what_is_missing_stale_or_superfluous_is_named_with_the_remedy(tmp_path: Path) -> None:
    pages.write(tmp_path)
    assert pages.differences(tmp_path) == []
    (tmp_path / "redis.memory.md").write_text("by hand")
    (tmp_path / "leftovers.md").unlink()
    (tmp_path / "no.more.md").write_text("of a check that is gone")
    found = pages.differences(tmp_path)
    assert [each.partition(";")[0].removeprefix("docs/checks/") for each in found] == [
        "leftovers.md is missing",
        "redis.memory.md is stale",
        "no.more.md is superfluous: no check is called that",
    ]
    assert all("`make docs`" in each for each in found)
    pages.write(tmp_path)
    assert pages.differences(tmp_path) == []


@pytest.mark.parametrize("id", sorted(MADE.keys() - {"README"}))
class TestEveryPage:
    def test_says_all_there_is_to_say(self, id: str) -> None:
        text = MADE[id]
        assert [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")] == list(SECTIONS)
        assert all(text.partition(f"## {each}\n\n")[2].strip() for each in SECTIONS)
        assert "``" not in text

    def test_names_a_defect(self, id: str) -> None:
        assert "(../../lab/defects/" in MADE[id]

    def test_has_links_that_lead_somewhere(self, id: str) -> None:
        for link in pages.links(MADE[id]):
            assert (pages.FOLDER / link).exists(), link

    def test_stands_in_the_index(self, id: str) -> None:
        assert f"[`{id}`]({id}.md)" in MADE["README"]


def test_a_page_says_what_the_check_makes() -> None:
    assert "Job `postflight-RUN-canary`" in MADE["federation.exactly_once"]
    assert "Nothing" in MADE["platform.references"]


def test_what_looks_like_a_tag_is_no_tag() -> None:
    assert "<" not in "".join(MADE.values())
