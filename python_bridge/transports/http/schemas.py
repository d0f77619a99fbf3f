"""Bodies of requests and responses, as OpenAPI shows them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

ProgramId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}$", examples=["qa"])]
Mode = Literal["normal", "dry_run", "debug"]


class Body(BaseModel):
    """Unknown members are errors: a misspelt option must not be passed over."""

    model_config = ConfigDict(extra="forbid")


class ExecuteRequest(Body):
    """One execution."""

    program_id: ProgramId
    inputs: Annotated[dict[str, Any], Field(examples=[{"question": "Why is the sky blue?"}])]
    mode: Mode = "normal"
    timeout: Annotated[float, Field(gt=0, le=86_400, description="seconds")] | None = None
    session_id: Annotated[str, Field(max_length=256)] | None = None


class BatchRequest(Body):
    """Many executions of one program."""

    program_id: ProgramId
    inputs_list: Annotated[list[dict[str, Any]], Field(max_length=100_000)]
    mode: Mode = "normal"
    timeout: Annotated[float, Field(gt=0, le=86_400, description="seconds for one item")] | None = None


class ClearRequest(Body):
    """What to forget: everything, or the results of a program."""

    program_id: ProgramId | None = None


class ExecutionResponse(BaseModel):
    """A result. A program's failure is a result too, with `success: false`."""

    execution_id: str
    success: bool
    outputs: dict[str, Any]
    error: str | None
    execution_time: float = Field(description="seconds")
    program_name: str
    metadata: dict[str, Any]


class BatchResponse(BaseModel):
    """Results in the order of the inputs."""

    batch_id: str
    total: int
    successful: int
    failed: int
    results: list[ExecutionResponse]


class PastExecution(ExecutionResponse):
    """A result, and when it came."""

    at: float = Field(description="seconds since the epoch")


class ExecutionsResponse(BaseModel):
    """The newest executions, the newest first."""

    executions: list[PastExecution]


class JobResponse(BaseModel):
    """A batch that runs, or has run, behind the request's back."""

    batch_id: str
    status: Literal["running", "finished", "cancelled", "failed"]
    total: int
    done: int
    failed: int
    error: str | None = None


class ProgramView(BaseModel):
    """A program that can be executed."""

    program_id: str
    kind: str
    signature: str
    inputs: list[str]
    outputs: list[str]
    error: str | None = Field(None, description="why it cannot be executed: its file cannot be read")


class ProgramsResponse(BaseModel):
    """All programs, sorted by their ids."""

    programs: list[ProgramView]


class ClearedResponse(BaseModel):
    """How many results were forgotten."""

    cleared: int


class HealthResponse(BaseModel):
    """Whether the server answers, and can work."""

    status: Literal["ok", "starting", "draining"]
    version: str
    programs: int
    running: int = Field(description="executions at work")
    workers: int = Field(description="processes behind the port")
    workers_answering: int = Field(description="how many of them answered just now")


class Problem(BaseModel):
    """RFC 9457, with our error kind and a hint."""

    type: str
    title: str
    status: int
    detail: str
    kind: str
    retryable: bool
    hint: str
    request_id: str | None = None
    details: dict[str, Any] | None = None
    errors: list[dict[str, Any]] | None = None
