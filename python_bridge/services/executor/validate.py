"""Step: the inputs fit the program; a checked, converted copy goes on."""

from python_bridge.engine.interface import CallResult
from python_bridge.errors import BridgeError
from python_bridge.services.executor.execution import Execution, Next
from python_bridge.services.executor.model import ExecutionMode


async def validate(execution: Execution, proceed: Next) -> CallResult:
    """Check the inputs; a dry run ends here.

    Raises:
        BridgeError: `invalid_input`; with inputs missing, its text is ``Missing required input fields: ['a', 'b']``.
    """
    check(execution)
    if execution.mode is ExecutionMode.DRY_RUN:
        execution.identify()  # names an LM that is not there
        return CallResult({}, None, {}, None, None, "", "off")
    return await proceed(execution)


async def validate_all(execution: Execution, proceed: Next) -> CallResult:
    """Check the inputs of a worker's call: everything that is wrong is named at once.

    Raises:
        BridgeError: `invalid_input`.
    """
    execution.inputs = execution.target.check(execution.inputs)
    execution.checked = True
    return await proceed(execution)


def check(execution: Execution) -> None:
    """Put checked inputs in the place of the caller's."""
    if execution.checked:
        return
    try:
        execution.inputs = execution.target.check(execution.inputs)
    except BridgeError as error:
        raise _missing(execution) or error from None
    execution.checked = True


def _missing(execution: Execution) -> BridgeError | None:
    """What is missing is told before what is wrong."""
    missing = [name for name in execution.target.required if name not in execution.inputs]
    if not missing:
        return None
    problems = [{"path": name, "message": "is missing"} for name in missing]
    text = f"Missing required input fields: {missing}"
    return BridgeError("invalid_input", text, details={"problems": problems})


__all__ = ["check", "validate", "validate_all"]
