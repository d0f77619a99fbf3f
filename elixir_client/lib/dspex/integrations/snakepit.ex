if Code.ensure_loaded?(Snakepit.Adapter) do
  defmodule DSPex.Integrations.Snakepit do
    @moduledoc """
    Workers of this project in a pool of Snakepit's: `config :snakepit, adapter_module: DSPex.Integrations.Snakepit`; a pool
    with `start: :snakepit` sends its requests straight to them.

    `config :dspex, :snakepit` takes `:python` (an interpreter that has `python-bridge[grpc]`), `:args` (flags of
    `python-bridge worker`, and `--programs-folder`) and `:script`, which is asked of the interpreter when it is not given.
    """
    @behaviour Snakepit.Adapter
    @behaviour DSPex.Integrations.Snakepit.Roster

    alias DSPex.Error
    alias Snakepit.Adapters.GRPCPython
    alias Snakepit.GRPCWorker

    # A worker tells when its own process listens, which dspy does not hold up.
    @endpoint_ms 30_000
    @ask "import python_bridge.transports.grpc as g; print(g.SNAKEPIT_SCRIPT)"

    @impl Snakepit.Adapter
    def executable_path do
      python = option(:python, "python3")

      System.find_executable(python) ||
        raise ArgumentError, "no interpreter #{python}; set config :dspex, :snakepit, python: …"
    end

    @impl Snakepit.Adapter
    def script_path, do: option(:script, nil) || found_script(executable_path())

    @impl Snakepit.Adapter
    def script_args, do: option(:args, [])

    # Snakepit calls these without declaring them.
    def uses_grpc?, do: true
    def get_port, do: 0
    defdelegate init_grpc_connection(port), to: GRPCPython
    defdelegate grpc_execute(connection, session, command, args, timeout, opts), to: GRPCPython
    defdelegate grpc_execute_stream(connection, session, command, args, callback, timeout, opts), to: GRPCPython

    @impl DSPex.Integrations.Snakepit.Roster
    def workers(pool) do
      entry = {:"$1", :"$2", %{pool_identifier: pool || :default}}
      {:ok, Registry.select(Snakepit.Pool.Registry, [{entry, [], [:"$2"]}])}
    rescue
      ArgumentError ->
        {:error, Error.new(:unavailable, "Snakepit does not run; start it before DSPex (pooling_enabled)")}
    end

    # On the channel and not by the worker's owner, where one call waits for the other.
    @impl DSPex.Integrations.Snakepit.Roster
    def endpoint(worker) do
      with {:ok, channel} <- GenServer.call(worker, :get_channel, @endpoint_ms),
           {:ok, session} <- GRPCWorker.get_session_id(worker),
           {:ok, endpoint} <- grpc_execute(%{channel: channel}, session, "bridge.endpoint", %{}, @endpoint_ms, []) do
        {:ok, endpoint}
      else
        {:error, reason} ->
          {:error, Error.new(:unavailable, "a worker of Snakepit's gave no endpoint: #{inspect(reason)}")}
      end
    end

    defp option(name, default), do: :dspex |> Application.get_env(:snakepit, []) |> Keyword.get(name, default)

    # Every worker asks for it, and the interpreter takes its time to tell.
    defp found_script(python) do
      key = {__MODULE__, python}

      with nil <- :persistent_term.get(key, nil) do
        case System.cmd(python, ["-c", @ask], stderr_to_stdout: true) do
          {path, 0} -> tap(String.trim(path), &:persistent_term.put(key, &1))
          {told, _status} -> raise ArgumentError, "#{python} has no python-bridge: #{String.slice(told, -300..-1//1)}"
        end
      end
    end
  end
end
