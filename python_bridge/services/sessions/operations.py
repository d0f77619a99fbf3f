"""The operations of sessions (`proto/PROTOCOL.md`, section Sessions)."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol, cast

from python_bridge.errors import BridgeError
from python_bridge.protocol.messages import Request
from python_bridge.protocol.params import read_params
from python_bridge.services.sessions.codec import digest, encode
from python_bridge.services.sessions.manager import Ref, SessionManager
from python_bridge.services.sessions.params import (
    AppendParams,
    GetParams,
    HistoryParams,
    ImportParams,
    ListParams,
    OpenParams,
    ProgramEntry,
    PutParams,
    SessionParams,
    TrimParams,
    check_name,
    check_names,
    check_range,
)
from python_bridge.services.sessions.shown import (
    describe,
    export_document,
    history_position,
    import_document,
    import_limits,
    list_item,
    moment,
    show_entry,
)
from python_bridge.services.sessions.state import SessionProgram, SessionState
from python_bridge.settings import ADAPTERS

_MAX_PAGE = 1_000
_Step = Callable[[SessionState], tuple[SessionState, dict[str, Any]]]


class Programs(Protocol):
    """What sessions need of the worker's programs."""

    def create(self, program: Mapping[str, Any]) -> str:
        """Make a program ready and return its hash."""
        ...


class CallLike(Protocol):
    """What the handlers use of a call."""

    @property
    def request(self) -> Request: ...


def ref_of(request: Request, session: str) -> Ref:
    """Return which session a request means, and what makes it the same when it is repeated.

    Raises:
        BridgeError: `invalid_request` for names that can't be stored.
    """
    meta = request.meta
    tenant = "" if meta.tenant is None else check_name(meta.tenant, "_meta.tenant")
    within = None if meta.within is None else tuple(check_names(meta.within, "_meta.within"))
    if meta.idempotency_key is None:
        return Ref(tenant, session, within=within)
    key = check_name(meta.idempotency_key, "_meta.idempotency_key")
    return Ref(tenant, session, key, digest(request.method, request.params), within)


