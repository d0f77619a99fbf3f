"""The floor of any Python worker: reads frames with a 4-byte length and writes each back, with no codec."""

import os
import sys


def _read(wanted: int) -> bytes:
    data = b""
    while len(data) < wanted:
        piece = os.read(0, wanted - len(data))
        if not piece:
            sys.exit(0)
        data += piece
    return data


def main() -> None:
    while True:
        head = _read(4)
        body = _read(int.from_bytes(head, "big"))
        os.write(1, head + body)


if __name__ == "__main__":
    main()
