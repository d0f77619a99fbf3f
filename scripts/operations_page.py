"""The tables of `docs/operations.md`, made from the code. Without arguments it writes them anew."""

import sys
from pathlib import Path

from python_bridge.cli.settings_table import settings_markdown
from python_bridge.services.observability.subscription import EVENTS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "operations.md"


def events_markdown() -> str:
    """Return the table of telemetry events."""
    return "| event | told |\n|---|---|\n" + "".join(f"| `{name}` | {text} |\n" for name, text in EVENTS.items())


def with_tables(page: str) -> str:
    """Return the page with its tables replaced."""
    for name, table in (("events", events_markdown()), ("settings", settings_markdown())):
        begin, end = f"<!-- {name}: made by scripts/operations_page.py -->\n", f"<!-- end of {name} -->\n"
        before, rest = page.split(begin)
        page = f"{before}{begin}{table}{end}{rest.split(end)[1]}"
    return page


def main() -> int:
    """Write the page."""
    PAGE.write_text(with_tables(PAGE.read_text("utf-8")), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