class SessionOperations:
    """Handlers over one manager."""

    def __init__(self, manager: SessionManager, programs: Programs) -> None:
        self._manager = manager
        self._programs = programs

    async def open(self, call: CallLike, params: OpenParams) -> dict[str, Any]:
        session = _new_id(params.session)
        now = self._manager.clock.now()
        ref = ref_of(call.request, "")
        state = SessionState(
            tenant=ref.tenant,
            id=session,
            created_at=now,
            updated_at=now,
            lm=_name_or_none(params.lm, "lm"),
            adapter=_adapter(params.adapter),
            variables=_variables(params.variables),
            programs=self._read_programs(params.programs),
            limits=self._manager.settings.limits.narrowed(params.limits or {}),
        )
        return await self._manager.open(state, ref, describe)

    async def attach(self, call: CallLike, params: SessionParams) -> dict[str, Any]:
        def work(state: SessionState) -> tuple[SessionState, dict[str, Any]]:
            return state, describe(state)

        return await self._run(call, params.session, work)

    async def touch(self, call: CallLike, params: SessionParams) -> dict[str, Any]:
        def work(state: SessionState) -> tuple[SessionState, dict[str, Any]]:
            return state, {"expires_at": moment(state.expires_at)}

        return await self._run(call, params.session, work)

    async def close(self, call: CallLike, params: SessionParams) -> dict[str, Any]:
        ref = ref_of(call.request, check_name(params.session, "session"))
        return await self._manager.close(ref, lambda found: {"closed": found})

    async def page(self, call: CallLike, params: ListParams) -> dict[str, Any]:
        limit = check_range(params.limit, 1, _MAX_PAGE, "limit")
        after = check_name(params.after, "after") if params.after else ""
        rows = await self._manager.page(ref_of(call.request, "").tenant, after, limit + 1)
        shown = [list_item(row) for row in rows[:limit]]
        return {"sessions": shown, "next": rows[limit - 1].id if len(rows) > limit else None}

    async def describe(self, call: CallLike, params: SessionParams) -> dict[str, Any]:
        return describe(await self._view(call, params.session))

    async def get(self, call: CallLike, params: GetParams) -> dict[str, Any]:
        variables = (await self._view(call, params.session)).variables
        names = list(variables) if params.names is None else check_names(params.names, "names")
        return {"variables": {name: variables[name] for name in names if name in variables}}

    async def put(self, call: CallLike, params: PutParams) -> dict[str, Any]:
        put, delete = _variables(params.variables), check_names(params.delete, "delete")
        programs, drop = self._read_programs(params.programs), set(check_names(params.drop_programs, "drop_programs"))
        lm, adapter = _name_or_none(params.lm, "lm"), _adapter(params.adapter)

        def work(state: SessionState) -> tuple[SessionState, dict[str, Any]]:
            if put or delete:
                state = state.with_variables(put, delete)
            if programs or drop:
                merged = {**state.programs, **programs}
                state = replace(state, programs={name: kept for name, kept in merged.items() if name not in drop})
            if params.lm is not None:
                state = replace(state, lm=lm)
            if params.adapter is not None:
                state = replace(state, adapter=adapter)
            return state, describe(state)

        return await self._run(call, params.session, work)

    async def history(self, call: CallLike, params: HistoryParams) -> dict[str, Any]:
        limit = check_range(params.limit, 1, _MAX_PAGE, "limit")
        history = (await self._view(call, params.session)).history
        found = [entry for entry in history.entries if params.after is None or entry.seq > params.after]
        more = len(found) > limit
        return {
            "entries": [show_entry(entry) for entry in found[:limit]],
            "next": found[limit - 1].seq if more else None,
        }

    async def append(self, call: CallLike, params: AppendParams) -> dict[str, Any]:
        for index, fields in enumerate(params.entries):
            if type(fields) is not dict:
                raise BridgeError("invalid_request", f"entries[{index}] must be a map of fields")

        def work(state: SessionState) -> tuple[SessionState, dict[str, Any]]:
            history = state.history.extended(params.entries, encode, state.updated_at, state.limits)
            return replace(state, history=history), history_position(history)

        return await self._run(call, params.session, work)

    async def trim(self, call: CallLike, params: TrimParams) -> dict[str, Any]:
        keep = check_range(params.keep, 0, 2**31, "keep")

        def work(state: SessionState) -> tuple[SessionState, dict[str, Any]]:
            state = replace(state, history=state.history.keep(keep))
            return state, history_position(state.history)

        return await self._run(call, params.session, work)

    async def export(self, call: CallLike, params: SessionParams) -> dict[str, Any]:
        return {"document": export_document(await self._view(call, params.session))}

    async def import_(self, call: CallLike, params: ImportParams) -> dict[str, Any]:
        document, ref = params.document, ref_of(call.request, "")
        _name_or_none(document.get("lm"), "document.lm")
        _adapter(document.get("adapter"))
        state = import_document(
            document,
            (ref.tenant, _new_id(params.session)),
            self._read_programs(document.get("programs")),
            import_limits(document.get("limits"), self._manager.settings.limits),
            self._manager.clock.now(),
        )
        return await self._manager.open(replace(state, variables=_variables(dict(state.variables))), ref, describe)

    async def _run(self, call: CallLike, session: str, work: _Step) -> Any:
        async def run(state: SessionState) -> tuple[SessionState, Any]:
            return work(state)

        return await self._manager.run(ref_of(call.request, check_name(session, "session")), run, pure=True)

    async def _view(self, call: CallLike, session: str) -> SessionState:
        ref = ref_of(call.request, check_name(session, "session"))
        state, _ = await self._manager.view(ref.tenant, ref.session)
        return state

    def _read_programs(self, entries: Any) -> dict[str, SessionProgram]:
        if entries is not None and type(entries) is not list:
            raise BridgeError("invalid_request", "programs must be a list of {program, state}")
        found: dict[str, SessionProgram] = {}
        for index, entry in enumerate(cast("list[Any]", entries or [])):
            if type(entry) is not dict:
                raise BridgeError("invalid_request", f"programs[{index}] must be a map {{program, state}}")
            read = read_params(ProgramEntry, cast("dict[str, Any]", entry), f"programs[{index}]")
            # The engine refuses whatever is not on its lists, keys of LMs above all: none can get into the store.
            handle = self._programs.create(read.program)
            kept = SessionProgram(read.program, read.state)
            if read.state is not None:
                self._programs.create(kept.effective())
            found[handle] = kept
        return found


def _new_id(wanted: str | None) -> str:
    return secrets.token_hex(16) if wanted is None else check_name(wanted, "session")


def _name_or_none(value: Any, what: str) -> str | None:
    return None if value is None or value == "" else check_name(value, what)


def _adapter(value: Any) -> str | None:
    if value is None or value == "":
        return None
    if value not in ADAPTERS:
        raise BridgeError("invalid_request", f"adapter must be one of {', '.join(ADAPTERS)}, it is {value!r:.80}")
    return value


def _variables(variables: dict[str, Any] | None) -> dict[str, Any]:
    for name in variables or {}:
        check_name(name, "a variable's name")
    return variables or {}


__all__ = ["CallLike", "Programs", "SessionOperations", "ref_of"]
