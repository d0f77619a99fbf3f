"""What a request means by its `_meta`."""

from dataclasses import dataclass

from python_bridge.services.sessions.turns import SessionKey


@dataclass(frozen=True, slots=True)
class Ref:
    """Which session a request means, and what makes it the same request when it is repeated.

    Attributes:
        idempotency_key: with it, `digest` is the hash of the request's method and params.
        within: sessions whose calls wait for this request; ``None`` when the client does not tell.
    """

    tenant: str
    session: str
    idempotency_key: str | None = None
    digest: str = ""
    within: tuple[str, ...] | None = None

    @property
    def key(self) -> SessionKey:
        """Tenant and id."""
        return self.tenant, self.session


__all__ = ["Ref"]
