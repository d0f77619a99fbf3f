#!/usr/bin/env python3
"""Makes `python_bridge/_proto/` from `proto/*.proto`. `--check` writes nothing and tells what differs.

protoc writes `import bridge_pb2`, which works only when the folder itself is on the path; here the imports name the
package.
"""

import re
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTO, TARGET = ROOT / "proto", ROOT / "python_bridge" / "_proto"
NAMES = ("bridge", "snakepit_bridge")
_OWN_IMPORT = re.compile(rf"^import ((?:{'|'.join(NAMES)})_pb2) as ", re.MULTILINE)


def generated() -> dict[str, str]:
    """Return the files by name, as they must be.

    Raises:
        SystemExit: protoc refuses a file; it has told why.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"-I{PROTO}", f"-I{files('grpc_tools') / '_proto'}"]
        targets = [f"--{kind}_out={folder}" for kind in ("python", "pyi", "grpc_python")]
        status = protoc.main(["protoc", *paths, *targets, *(f"{name}.proto" for name in NAMES)])
        if status:
            raise SystemExit(status)
        return {path.name: _in_package(path.read_text("utf-8")) for path in sorted(Path(folder).iterdir())}


def _in_package(source: str) -> str:
    return _OWN_IMPORT.sub(r"from python_bridge._proto import \1 as ", source)


def differences() -> list[str]:
    """Return the names of the files that are not as they must be."""
    wanted = generated()
    there = {path.name: path.read_text("utf-8") for path in TARGET.iterdir() if path.is_file()}
    there.pop("__init__.py", None)  # the one that is written by hand
    return sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))


def main(arguments: list[str]) -> int:
    """Write the files, or with ``--check`` compare them; the exit status is 1 when they differ."""
    if arguments == ["--check"]:
        wrong = differences()
        print(f"made anew, these differ; run make proto: {', '.join(wrong)}" if wrong else "generated code is current")
        return 1 if wrong else 0
    TARGET.mkdir(exist_ok=True)
    for name, text in generated().items():
        (TARGET / name).write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
