"""Tracked files keep to their sizes and name no machine and no registry."""

from pathlib import Path

import pytest

from scripts.tree import ROOT, problems, tracked


def test_the_tracked_files_keep_to_the_rules() -> None:
    assert problems(ROOT, tracked(ROOT)) == []


@pytest.mark.parametrize(("name", "limit"), [("a.py", 500), ("a.ex", 600), ("a_test.exs", 600)])
def test_a_file_over_its_size_is_told(tmp_path: Path, name: str, limit: int) -> None:
    path = tmp_path / name
    path.write_text("x\n" * limit)
    assert problems(tmp_path, [path]) == []
    path.write_text("x\n" * (limit + 1))
    assert problems(tmp_path, [path]) == [f"{name}: {limit + 1} lines, more than {limit}; split it by subject"]


@pytest.mark.parametrize(
    "text",
    [
        "https://files." + "pythonhosted" + ".org/x",
        "index = https://pypi" + ".org/simple",
        'path = "/' + 'root/.cache"',
        "see /wo" + "rk/notes",
        "cd /ho" + "me/someone",
        "log in /tm" + "p/lab/x",
    ],
)
def test_an_address_of_a_machine_or_registry_is_told_with_its_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "notes.md"
    path.write_text(f"fine\n{text}\n")
    assert len(problems(tmp_path, [path])) == 1
    assert problems(tmp_path, [path])[0].startswith("notes.md:2: holds ")


@pytest.mark.parametrize("text", ["https://example.org/work/x", "python_bridge/root/x", "tmp/x", "a/home/b"])
def test_other_addresses_and_relative_paths_are_fine(tmp_path: Path, text: str) -> None:
    path = tmp_path / "notes.md"
    path.write_text(text)
    assert problems(tmp_path, [path]) == []


def test_a_file_that_is_not_text_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(b"\xff\xfe" * 1000)
    assert problems(tmp_path, [path]) == []
