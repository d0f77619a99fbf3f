defmodule DSPex.Worker do
  @moduledoc """
  The owner of one Python process: starts it, shakes hands, watches it, starts it again.

      down ──start──► (forking) starting ──initialize answered──► initialized ──ready──► ready ──drain──► draining
       ▲                  │                                  │                   │                 │
       └──────────────────┴─── ended, refused, too slow, silent ─────────────────┴─────────────────┘

  Callers encode and decode in their own processes; this one only moves frames. A caller sends `request/4` and gets, under
  the alias it gave:

    * `{:answer, body}` – the response, still encoded
    * `{:event, body}` – a stream event, still encoded
    * `{:refused, error}` – the request was never written: another worker may take it
    * `{:lost, error}` – the worker ended in mid-call, or broke the protocol

  When a caller dies, its request is cancelled in Python.
  """
  @behaviour :gen_statem

  alias DSPex.Breaker
  alias DSPex.Error
  alias DSPex.Policy.Backoff
  alias DSPex.Protocol.Connection
  alias DSPex.Transport.Socket
  alias DSPex.Worker.Calls
  alias DSPex.Worker.Crash
  alias DSPex.Worker.Diagnosis
  alias DSPex.Worker.Ending
  alias DSPex.Worker.ForkServer
  alias DSPex.Worker.Launch
  alias DSPex.Worker.Notices
  alias DSPex.Worker.OsProcess
  alias DSPex.Worker.Outgoing
  alias DSPex.Worker.Place
  alias DSPex.Worker.Tools

  require Logger

  @batch 64
  # An owner makes much garbage and keeps little.
  @heap_words 8_192

  defguardp for_machine?(message)
            when elem(message, 0) in [:timeout, :system, :"$gen_call", :"$gen_cast"] or
                   (elem(message, 0) == :EXIT and is_pid(elem(message, 1)))

  defstruct [:config, :connection, :module, :transport, :started, :ready_at, :cause, :diagnosis] ++
              [
                fork: nil,
                retired?: false,
                left?: false,
                grace_until: nil,
                generation: 0,
                tools: %Tools{},
                out: [],
                batched: 0,
                heard?: false,
                missed: 0,
                backoff: nil,
                info: %{}
              ]

  @type id :: non_neg_integer
  @type from :: {pid, reference}

  @doc "Starts the owner. `config` is made by the pool."
  @spec start_link(map) :: :gen_statem.start_ret()
  def start_link(config), do: :gen_statem.start_link(__MODULE__, config, spawn_opt: [min_heap_size: @heap_words])

  @doc false
  def child_spec(config) do
    %{
      id: {__MODULE__, config.index},
      start: {__MODULE__, :start_link, [config]},
      restart: :transient,
      shutdown: config.drain_ms + 5_000
    }
  end

  @doc "Hands a frame with request `id` over. Options: `:credit` (stream), `:tools` (by name)."
  @spec request(pid, id, from, iodata, map) :: :ok
  def request(worker, id, from, frame, options \\ %{}) do
    send(worker, {:request, id, from, frame, options})
    :ok
  end

  @doc "Gives up a request: it is cancelled in Python, and nothing more comes for it."
  @spec cancel(pid, id) :: :ok
  def cancel(worker, id) do
    send(worker, {:cancel, id})
    :ok
  end

  @doc "Lets `n` more events of a stream come."
  @spec grant(pid, id, pos_integer) :: :ok
  def grant(worker, id, n) do
    send(worker, {:grant, id, n})
    :ok
  end

  @doc "Ends the process after its calls (at most `drain_ms`), and starts a new one."
  @spec restart(pid) :: :ok
  def restart(worker) do
    send(worker, :restart)
    :ok
  end

  @doc "Ends the process after its calls (at most `drain_ms`), and its owner with it."
  @spec retire(pid) :: :ok
  def retire(worker) do
    send(worker, :retire)
    :ok
  end

  @impl :gen_statem
  def callback_mode, do: :handle_event_function

  @impl :gen_statem
  def init(config) do
    Process.flag(:trap_exit, true)
    Process.flag(:message_queue_data, :off_heap)
    Logger.metadata(dspex_pool: config.pool, dspex_worker: config.index)

    # An owner that crashed while it let its last calls end has a successor already.
    if Place.taken?(config), do: :ignore, else: begin(config)
  end

  defp begin(config) do
    Place.open(config)
    data = %__MODULE__{config: config, backoff: Backoff.new(config.backoff)}
    data = %{data | generation: Map.get(config, :generation, 0)}
    data = Place.put(data, :starting)

    # The pool may have shrunk since this owner was asked for; the row comes first, so that the pool sees it or it the pool.
    if Place.beyond?(config) do
      Place.forget(data)
      :ignore
    else
      {:ok, :down, data, [{{:timeout, :backoff}, Map.get(config, :delay, 0), :start}]}
    end
  end

  @impl :gen_statem
  def handle_event(type, content, state, data) do
    case event(type, content, state, data) do
      {:next_state, next, data, actions} -> {:next_state, next, Outgoing.flush(data), actions}
      {:keep, data} -> {:keep_state, Outgoing.flush(data)}
      {:keep, data, actions} -> {:keep_state, Outgoing.flush(data), actions}
      {:stop, data} -> {:stop, :normal, data}
    end
  end

  @impl :gen_statem
  def terminate(reason, _state, %{transport: nil} = data) do
    Crash.log(reason)
    Place.forget(data)
  end

  def terminate(reason, _state, data) do
    Crash.log(reason)
    Place.forget(data)
    data |> Calls.fail_all({:lost, Error.new(:worker_lost, "the pool was stopped")}) |> Ending.of_process()
  end

  # The path of every call comes first.

  defp event(:info, {:request, id, from, frame, options}, :ready, data),
    do: data |> Calls.accept(id, from, frame, options) |> accept_more(@batch - 1)

  defp event(:info, {:request, _id, from, _frame, _options}, state, data),
    do: {:keep, Calls.refuse(data, from, not_ready(state, data))}

  defp event(:info, {:cancel, id}, _state, data), do: {:keep, Calls.cancel(data, id)}

  defp event(:info, {:grant, id, n}, _state, %{connection: %{}} = data) do
    {frame, connection} = Connection.grant(data.connection, id, n)
    {:keep, Outgoing.write(%{data | connection: connection}, frame)}
  end

  defp event(:info, {:grant, _id, _n}, _state, data), do: {:keep, data}

  defp event(:internal, :start, :down, data), do: start(data)
  defp event({:timeout, :backoff}, :start, :down, data), do: start(data)
  defp event({:timeout, :ping}, :tick, :ready, data), do: tick(data)
  defp event({:timeout, _name}, _content, _state, data), do: {:keep, data}
  defp event(:state_timeout, :handshake, _state, data), do: lost(data, "it did not answer initialize in time")

  defp event(:state_timeout, :fork, _state, data),
    do: retry_later(data, Error.new(:unavailable, "the fork server gave no worker in time"))

  defp event(:state_timeout, :ready, _state, data), do: lost(data, "it did not become ready in time")
  defp event(:state_timeout, :drained, _state, data), do: lost(data, "it was restarted")

  defp event(:info, :restart, :ready, data), do: drain(data)
  defp event(:info, :restart, _state, data), do: {:keep, data}
  defp event(:info, :retire, :ready, data), do: drain(%{data | retired?: true})
  defp event(:info, :retire, :draining, data), do: {:keep, %{data | retired?: true}}
  defp event(:info, :retire, _state, data), do: {:stop, data}

  defp event(:info, {:forked, ref, {:ok, child}}, :forking, %{fork: ref} = data),
    do: connect(data, Socket, unix: child.socket, token: child.token, forked: child.pid)

  defp event(:info, {:forked, ref, {:error, error}}, :forking, %{fork: ref} = data), do: retry_later(data, error)

  defp event(:info, {:forked, ref, :fresh}, :forking, %{fork: ref} = data),
    do: start(%{data | config: %{data.config | fork_server: nil}})

  defp event(:info, {:forked, _ref, _outcome}, _state, data), do: {:keep, data}
  defp event(:info, {:cause, _ref, _error}, :ready, data), do: {:keep, %{data | diagnosis: nil}}
  defp event(:info, {:cause, _ref, error}, _state, data), do: {:keep, explain(data, error)}
  defp event(:info, {:EXIT, _pid, _reason} = message, state, data), do: transport_event(message, state, data)
  defp event(:info, message, state, data), do: transport_event(message, state, data)

  defp transport_event(message, state, %{transport: nil} = data), do: other_event(message, state, data)

  defp transport_event(message, state, data) do
    case data.module.handle(data.transport, message) do
      {:data, bytes, transport} -> received(bytes, state, transport, data)
      {:closed, reason, transport} -> lost(%{data | transport: transport}, reason)
      {:ok, transport} -> {:keep, %{data | transport: transport}}
      :unknown -> other_event(message, state, data)
    end
  end

  defp other_event({{:caller_down, id}, _monitor, :process, _pid, _reason}, _state, data),
    do: {:keep, Calls.cancel(data, id)}

  defp other_event(message, _state, data) do
    case Tools.handle(data.tools, message) do
      {id, outcome, tools} -> {:keep, Calls.tool_ended(%{data | tools: tools}, id, outcome)}
      :unknown -> {:keep, data}
    end
  end

  # A round of the state machine costs as much as a request does: those that wait are taken in one. What stands between them
  # keeps its turn.
  defp accept_more(data, 0), do: {:keep, data}

  defp accept_more(data, left) do
    receive do
      {:request, id, from, frame, options} ->
        data |> Calls.accept(id, from, frame, options) |> accept_more(left - 1)

      message when not for_machine?(message) ->
        {:keep, data, [{:next_event, :info, message}]}
    after
      0 -> {:keep, data}
    end
  end

  # Bytes from the worker

  defp received(bytes, state, transport, data) do
    {events, connection} = Connection.receive_bytes(data.connection, bytes)
    react(events, state, %{data | connection: connection, transport: transport, heard?: true}, [])
  end

  defp react([], state, data, actions), do: {:next_state, state, data, actions}

  defp react([{:response, id, call, body} | rest], state, data, actions) do
    data = if map_size(call.tools) > 0, do: Calls.stop_tools(data, id), else: data
    Calls.finish(data, call, {:answer, body})
    react(rest, state, data, actions)
  end

  defp react([{:event, _id, call, body} | rest], state, data, actions) do
    Calls.tell(call, {:event, body})
    react(rest, state, data, actions)
  end

  defp react([{:initialized, info} | rest], :starting, data, actions) do
    data = %{data | info: Map.take(info, ~w(server python dspy worker_id pid features limits operations))}
    react(rest, :initialized, data, [{:state_timeout, data.config.ready_timeout, :ready} | actions])
  end

  defp react([{:ready, info} | rest], :initialized, data, actions) do
    react(rest, :ready, became_ready(data, info), [{:state_timeout, :infinity, :none}, ping_timer(data) | actions])
  end

  defp react([{:refused, error} | _rest], _state, data, _actions), do: lost(data, error)

  defp react([{:fatal, error} | _rest], :ready, data, _actions), do: lost(data, error)
  defp react([{:fatal, error} | _rest], _state, data, _actions), do: lost(data, Error.new(:unavailable, error.message))

  defp react([{:flood, id, call} | rest], state, data, actions) do
    error = Error.new(:protocol_error, "the worker sent more events than it was granted; the call was cancelled")
    data = Calls.cancel(data, id)
    Calls.tell(call, {:lost, error})
    react(rest, state, data, actions)
  end

  defp react([{:tool_call, id, call, request, params} | rest], state, data, actions) do
    reply = {data.connection.encoding, data.connection.peer_cap}
    place = {data.config.task_supervisor, data.config.table}
    tools = Tools.start(data.tools, place, id, request, params, call.tools, reply)
    react(rest, state, %{data | tools: tools}, actions)
  end

  defp react([{:tool_cancel, id} | rest], state, data, actions) do
    error = Error.new(:cancelled, "the worker cancelled the call of the tool")
    data = %{data | tools: Tools.kill(data.tools, id)}
    react(rest, state, Calls.tool_ended(data, id, {:error, error}), actions)
  end

  defp react([{:send, frame} | rest], state, data, actions),
    do: react(rest, state, Outgoing.write(data, frame), actions)

  defp react([{:pong} | rest], state, data, actions), do: react(rest, state, data, actions)

  defp react([{:notification, "worker/draining", params} | rest], :ready, data, actions) do
    {data, time} = leave(data, params)
    react(rest, :draining, data, [{:state_timeout, time, :drained} | actions])
  end

  defp react([{:notification, method, params} | rest], state, data, actions) do
    Notices.notified(method, params, data.config, data.info)
    react(rest, state, data, actions)
  end

  defp react([{:stray, what} | rest], state, data, actions) do
    Notices.emit(data.config, data.info, :stray, %{count: data.connection.stray}, %{what: what})
    react(rest, state, data, actions)
  end

  defp react([{:report, error} | rest], state, data, actions) do
    Logger.warning("the worker could not read a frame: #{Exception.message(error)}")
    react(rest, state, data, actions)
  end

  defp react([_other | rest], state, data, actions), do: react(rest, state, data, actions)

  # Life of the process

  defp start(%{config: %{fork_server: server} = config} = data) when server != nil do
    ref = make_ref()
    ForkServer.fork(server, self(), ref)
    time = config.handshake_timeout + config.ready_timeout
    {:next_state, :forking, %{data | fork: ref}, [{:state_timeout, time, :fork}]}
  end

  defp start(data) do
    case transport(data.config) do
      {:ok, module, options} -> connect(data, module, options)
      {:error, error} -> retry_later(%{data | transport: nil}, error)
    end
  end

  defp connect(data, module, options) do
    with {:ok, transport} <- module.open(options) do
      connection = Connection.new(Launch.connection(data.config))
      {frame, connection} = Connection.initialize(connection, version: data.config.version, token: options[:token])
      now = System.monotonic_time()
      data = %{data | connection: connection, module: module, transport: transport, started: now, ready_at: nil}
      data = %{data | tools: %Tools{}, heard?: false, missed: 0}

      {:next_state, :starting, Outgoing.write(data, frame),
       [{:state_timeout, data.config.handshake_timeout, :handshake}]}
    else
      {:error, error} -> retry_later(%{data | transport: nil}, error)
    end
  end

  defp transport(%{transport: {module, options}}), do: {:ok, module, options}

  defp transport(%{launch: launch}) do
    with {:ok, options} <- Launch.options(launch), do: {:ok, DSPex.Transport.Port, options}
  end

  defp became_ready(data, info) do
    info = Map.merge(data.info, Map.take(info, ~w(dspy features boot_ms)))
    data = %{data | info: info, ready_at: System.monotonic_time(), cause: nil, generation: data.generation + 1}

    Notices.emit(data.config, data.info, :up, %{boot_ms: milliseconds(data.started)}, %{
      os_pid: data.module.os_pid(data.transport)
    })

    data |> Place.put(:ready) |> tap(&send(&1.config.queue, :changed))
  end

  defp ping_timer(data), do: {{:timeout, :ping}, data.config.ping_interval, :tick}

  defp tick(data) do
    missed = if data.heard?, do: 0, else: data.missed + 1
    Place.settle(data, Calls.count(data))

    cond do
      missed > data.config.ping_misses ->
        lost(data, "it did not answer #{missed} pings in a row (#{missed * data.config.ping_interval} ms)")

      excess = OsProcess.excess(data.module.os_pid(data.transport), data.config.max_rss) ->
        lost(data, excess)

      true ->
        ping(data, missed)
    end
  end

  defp ping(data, missed) do
    {frame, connection} = Connection.ping(data.connection)
    data = %{data | connection: connection, missed: missed, heard?: false}
    {:keep, Outgoing.write(data, frame), [ping_timer(data)]}
  end

  defp lost(data, %Error{} = error), do: ended(data, error)

  defp lost(data, reason) do
    if data.ready_at == nil and data.connection.phase == :opened,
      do: ended(data, {:diagnose, reason}),
      else: ended(data, Error.new(:unavailable, "the worker was lost: #{reason}", details: OsProcess.details(reason)))
  end

  defp ended(data, cause) do
    text = with {:diagnose, reason} <- cause, do: reason, else: (error -> error.message)

    if data.ready_at,
      do:
        Notices.emit(
          data.config,
          data.info,
          :down,
          %{in_flight: Calls.count(data), uptime_ms: milliseconds(data.ready_at)},
          %{reason: text}
        )

    # Before the callers know: the next call of any of them must find the breaker as it is.
    if Calls.count(data) > 0 and not data.left?, do: Breaker.failure(data.config.table, {:pool, data.config.pool}, text)
    OsProcess.kill(data.config.task_supervisor, data.module.os_pid(data.transport))
    data.module.close(data.transport)
    data = Calls.fail_all(data, Ending.outcome(data.grace_until, cause, text))
    retry_later(%{data | transport: nil, connection: nil, out: [], batched: 0}, cause)
  end

  defp drain(data) do
    {frame, connection} = Connection.shutdown(data.connection, data.config.drain_ms)
    data = Place.put(%{data | connection: connection}, :draining)
    {:next_state, :draining, Outgoing.write(data, frame), [{:state_timeout, data.config.drain_ms + 1_000, :drained}]}
  end

  # The process ends by itself. Its place goes to another owner, which starts a process at once; this one lives for the
  # calls in flight.
  defp leave(data, params) do
    grace = with ms when is_integer(ms) and ms >= 0 <- params["grace_ms"], do: ms, else: (_none -> data.config.drain_ms)
    uptime = milliseconds(data.ready_at)
    measurements = %{in_flight: Calls.count(data), uptime_ms: uptime, grace_ms: grace}
    Notices.emit(data.config, data.info, :draining, measurements, %{reason: params["reason"]})
    data = Place.put(%{data | transport: Socket.expect_end(data.transport)}, :draining)
    successor = Map.merge(data.config, %{delay: Ending.delay(uptime), generation: data.generation})

    Task.Supervisor.start_child(data.config.task_supervisor, fn ->
      DynamicSupervisor.start_child(data.config.supervisor, {__MODULE__, successor})
    end)

    until = System.monotonic_time(:millisecond) + grace
    {%{data | left?: true, retired?: true, grace_until: until}, grace + 1_000}
  end

  # Until it is ready again, a worker that was ready counts as starting: its callers wait. One that never was counts as
  # down: its callers are told the cause.
  defp retry_later(%{retired?: true} = data, _cause), do: {:stop, data}

  defp retry_later(data, cause) do
    was_ready? = data.ready_at != nil

    backoff =
      if was_ready? and milliseconds(data.ready_at) > data.config.backoff_reset,
        do: Backoff.reset(data.backoff),
        else: data.backoff

    {delay, backoff} =
      if Ending.recycled?(data.ready_at && milliseconds(data.ready_at), cause),
        do: {0, backoff},
        else: next_start(was_ready?, backoff)

    data = %{data | backoff: backoff, ready_at: nil}
    data = if was_ready?, do: Place.put(data, :starting), else: diagnose(data, cause)
    {:next_state, :down, data, [{{:timeout, :ping}, :infinity, :tick}, {{:timeout, :backoff}, delay, :start}]}
  end

  # The first death of a worker that was well is no reason to wait.
  defp next_start(true, %{attempt: 0} = backoff), do: {0, %{backoff | attempt: 1}}
  defp next_start(_was_ready?, backoff), do: Backoff.next(backoff)

  # One diagnosis at a time: it takes longer than a quick back-off.
  defp diagnose(%{diagnosis: ref} = data, {:diagnose, _reason}) when ref != nil, do: data

  defp diagnose(%{config: %{transport: _given}} = data, {:diagnose, reason}),
    do: explain(data, Error.new(:unavailable, "the worker cannot start: #{reason}"))

  defp diagnose(data, {:diagnose, reason}) do
    owner = self()
    ref = make_ref()
    launch = data.config.launch

    Task.Supervisor.start_child(data.config.task_supervisor, fn ->
      send(owner, {:cause, ref, Diagnosis.cause(launch, reason)})
    end)

    %{data | diagnosis: ref}
  end

  defp diagnose(data, %Error{} = error), do: explain(data, error)

  defp explain(data, error) do
    if data.cause == nil or data.cause.message != error.message,
      do: Logger.error("worker #{data.config.index} of pool #{data.config.pool}: #{error.message}")

    data = Place.put(%{data | cause: error, diagnosis: nil}, :down)
    send(data.config.queue, :changed)
    data
  end

  defp not_ready(_state, %{cause: %Error{} = cause}), do: cause
  defp not_ready(state, _data), do: Error.new(:unavailable, "the worker is #{state}")

  defp milliseconds(since), do: System.convert_time_unit(System.monotonic_time() - since, :native, :millisecond)
end
