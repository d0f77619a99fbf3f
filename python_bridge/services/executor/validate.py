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


def check(execution: Execution) -> None:
    """Put checked inputs in the place of the caller's."""
    if execution.checked:
        return
    target, inputs = execution.target, execution.inputs
    if missing := [name for name in target.required if name not in inputs]:
        text = f"Missing required input fields: {missing}"
        problems = [{"path": name, "message": "is missing"} for name in missing]
        raise BridgeError("invalid_input", text, details={"problems": problems})
    execution.inputs = target.check(inputs)
    execution.checked = True


__all__ = ["check", "validate"]
