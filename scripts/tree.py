"""What every tracked file must keep to: sizes that a reader can hold, and no address of one machine or registry."""

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAX_LINES = {".py": 500, ".ex": 600, ".exs": 600}

# The pieces are put together here so that this file does not hold what it looks for.
_HOSTS = [
    ("pypi", "org"),
    ("pythonhosted", "org"),
    ("registry.npmjs", "org"),
    ("deb.debian", "org"),
    ("repo.hex", "pm"),
]
_PATHS = [("/wo", "rk/"), ("/ro", "ot/"), ("/home", "/[a-z]"), ("/tm", "p/[a-z_-]+/"), ("/Users", "/[a-z]")]
_ADDRESS = re.compile(
    "|".join([*(re.escape(".".join(parts)) for parts in _HOSTS), *(r"(?<![\w.])" + "".join(p) for p in _PATHS)])
)


def tracked(root: Path) -> list[Path]:
    """Return the files of the checkout at `root` that git tracks and that are still there."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=root, check=True, capture_output=True).stdout.decode()
    return [path for name in names.split("\0") if name and (path := root / name).is_file()]


def problems(root: Path, files: Iterable[Path]) -> list[str]:
    """Return what the files break, one line each, with paths relative to `root`."""
    return [f"{path.relative_to(root)}{line}" for path in files for line in _problems(path)]


def _problems(path: Path) -> Iterator[str]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except UnicodeDecodeError:  # not text: neither rule applies
        return
    limit = MAX_LINES.get(path.suffix)
    if limit and len(lines) > limit and "_pb2" not in path.name:
        yield f": {len(lines)} lines, more than {limit}; split it by subject"
    for number, line in enumerate(lines, 1):
        if found := _ADDRESS.search(line):
            yield f":{number}: holds {found[0]!r}, an address of one machine or registry"


def main() -> int:
    """Print what is wrong; the exit status is 1 when something is."""
    files = tracked(ROOT)
    wrong = problems(ROOT, files)
    print("\n".join(wrong) or f"{len(files)} tracked files keep to the rules")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
