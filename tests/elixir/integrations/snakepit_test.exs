defmodule DSPex.Integrations.SnakepitTest do
  # What stands in for Snakepit is `DSPex.Test.Snakepit`.
  use ExUnit.Case, async: false

  setup_all do: DSPex.Test.Snakepit.compile()

  setup do
    Application.put_env(:dspex, :snakepit, python: Path.expand(".venv/bin/python"), args: ["--engine", "scripted"])
    on_exit(fn -> Application.delete_env(:dspex, :snakepit) end)
  end

  @tag req: "TC1"
  test "the interpreter tells where the script is whose name Snakepit's cleanup looks for", %{adapter: adapter} do
    assert adapter.executable_path() == Path.expand(".venv/bin/python")
    assert Path.basename(adapter.script_path()) == "grpc_server.py"
    assert File.regular?(adapter.script_path())
    assert adapter.script_args() == ["--engine", "scripted"]
  end

  @tag req: "TC1"
  test "an interpreter that is not there is told by name", %{adapter: adapter} do
    Application.put_env(:dspex, :snakepit, python: "/no/such/python")
    assert_raise ArgumentError, ~r"/no/such/python", fn -> adapter.executable_path() end
  end

  @tag req: "TC1"
  test "calls go the way of Snakepit's own adapter", %{adapter: adapter} do
    assert adapter.uses_grpc?()
    assert adapter.get_port() == 0
    assert {:ok, %{port: 5} = connection} = adapter.init_grpc_connection(5)
    assert adapter.grpc_execute(connection, "s", "echo", %{}, 1, []) == {:ok, {"s", "echo", %{}}}
    assert adapter.grpc_execute_stream(connection, "s", "call", %{}, & &1, 1, []) == {"s", "call", %{}}
  end
end
