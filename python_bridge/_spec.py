"""The files of `proto/` as this installation has them.

A wheel carries them as package data under `python_bridge/_spec_files/`; in a checkout they lie beside the package.
"""

from pathlib import Path

_PACKAGE = Path(__file__).parent
_FOLDERS = (_PACKAGE / "_spec_files", _PACKAGE.parent / "proto")


def spec_path(name: str) -> Path:
    """Return the path of the file `name` of `proto/`, for example ``"errors.toml"``.

    Raises:
        FileNotFoundError: the installation lacks the file; the message names the folders that were searched.
    """
    for folder in _FOLDERS:
        if (path := folder / name).is_file():
            return path
    searched = ", ".join(str(folder) for folder in _FOLDERS)
    raise FileNotFoundError(f"{name} is not part of this installation (searched {searched}); reinstall python-bridge")
