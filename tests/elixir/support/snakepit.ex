defmodule DSPex.Test.Snakepit do
  @moduledoc false
  # Snakepit needs a newer Elixir than these tests: modules of its shape stand in for it, and the integration is compiled
  # before them. As Snakepit does, a stand-in worker owns one process of the operating system, ends when that ends, and is
  # started again by its supervisor.

  alias DSPex.Test.Peer
  alias DSPex.Test.Wait

  @source "elixir_client/lib/dspex/integrations/snakepit.ex"
  @stand_in """
  defmodule Snakepit.Adapter do
    @callback executable_path() :: String.t()
    @callback script_path() :: String.t() | nil
    @callback script_args() :: [String.t()]
  end

  defmodule Snakepit.Adapters.GRPCPython do
    def init_grpc_connection(port), do: {:ok, %{channel: :channel, port: port}}
    def grpc_execute(%{channel: ask}, _, "bridge.endpoint", %{}, _, _) when is_function(ask), do: ask.()
    def grpc_execute(_, session, command, args, _, _), do: {:ok, {session, command, args}}
    def grpc_execute_stream(_, session, command, args, callback, _, _), do: callback.({session, command, args})
  end

  defmodule Snakepit.GRPCWorker do
    use GenServer

    def start_link({id, pool, begin}) do
      metadata = %{pool_identifier: pool, pool_name: Snakepit.Pool, worker_module: __MODULE__}
      GenServer.start_link(__MODULE__, begin, name: {:via, Registry, {Snakepit.Pool.Registry, id, metadata}})
    end

    def get_session_id(worker), do: GenServer.call(worker, :get_session_id)

    @impl GenServer
    def init(begin) do
      {port, ask} = begin.()
      {:ok, %{port: port, ask: ask}}
    end

    @impl GenServer
    def handle_call(:get_channel, _from, state), do: {:reply, {:ok, state.ask}, state}
    def handle_call(:get_session_id, _from, state), do: {:reply, {:ok, "session"}, state}

    @impl GenServer
    def handle_info({port, {:exit_status, status}}, %{port: port} = state),
      do: {:stop, {:grpc_server_exited, status}, state}

    def handle_info(_message, state), do: {:noreply, state}
  end
  """

  @doc "Compiles the stand-in and the integration for the tests of a module."
  def compile do
    modules = Enum.map(Code.compile_string(@stand_in) ++ Code.compile_file(@source), &elem(&1, 0))
    ExUnit.Callbacks.on_exit(fn -> for module <- modules, do: {:code.delete(module), :code.purge(module)} end)
    {:ok, adapter: DSPex.Integrations.Snakepit}
  end

  @doc "Starts Snakepit's registry."
  def start, do: ExUnit.Callbacks.start_supervised!({Registry, keys: :unique, name: Snakepit.Pool.Registry})

  @doc "Starts a worker of a pool; `begin` gives the port of its process and the function that tells its endpoint."
  def worker(id, begin, pool \\ :default) do
    start = {Snakepit.GRPCWorker, :start_link, [{id, pool, begin}]}
    ExUnit.Callbacks.start_supervised!(%{id: id, start: start})
  end

  @doc "A worker that is scripted as `DSPex.Test.Peer` is; its process does nothing."
  def scripted(folder, script \\ %{}) do
    fn ->
      path = Path.join(folder, "#{System.unique_integer([:positive])}.sock")
      {server, ^path} = Peer.listen(script, ifaddr: {:local, path})
      Process.link(server)
      port = open(System.find_executable("cat"), [], [])
      {:os_pid, pid} = Port.info(port, :os_pid)
      {port, fn -> {:ok, %{"address" => "unix:" <> path, "token" => "t", "pid" => pid}} end}
    end
  end

  @ask """
  import json, sys, grpc
  from python_bridge._proto import snakepit_bridge_pb2 as pb
  from python_bridge._proto.snakepit_bridge_pb2_grpc import BridgeServiceStub
  with grpc.insecure_channel(sys.argv[1]) as channel:
      request = pb.ExecuteToolRequest(session_id="session", tool_name="bridge.endpoint")
      print(BridgeServiceStub(channel).ExecuteTool(request, timeout=60).result.value.decode())
  """

  @doc "A worker of this project's, as Snakepit starts it."
  def real(folder, flags) do
    fn ->
      ready = Path.join(folder, "ready-#{System.unique_integer([:positive])}")
      own = ["--port", "0", "--snakepit-run-id", "k3j2h1g", "--snakepit-instance-name", "tests"]
      python = Path.expand(".venv/bin/python")
      adapter = DSPex.Integrations.Snakepit
      args = [adapter.script_path() | flags ++ own]
      {open(python, args, [{"SNAKEPIT_READY_FILE", ready}]), fn -> {:ok, endpoint(python, ready)} end}
    end
  end

  defp endpoint(python, ready) do
    {:ok, port} = Wait.eventually(fn -> File.read(ready) end)
    {json, 0} = System.cmd(python, ["-c", @ask, "127.0.0.1:#{port}"])
    {:ok, endpoint} = DSPex.Wire.Json.Plain.decode(json)
    DSPex.Test.Vectors.plain(endpoint)
  end

  defp open(program, args, env) do
    env = for {name, value} <- env, do: {String.to_charlist(name), String.to_charlist(value)}
    Port.open({:spawn_executable, program}, [:binary, :exit_status, args: args, env: env])
  end
end
