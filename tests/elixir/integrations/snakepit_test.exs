defmodule DSPex.Integrations.SnakepitTest do
  # Snakepit needs a newer Elixir than these tests: modules of its shape stand in for it while the adapter is compiled.
  use ExUnit.Case, async: false

  @source "elixir_client/lib/dspex/integrations/snakepit.ex"
  @stand_in """
  defmodule Snakepit.Adapter do
    @callback executable_path() :: String.t()
    @callback script_path() :: String.t() | nil
    @callback script_args() :: [String.t()]
  end

  defmodule Snakepit.Adapters.GRPCPython do
    def init_grpc_connection(port), do: {:ok, %{channel: :channel, port: port}}
    def grpc_execute(_, session, command, args, _, _), do: {:ok, {session, command, args}}
    def grpc_execute_stream(_, session, command, args, callback, _, _), do: callback.({session, command, args})
  end
  """

  setup_all do
    modules = Enum.map(Code.compile_string(@stand_in) ++ Code.compile_file(@source), &elem(&1, 0))

    on_exit(fn ->
      for module <- modules, do: :code.purge(module) && :code.delete(module)
      Application.delete_env(:dspex, :snakepit)
    end)

    {:ok, adapter: DSPex.Integrations.Snakepit}
  end

  setup do
    Application.put_env(:dspex, :snakepit, python: Path.expand(".venv/bin/python"), args: ["--engine", "scripted"])
    :ok
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
