"""`telemetry/configure`, and `debug.dump` and `debug.profile` of workers in debug mode."""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from python_bridge.errors import BridgeError
from python_bridge.protocol.operations import Nothing
from python_bridge.services.call import Call
from python_bridge.services.conversation import Conversation
from python_bridge.services.dispatch import Dispatcher, Operation, Way
from python_bridge.services.observability.logs import LEVELS
from python_bridge.services.observability.observer import Observer
from python_bridge.services.observability.redaction import Redactor
from python_bridge.services.observability.subscription import EVENTS, Subscription, Wanted
from python_bridge.services.observability.traces import configured_tracer
from python_bridge.settings import Settings

if TYPE_CHECKING:
    from python_bridge.services.observability.forward import ForwardHandler

_GROUPS = tuple(dict.fromkeys(name.partition(".")[0] for name in EVENTS))
_MAX_PROFILE_MS = 60_000
_FORMS = ("text", "html")


@dataclass(slots=True)
class TelemetryParams:
    enabled: bool
    sample: float = 1.0
    events: list[Any] | None = None
    logs: str | None = None


@dataclass(slots=True)
class ProfileParams:
    duration_ms: int = 1000
    format: str = "text"


class Observability:
    """Who listens to a worker: its clients, and a tracer where OpenTelemetry is configured."""

    def __init__(self, settings: Settings, redactor: Redactor) -> None:
        self.observer = Observer()
        self.redactor = redactor
        self._settings = settings
        self._forward: ForwardHandler | None = None
        self._log_levels: dict[Conversation, int] = {}
        self._root_level = logging.getLogger().level

    def table(self) -> dict[str, Operation]:
        """Return the operations by method; those that show the inside exist in debug mode only."""
        table = {"telemetry/configure": Operation(TelemetryParams, self.configure, Way.CONTROL)}
        if self._settings.debug:
            table["debug.dump"] = Operation(Nothing, self.dump, Way.CONTROL)
            table["debug.profile"] = Operation(ProfileParams, self.profile)
        return table

    def attach(self, dispatcher: Dispatcher) -> None:
        """Watch the calls of a dispatcher from now on, if anyone wants to know."""
        if self._settings.tracing:
            self.observer.tracer = configured_tracer()
        self._switch(dispatcher)

    def close(self) -> None:
        """Forward no more log records."""
        if self._forward is not None:
            root = logging.getLogger()
            root.removeHandler(self._forward)
            root.setLevel(self._root_level)
            self._forward = None

    # -- operations -------------------------------------------------------------------------------------------

    def configure(self, conversation: Conversation, params: TelemetryParams) -> dict[str, Any]:
        """Begin to tell a client of its calls and of the worker, or stop."""
        wanted = _read_wanted(params)
        self.observer.forget(conversation)
        self._log_levels.pop(conversation, None)
        if params.enabled:
            self.observer.subscriptions[conversation] = Subscription(conversation, wanted)
            self._forward_logs(conversation, params.logs)
        elif not self._log_levels:
            self.close()
        self._switch(conversation.dispatcher)
        names = [name for name in EVENTS if wanted.takes(name)] if params.enabled else []
        return {"enabled": params.enabled, "sample": wanted.sample, "events": names}

    def dump(self, conversation: Conversation, params: Nothing) -> dict[str, Any]:
        """Show tasks and threads; answered on the control path, also by a worker that is busy."""
        from python_bridge.services.observability.debugging import dump  # few workers are ever looked into

        return dump(conversation.dispatcher.loop)

    async def profile(self, call: Call, params: ProfileParams) -> dict[str, Any]:
        """Show where the loop's thread spends its time."""
        if not 1 <= params.duration_ms <= _MAX_PROFILE_MS:
            text = f"duration_ms of debug.profile must be 1 to {_MAX_PROFILE_MS}, it is {params.duration_ms}"
            raise BridgeError("invalid_request", text)
        if params.format not in _FORMS:
            text = f"format of debug.profile must be one of {', '.join(_FORMS)}, it is {params.format!r:.40}"
            raise BridgeError("invalid_request", text)
        from python_bridge.services.observability.debugging import profile

        report = await profile(params.duration_ms / 1000, params.format)
        return {"format": params.format, "report": report}

    # -- listeners --------------------------------------------------------------------------------------------

    def _switch(self, dispatcher: Dispatcher) -> None:
        # A dispatcher without an observer does not even ask whether anyone listens.
        dispatcher.observer = self.observer if self.observer.listening else None

    def _forward_logs(self, conversation: Conversation, level: str | None) -> None:
        if level is None:
            return
        from python_bridge.services.observability.forward import ForwardHandler

        root, number = logging.getLogger(), logging.getLevelNamesMapping()[level.upper()]
        if self._forward is None:
            self._root_level = root.level
            self._forward = ForwardHandler(conversation.dispatcher.loop, self._send_log, self.redactor)
            root.addHandler(self._forward)
        self._log_levels[conversation] = number
        root.setLevel(min(root.level, number))

    def _send_log(self, level: int, params: dict[str, Any]) -> None:
        for conversation, least in list(self._log_levels.items()):
            subscription = self.observer.subscriptions.get(conversation)
            if subscription is None:
                del self._log_levels[conversation]
            elif level >= least:
                subscription.notify("log/message", params)


def _read_wanted(params: TelemetryParams) -> Wanted:
    if not 0 <= params.sample <= 1:
        text = f"sample of telemetry/configure must be from 0 to 1, it is {params.sample!r}"
        raise BridgeError("invalid_request", text)
    if params.logs is not None and params.logs not in LEVELS:
        text = f"logs of telemetry/configure must be one of {', '.join(LEVELS)}, it is {params.logs!r:.40}"
        raise BridgeError("invalid_request", text)
    events = _GROUPS if params.events is None else tuple(params.events)
    if wrong := [event for event in events if event not in EVENTS and event not in _GROUPS]:
        known = ", ".join((*_GROUPS, *EVENTS))
        raise BridgeError("invalid_request", f"events of telemetry/configure: no {wrong[0]!r:.80}; known are {known}")
    return Wanted(params.sample, tuple(dict.fromkeys((*events, "telemetry"))))


__all__ = ["Observability", "ProfileParams", "TelemetryParams"]
