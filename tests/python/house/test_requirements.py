"""The manifest of requirements and the tests that cite it agree."""

from pathlib import Path

import pytest

from scripts.requirements import EXPECTED, ROOT, Requirement, cited, problems, read_manifest

MANIFEST = ROOT / "tests" / "requirements.toml"


def with_row(row: Requirement) -> list[Requirement]:
    return [row if other.id == row.id else other for other in read_manifest(MANIFEST)]


def test_the_manifest_and_the_tests_agree() -> None:
    assert problems(read_manifest(MANIFEST), cited(ROOT / "tests")) == []


def test_there_are_one_hundred_and_fifty_ids() -> None:
    assert len(EXPECTED) == 150
    assert len(read_manifest(MANIFEST)) == 150


def test_an_id_that_is_missing_twice_there_or_unknown_is_told() -> None:
    rows = [row for row in read_manifest(MANIFEST) if row.id != "FR2.2.3"]
    rows += [rows[0], Requirement("FR9.9.9", "fly", "planned")]
    found = problems(rows, cited(ROOT / "tests"))
    assert "FR2.2.3 is missing from the manifest" in found
    assert f"{rows[0].id} stands 2 times in the manifest" in found
    assert "FR9.9.9 is not an id of the project" in found


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (Requirement("GR-X", "t", "done"), "GR-X is done and no test cites it"),
        (Requirement("GR-X", "t", "partial", ""), "GR-X is partial and does not say in `left` what it lacks"),
        (Requirement("GR-X", "t", "nearly"), "GR-X has the status 'nearly'; there are planned, partial, done"),
        (Requirement("GR-X", "t", "done", "replay"), "GR-X is done and yet something is left: replay"),
    ],
)
def test_a_row_that_claims_too_much_is_told(row: Requirement, told: str) -> None:
    assert told in problems(with_row(row), {})


def test_ids_are_found_in_the_marks_and_tags_of_both_languages(tmp_path: Path) -> None:
    python = 'pytestmark = pytest.mark.req("EX-1")\n@pytest.mark.req("EX-2",\n "EX-3")\ndef test_a(): ...\n'
    elixir = '@moduletag req: "EX-4"\n@tag req: ["EX-5",\n  "EX-6"]\n@describetag req: ~w(EX-7 EX-8)\n'
    (tmp_path / "test_a.py").write_text(python)
    (tmp_path / "a_test.exs").write_text(elixir)
    found = cited(tmp_path)
    assert sorted(found) == [f"EX-{n}" for n in range(1, 9)]
    assert found["EX-3"] == {"test_a.py"}
    assert found["EX-8"] == {"a_test.exs"}


def test_a_test_that_cites_an_unknown_id_is_told(tmp_path: Path) -> None:
    (tmp_path / "b_test.exs").write_text('@tag req: "FR0.0.0"\n')
    assert "FR0.0.0 is cited by b_test.exs but is not an id of the project" in problems([], cited(tmp_path))
