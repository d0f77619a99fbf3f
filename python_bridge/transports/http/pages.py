"""The pages for people: nothing of them comes from elsewhere, and nothing runs in them but their own script."""

import base64
import hashlib
import re
from pathlib import Path

from fastapi.responses import HTMLResponse

_FOLDER = Path(__file__).parents[2] / "console"
_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def page(name: str) -> HTMLResponse:
    """Return the page of this name, with a policy that lets its own scripts run and no others."""
    text = (_FOLDER / name).read_text("utf-8")
    scripts = " ".join(f"'sha256-{_digest(script)}'" for script in _SCRIPT.findall(text))
    policy = (
        f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
    return HTMLResponse(text, headers=headers)


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


__all__ = ["page"]
