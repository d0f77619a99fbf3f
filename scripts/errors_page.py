"""The table of `docs/errors.md`, made from `proto/errors.toml`. Without arguments it writes the page's table anew."""

import sys
from pathlib import Path

from python_bridge.errors import error_table

PAGE = Path(__file__).resolve().parent.parent / "docs" / "errors.md"
BEGIN, END = "<!-- table: made by scripts/errors_page.py -->\n", "<!-- end of table -->\n"


def table() -> str:
    """Return the closed set as a table in Markdown."""
    head = (
        "| kind | code | HTTP | gRPC | may be retried | what happened | what to do |\n|---|---|---|---|---|---|---|\n"
    )
    rows = [
        f"| `{row.kind}` | {row.code} | {row.http} | {row.grpc} | {'yes' if row.retryable else 'no'} "
        f"| {row.summary} | {row.hint} |\n"
        for row in error_table().values()
    ]
    return head + "".join(rows)


def with_table(page: str) -> str:
    """Return the page with its table replaced."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}{table()}{END}{rest.split(END)[1]}"


def main() -> int:
    """Write the page."""
    PAGE.write_text(with_table(PAGE.read_text("utf-8")), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
