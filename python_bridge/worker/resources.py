"""What the system gives to a worker: niceness, processors, and the devices that it sees."""

import os
from collections.abc import MutableMapping

from python_bridge.settings import Settings, SettingsError

GPU_VARIABLES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
_MAX_CPUS = 4096
NO_GPU = "none"


def apply_resources(settings: Settings, environ: MutableMapping[str, str] | None = None) -> None:
    """Limit this process as the settings say, before anything is imported that looks for devices.

    Raises:
        SettingsError: the system refuses it, or there are no such processors.
    """
    if settings.gpu is not None:
        _show_devices(settings.gpu, os.environ if environ is None else environ)
    if settings.nice != 0:
        _set_niceness(settings.nice)
    if settings.cpus is not None:
        _set_processors(settings.cpus)


def declared_features(settings: Settings) -> list[str]:
    """Return the features that the settings declare: `gpu`, `gpu:<device>`, `capability:<word>`."""
    devices = [] if settings.gpu is None else _devices(settings.gpu)
    gpu = ["gpu", *(f"gpu:{device}" for device in devices)] if devices else []
    return [*gpu, *(f"capability:{word}" for word in settings.capabilities)]


def read_processors(text: str) -> set[int]:
    """Return the numbers of ``"0-3,6"``.

    Raises:
        SettingsError: it is no such list.
    """
    numbers: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or int(last or first) >= _MAX_CPUS:
            raise SettingsError(f"cpus must be numbers and ranges as 0-3,6, below {_MAX_CPUS}; it is {text!r:.80}")
        numbers.update(range(int(first), int(last or first) + 1))
    if not numbers:
        raise SettingsError(f"cpus names no processor: {text!r}")
    return numbers


def _devices(text: str) -> list[str]:
    return [] if text == NO_GPU else [part.strip() for part in text.split(",") if part.strip()]


def _show_devices(text: str, environ: MutableMapping[str, str]) -> None:
    for name in GPU_VARIABLES:
        environ[name] = ",".join(_devices(text))  # an empty list hides all of them


def _set_niceness(nice: int) -> None:
    try:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    except OSError as error:
        text = f"nice = {nice} is refused by the system ({error.strerror}); values below the present one need root"
        raise SettingsError(text) from None


def _set_processors(text: str) -> None:
    wanted = read_processors(text)
    if not hasattr(os, "sched_setaffinity"):
        raise SettingsError("cpus is set, but this system has no processor affinity; leave it out")
    there = os.sched_getaffinity(0)
    if not wanted <= there:
        raise SettingsError(f"cpus = {text!r} names processors that this process has not; it has {sorted(there)}")
    os.sched_setaffinity(0, wanted)


__all__ = ["GPU_VARIABLES", "apply_resources", "declared_features", "read_processors"]
