defmodule DSPex.Worker.ForkServer do
  @moduledoc """
  The owner of a pool's fork server: a Python process that imports dspy once and forks workers in milliseconds
  (`proto/PROTOCOL.md`, section 10).

  An owner of a worker asks with `fork/3` and gets `{:forked, ref, {:ok, child}}` or `{:forked, ref, {:error, error}}`. A
  child whose owner dies is killed here: a worker on a socket does not end with its connection.
  """
  use GenServer

  alias DSPex.Error
  alias DSPex.Policy.Backoff
  alias DSPex.Protocol.Connection
  alias DSPex.Protocol.Message
  alias DSPex.Transport.Port
  alias DSPex.Wire.Frame
  alias DSPex.Wire.Payload
  alias DSPex.Worker.Diagnosis
  alias DSPex.Worker.Launch
  alias DSPex.Worker.OsProcess

  defstruct [:config, :connection, :transport, :cause, :timer, :backoff, next_id: 1, waiting: [], children: %{}]

  @type child :: %{pid: pos_integer, socket: String.t(), token: String.t() | nil}

  @doc "Starts the owner. `config` is made by the pool."
  @spec start_link(map) :: GenServer.on_start()
  def start_link(config), do: GenServer.start_link(__MODULE__, config, name: config.fork_server)

  @doc false
  def child_spec(config), do: %{id: __MODULE__, start: {__MODULE__, :start_link, [config]}, shutdown: 5_000}

  @doc "Asks for a worker, for the owner `pid`."
  @spec fork(atom, pid, reference) :: :ok
  def fork(server, pid, ref), do: GenServer.cast(server, {:fork, pid, ref})

  @impl GenServer
  def init(config) do
    Process.flag(:trap_exit, true)
    {:ok, %__MODULE__{config: config, backoff: Backoff.new(config.backoff)}, {:continue, :start}}
  end

  @impl GenServer
  def handle_continue(:start, state), do: {:noreply, start(state)}

  @impl GenServer
  def handle_cast({:fork, pid, ref}, %{connection: %{phase: :ready}} = state), do: {:noreply, request(state, pid, ref)}

  # Down for a reason that is known: told at once. Still starting: answered when it is ready.
  def handle_cast({:fork, pid, ref}, %{cause: %Error{} = cause} = state) do
    send(pid, {:forked, ref, {:error, cause}})
    {:noreply, state}
  end

  def handle_cast({:fork, pid, ref}, state), do: {:noreply, %{state | waiting: [{pid, ref} | state.waiting]}}

  @impl GenServer
  def handle_info(:start, %{transport: nil} = state), do: {:noreply, start(state)}

  def handle_info({:cause, _cause}, %{connection: %{phase: :ready}} = state), do: {:noreply, state}
  def handle_info({:cause, cause}, state), do: {:noreply, fail_waiting(%{state | cause: cause}, cause)}
  def handle_info(:too_slow, %{connection: %{phase: :ready}} = state), do: {:noreply, state}
  def handle_info(:too_slow, %{transport: %{}} = state), do: {:noreply, lost(state, "it did not become ready in time")}

  def handle_info({:DOWN, monitor, :process, _pid, _reason}, state) when is_map_key(state.children, monitor) do
    {child, children} = Map.pop(state.children, monitor)
    OsProcess.kill(state.config.task_supervisor, child)
    {:noreply, %{state | children: children}}
  end

  def handle_info(message, %{transport: %{} = transport} = state) do
    case Port.handle(transport, message) do
      {:data, bytes, transport} -> {:noreply, received(bytes, %{state | transport: transport})}
      {:closed, reason, transport} -> {:noreply, lost(%{state | transport: transport}, reason)}
      {:ok, transport} -> {:noreply, %{state | transport: transport}}
      :unknown -> {:noreply, state}
    end
  end

  def handle_info(_message, state), do: {:noreply, state}

  # The fork server ends its children, and itself, at the end of its input.
  @impl GenServer
  def terminate(_reason, %{transport: %{} = transport}), do: Port.close(transport)
  def terminate(_reason, _state), do: :ok

  defp start(state) do
    with {:ok, options} <- Launch.options(Keyword.put(state.config.launch, :mode, "fork-server")),
         {:ok, transport} <- Port.open(options) do
      {frame, connection} = Connection.initialize(Connection.new(), version: state.config.version, tools: false)
      timer = Process.send_after(self(), :too_slow, state.config.handshake_timeout + state.config.ready_timeout)
      write(%{state | connection: connection, transport: transport, timer: timer}, frame)
    else
      {:error, error} -> retry_later(state, error)
    end
  end

  defp received(bytes, state) do
    {events, connection} = Connection.receive_bytes(state.connection, bytes)
    Enum.reduce_while(events, %{state | connection: connection}, &react/2)
  end

  defp react({:ready, _info}, state) do
    Process.cancel_timer(state.timer)
    state = %{state | cause: nil, backoff: Backoff.reset(state.backoff)}

    {:cont,
     Enum.reduce(Enum.reverse(state.waiting), %{state | waiting: []}, fn {pid, ref}, state ->
       request(state, pid, ref)
     end)}
  end

  defp react({:response, _id, {pid, ref}, body}, state) do
    case Message.decode(body) do
      {:response, _id, {:ok, %{"pid" => os_pid, "socket" => socket} = result}}
      when is_integer(os_pid) and is_binary(socket) ->
        monitor = Process.monitor(pid)
        send(pid, {:forked, ref, {:ok, %{pid: os_pid, socket: socket, token: result["token"]}}})
        {:cont, %{state | children: Map.put(state.children, monitor, os_pid)}}

      {:response, _id, {:error, error}} ->
        send(pid, {:forked, ref, {:error, error}})
        {:cont, state}

      _other ->
        send(pid, {:forked, ref, {:error, Error.new(:protocol_error, "the fork server answered fork with no worker")}})
        {:cont, state}
    end
  end

  # The owner monitors its socket itself; what is reaped is only forgotten here.
  defp react({:notification, "child/exit", %{"pid" => os_pid}}, state) do
    {gone, children} = Enum.split_with(state.children, fn {_monitor, child} -> child == os_pid end)
    for {monitor, _child} <- gone, do: Process.demonitor(monitor, [:flush])
    {:cont, %{state | children: Map.new(children)}}
  end

  defp react({:refused, error}, state), do: {:halt, lost(state, error)}
  defp react({:fatal, error}, state), do: {:halt, lost(state, Error.new(:unavailable, error.message))}
  defp react({:send, frame}, state), do: {:cont, write(state, frame)}
  defp react(_event, state), do: {:cont, state}

  defp request(%{next_id: id} = state, pid, ref) do
    {:ok, payload} = Payload.encode(:json, [])
    frame = Frame.encode(Message.request(id, "fork", payload, []))
    write(%{state | next_id: id + 1, connection: Connection.register(state.connection, id, {pid, ref})}, frame)
  end

  defp write(state, frame) do
    case Port.send(state.transport, frame) do
      {:ok, transport} -> %{state | transport: transport}
      # The message that says so is on its way.
      {:error, :closed} -> state
    end
  end

  defp lost(state, reason) do
    if state.timer, do: Process.cancel_timer(state.timer)
    OsProcess.kill(state.config.task_supervisor, Port.os_pid(state.transport))
    Port.close(state.transport)
    never? = state.connection.phase in [:opened, :failed]
    waiting = for {_id, {tag, _credit}} <- state.connection.in_flight, do: tag
    state = %{state | transport: nil, connection: nil, waiting: waiting ++ state.waiting}

    cond do
      is_struct(reason, Error) -> retry_later(state, reason)
      never? -> diagnose(state, reason)
      true -> retry_later(state, Error.new(:unavailable, "the fork server was lost: #{reason}"), false)
    end
  end

  defp diagnose(state, reason) do
    owner = self()
    launch = state.config.launch

    Task.Supervisor.start_child(state.config.task_supervisor, fn ->
      send(owner, {:cause, Diagnosis.cause(launch, reason)})
    end)

    again(state)
  end

  # A fork server that was ready is worth waiting for; one that can't start is told with its cause.
  defp retry_later(state, error, tell? \\ true) do
    state = if tell?, do: fail_waiting(%{state | cause: error}, error), else: state
    again(state)
  end

  defp again(state) do
    {delay, backoff} = Backoff.next(state.backoff)
    Process.send_after(self(), :start, delay)
    %{state | backoff: backoff}
  end

  defp fail_waiting(state, error) do
    for {pid, ref} <- state.waiting, do: send(pid, {:forked, ref, {:error, error}})
    %{state | waiting: []}
  end
end
