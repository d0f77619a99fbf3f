defmodule DSPex.Worker.ForkServer do
  @moduledoc """
  The owner of a pool's fork server: a Python process that imports dspy once and forks workers in milliseconds
  (`proto/PROTOCOL.md`, section 10).

  An owner of a worker asks with `fork/3` and gets `{:forked, ref, {:ok, child}}` or `{:forked, ref, {:error, error}}`; or
  `{:forked, ref, :fresh}` where the pool's option `start` is `:auto` and a fork server cannot start here: then for good. A
  child whose owner dies is killed here: a worker on a socket does not end with its connection. How a child ended is told to
  its owner's socket (`DSPex.Transport.Socket`).
  """
  use GenServer

  alias DSPex.Error
  alias DSPex.Policy.Backoff
  alias DSPex.Protocol.Connection
  alias DSPex.Protocol.Message
  alias DSPex.Transport.Port
  alias DSPex.Transport.Socket
  alias DSPex.Wire.Frame
  alias DSPex.Wire.Payload
  alias DSPex.Worker.Diagnosis
  alias DSPex.Worker.Launch
  alias DSPex.Worker.OsProcess
  alias DSPex.Worker.StartMode

  defstruct [:config, :connection, :transport, :cause, :timer, :backoff] ++
              [next_id: 1, waiting: [], children: %{}, proven?: false, given_up?: false]

  @type child :: %{pid: pos_integer, socket: String.t(), token: String.t() | nil}

  # Of the 5 s that the supervisor gives.
  @end_ms 3_000

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
  def handle_cast({:fork, pid, ref}, %{given_up?: true} = state) do
    send(pid, {:forked, ref, :fresh})
    {:noreply, state}
  end

  def handle_cast({:fork, pid, ref}, %{connection: %{phase: :ready}} = state), do: {:noreply, request(state, pid, ref)}

  # Down for a reason that is known: told at once. Still starting: answered when it is ready.
  def handle_cast({:fork, pid, ref}, %{cause: %Error{} = cause} = state) do
    send(pid, {:forked, ref, {:error, cause}})
    {:noreply, state}
  end

  def handle_cast({:fork, pid, ref}, state), do: {:noreply, %{state | waiting: [{pid, ref} | state.waiting]}}

  @impl GenServer
  def handle_info(:start, %{transport: nil, given_up?: false} = state), do: {:noreply, start(state)}

  def handle_info({:cause, _cause}, %{connection: %{phase: :ready}} = state), do: {:noreply, state}
  def handle_info({:cause, _cause}, %{given_up?: true} = state), do: {:noreply, state}
  def handle_info({:cause, cause}, state), do: {:noreply, failed(state, cause)}
  def handle_info(:too_slow, %{connection: %{phase: :ready}} = state), do: {:noreply, state}
  def handle_info(:too_slow, %{transport: %{}} = state), do: {:noreply, lost(state, "it did not become ready in time")}

  def handle_info({:DOWN, monitor, :process, _pid, _reason}, state) when is_map_key(state.children, monitor) do
    {{_owner, child}, children} = Map.pop(state.children, monitor)
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

  # The fork server ends its children, and itself, at the end of its input. A ready one is waited for: a BEAM that halts
  # while a child of its ends complains on stderr.
  @impl GenServer
  def terminate(_reason, %{transport: %{}, connection: %{phase: :ready}} = state) do
    {:ok, payload} = Payload.encode(:json, [])
    state = write(state, Frame.encode(Message.request(state.next_id, "shutdown", payload, [])))
    await_end(state.transport, System.monotonic_time(:millisecond) + @end_ms)
    Port.close(state.transport)
  end

  def terminate(_reason, %{transport: %{} = transport}), do: Port.close(transport)
  def terminate(_reason, _state), do: :ok

  defp await_end(transport, deadline) do
    receive do
      message ->
        case Port.handle(transport, message) do
          {:closed, _reason, _transport} -> :ok
          _other -> await_end(transport, deadline)
        end
    after
      max(deadline - System.monotonic_time(:millisecond), 0) -> :ok
    end
  end

  defp start(state) do
    with {:ok, options} <- Launch.options(Keyword.put(state.config.launch, :mode, "fork-server")),
         {:ok, transport} <- Port.open(options) do
      connection = Connection.new(expects: Launch.expects(state.config))
      {frame, connection} = Connection.initialize(connection, version: state.config.version, tools: false)
      timer = Process.send_after(self(), :too_slow, state.config.handshake_timeout + state.config.ready_timeout)
      write(%{state | connection: connection, transport: transport, timer: timer}, frame)
    else
      {:error, error} -> state |> again() |> failed(error)
    end
  end

  defp received(bytes, state) do
    {events, connection} = Connection.receive_bytes(state.connection, bytes)
    react_all(events, %{state | connection: connection})
  end

  defp react_all([], state), do: state

  defp react_all([event | rest], state) do
    case react(event, state) do
      {:cont, state} ->
        react_all(rest, state)

      # Answers that came in the same read are of a process that is given up: they are asked for anew.
      {:halt, state} ->
        for {:response, _id, {pid, ref}, _body} <- rest, do: GenServer.cast(self(), {:fork, pid, ref})
        state
    end
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
        {:cont, %{state | proven?: true, children: Map.put(state.children, monitor, {pid, os_pid})}}

      {:response, _id, {:error, error}} ->
        refused(state, {pid, ref}, StartMode.alone(error))

      _other ->
        send(pid, {:forked, ref, {:error, Error.new(:protocol_error, "the fork server answered fork with no worker")}})
        {:cont, state}
    end
  end

  defp react({:notification, "child/exit", %{"pid" => os_pid} = params}, state) do
    {gone, children} = Enum.split_with(state.children, fn {_monitor, {_owner, child}} -> child == os_pid end)

    for {monitor, {owner, _child}} <- gone do
      Process.demonitor(monitor, [:flush])
      Socket.tell_end(owner, os_pid, how(params))
    end

    {:cont, %{state | children: Map.new(children)}}
  end

  defp react({:refused, error}, state), do: {:halt, lost(state, error)}

  defp react({:fatal, error}, state),
    do: {:halt, lost(state, StartMode.alone(Error.new(:unavailable, error.message)))}

  defp react({:send, frame}, state), do: {:cont, write(state, frame)}
  defp react(_event, state), do: {:cont, state}

  # One that cannot fork at all is of no use; later on it is a matter of the moment.
  defp refused(state, {pid, ref} = waiting, error) do
    if not state.proven? and StartMode.optional?(state.config, error) do
      {:halt, lost(%{state | waiting: [waiting | state.waiting]}, error)}
    else
      send(pid, {:forked, ref, {:error, error}})
      {:cont, state}
    end
  end

  defp how(%{"reason" => "memory"}),
    do: "the fork server killed the process, whose memory had reached its hard limit (memory_hard_bytes)"

  defp how(%{"signal" => signal}) when is_integer(signal), do: "the process ended with signal #{signal}"
  defp how(%{"status" => status}), do: "the process ended with exit status #{status}"

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
    phase = state.connection.phase
    waiting = for {_id, {tag, _credit}} <- state.connection.in_flight, do: tag
    state = %{state | transport: nil, connection: nil, waiting: waiting ++ state.waiting}

    cond do
      is_struct(reason, Error) -> state |> again() |> failed(reason)
      phase in [:opened, :failed] -> diagnose(state, reason)
      phase == :initialized -> state |> again() |> failed(StartMode.alone(gone(reason)))
      # One that was ready is worth waiting for.
      true -> again(state)
    end
  end

  defp gone(reason), do: Error.new(:unavailable, "the fork server was lost: #{reason}")

  defp diagnose(state, reason) do
    owner = self()
    launch = state.config.launch

    Task.Supervisor.start_child(state.config.task_supervisor, fn ->
      cause =
        case Diagnosis.find(launch, reason) do
          {:sound, error} -> StartMode.alone(error)
          {:unsound, error} -> error
        end

      send(owner, {:cause, cause})
    end)

    again(state)
  end

  # It gave no worker: those who wait are told why, or to do without it.
  defp failed(state, error) do
    if not state.proven? and StartMode.optional?(state.config, error),
      do: give_up(state, error),
      else: tell_waiting(%{state | cause: error}, {:error, error})
  end

  defp give_up(state, error) do
    # The next try may have begun already.
    if state.transport, do: OsProcess.kill(state.config.task_supervisor, Port.os_pid(state.transport))
    if state.transport, do: Port.close(state.transport)
    StartMode.put(state.config, :fresh)
    StartMode.fell_back(state.config, error.message)
    tell_waiting(%{state | given_up?: true, transport: nil, connection: nil}, :fresh)
  end

  defp again(state) do
    {delay, backoff} = Backoff.next(state.backoff)
    Process.send_after(self(), :start, delay)
    %{state | backoff: backoff}
  end

  defp tell_waiting(state, outcome) do
    for {pid, ref} <- state.waiting, do: send(pid, {:forked, ref, outcome})
    %{state | waiting: []}
  end
end
