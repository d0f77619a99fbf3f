"""Settings of a store."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Settings of a store.

    Attributes:
        url: ``postgresql://…`` or ``sqlite:///path``; ``None`` is the SQLite file of `instance`. It may hold a
            password, so it is never part of a text for people.
        instance: name of the file ``$XDG_STATE_HOME/dspex/<instance>.db``.
        power_safe: SQLite: whether a commit reaches the disk before it is acknowledged. Without it a commit is safe
            against the death of any process, not against the loss of power.
        lock_timeout_s: seconds to wait for another process that holds the store's lock.
    """

    url: str | None = field(default=None, repr=False)
    instance: str = "default"
    power_safe: bool = False
    lock_timeout_s: float = 5.0


__all__ = ["StoreSettings"]
