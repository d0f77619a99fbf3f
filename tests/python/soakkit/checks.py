"""Lines of a result."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """What was found, what it must be, and whether it is."""

    name: str
    found: str
    wanted: str
    ok: bool

    @classmethod
    def equal(cls, name: str, found: object, wanted: object) -> "Check":
        """Return the check that both are the same."""
        return cls(name, str(found), str(wanted), found == wanted)

    @classmethod
    def at_least(cls, name: str, found: int, wanted: int) -> "Check":
        """Return the check that there is enough."""
        return cls(name, f"{found:,}", f"≥ {wanted:,}", found >= wanted)


def failures(checks: list[Check]) -> list[str]:
    """Return in words what does not hold."""
    return [f"{check.name.strip()}: {check.found}, wanted {check.wanted}" for check in checks if not check.ok]


__all__ = ["Check", "failures"]
