"""Settings of a worker."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class LmSettings:
    """One `[lms.NAME]` table.

    Attributes:
        model: as `dspy.LM` takes it (``"openai/gpt-4o-mini"``), or ``"offline/extractive"``.
        api_key_env: name of the environment variable that holds the key; the key itself is never stored.
        api_base: base URL of an OpenAI-compatible server.
        timeout: seconds for one LM request.
        retries: how often a retryable LM error is tried again.
        cache: whether answers may come from the worker's own cache.
    """

    model: str
    api_key_env: str | None = None
    api_base: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    timeout: float | None = None
    retries: int = 2
    cache: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of a worker; every field has a working default."""

    lms: dict[str, LmSettings] = field(default_factory=dict[str, LmSettings])
    default_lm: str = "default"
    adapter: str = "chat"
    allowed_imports: tuple[str, ...] = ()
    debug: bool = False


__all__ = ["LmSettings", "Settings"]
