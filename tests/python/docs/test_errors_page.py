"""The page of errors says what the table of errors says."""

from scripts.errors_page import PAGE, with_table


def test_the_page_of_errors_holds_the_table_as_it_is() -> None:
    page = PAGE.read_text("utf-8")
    assert with_table(page) == page, "run: .venv/bin/python -m scripts.errors_page"
