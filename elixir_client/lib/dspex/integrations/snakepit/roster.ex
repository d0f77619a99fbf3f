defmodule DSPex.Integrations.Snakepit.Roster do
  @moduledoc """
  The workers of a Snakepit pool, lent to the owners of a pool with `start: :snakepit`.

  Snakepit starts, watches and kills the processes. This process looks which of them there are, asks each one once for the
  address of its own connection (the tool `bridge.endpoint`), and gives each to one `DSPex.Worker`, which asks as it would
  ask a fork server: `{:fork, pid, ref}` is answered with `{:forked, ref, {:ok, child}}` or `{:forked, ref, {:error, error}}`.
  The pool grows to as many workers as Snakepit has.

  An owner that asks again has lost its process: that one is given to nobody, and Snakepit puts another in its place.
  """
  use GenServer

  alias DSPex.Error
  alias DSPex.Pool.Slots

  # Replacements are looked for more often than newcomers.
  @seek_ms 50
  @look_ms 1_000
  # What a pool can have.
  @most_workers 128

  defstruct [:config, :source, :timer, :cause, known: %{}, owners: %{}, waiting: []]

  @typedoc "What `bridge.endpoint` tells."
  @type endpoint :: %{String.t() => term}

  @doc "The processes that own Snakepit's workers of a pool, nil being its default one. Must not block."
  @callback workers(pool :: atom) :: {:ok, [pid]} | {:error, Error.t()}

  @doc "Asks a worker for its endpoint; runs in a task of its own and may wait for the worker to come up."
  @callback endpoint(pid) :: {:ok, endpoint} | {:error, Error.t()}

  @doc "Starts the roster of a pool. `config` is made by the pool."
  @spec start_link(map) :: GenServer.on_start()
  def start_link(config), do: GenServer.start_link(__MODULE__, config, name: config.fork_server)

  @doc false
  def child_spec(config), do: %{id: __MODULE__, start: {__MODULE__, :start_link, [config]}}

  @impl GenServer
  def init(config) do
    {source, pool} = config.snakepit
    {:ok, %__MODULE__{config: Map.put(config, :snakepit, pool), source: source}, {:continue, :look}}
  end

  @impl GenServer
  def handle_continue(:look, state), do: {:noreply, look(state)}

  @impl GenServer
  def handle_cast({:fork, pid, ref}, state) do
    until = System.monotonic_time(:millisecond) + state.config.handshake_timeout
    state = spend(state, pid)
    # An owner that asks again waits for its former question no more.
    waiting = Enum.reject(state.waiting, &(elem(&1, 0) == pid))
    {:noreply, look(%{state | waiting: waiting ++ [{pid, ref, until}]})}
  end

  @impl GenServer
  def handle_info(:look, state), do: {:noreply, look(state)}

  def handle_info({:endpoint, worker, outcome}, state) when is_map_key(state.known, worker),
    do: {:noreply, state |> learned(worker, outcome) |> serve() |> rearm()}

  def handle_info({:DOWN, _monitor, :process, worker, _reason}, state) when is_map_key(state.known, worker),
    do: {:noreply, rearm(%{state | known: Map.delete(state.known, worker)})}

  # An owner that crashed leaves a process that is well; one that ended in order has ended its process too.
  def handle_info({:DOWN, _monitor, :process, owner, reason}, state) when is_map_key(state.owners, owner) do
    state = if reason == :normal, do: spend(state, owner), else: free(state, owner)
    {:noreply, state |> serve() |> rearm()}
  end

  def handle_info(_message, state), do: {:noreply, state}

  defp look(state) do
    case state.source.workers(state.config.snakepit) do
      {:ok, workers} ->
        unasked = Enum.filter(workers, &(Map.get(state.known, &1, :again) == :again))
        Enum.reduce(unasked, state, &ask/2) |> grow() |> serve() |> expire() |> rearm()

      {:error, error} ->
        for {pid, ref, _until} <- state.waiting, do: send(pid, {:forked, ref, {:error, error}})
        rearm(%{state | waiting: [], cause: error})
    end
  end

  defp ask(worker, state) do
    {roster, source} = {self(), state.source}
    unless is_map_key(state.known, worker), do: Process.monitor(worker)

    Task.Supervisor.start_child(state.config.task_supervisor, fn ->
      send(roster, {:endpoint, worker, endpoint(source, worker)})
    end)

    %{state | known: Map.put(state.known, worker, :asked)}
  end

  defp endpoint(source, worker) do
    source.endpoint(worker)
  catch
    kind, reason -> {:error, Error.new(:unavailable, "a worker of Snakepit's was lost: #{inspect({kind, reason})}")}
  end

  defp learned(state, worker, {:ok, %{"address" => "unix:" <> path, "token" => token, "pid" => os_pid}})
       when is_binary(token) and is_integer(os_pid) do
    child = %{pid: os_pid, socket: path, token: token}
    %{state | cause: nil, known: Map.put(state.known, worker, {:free, child})}
  end

  defp learned(state, worker, {:ok, _other}) do
    text = "a worker of Snakepit's has no bridge.endpoint of ours; is adapter_module DSPex.Integrations.Snakepit?"
    learned(state, worker, {:error, Error.new(:protocol_error, text)})
  end

  # It is asked again when it is still there at the next look.
  defp learned(state, worker, {:error, error}), do: %{state | cause: error, known: Map.put(state.known, worker, :again)}

  defp serve(%{waiting: [{owner, ref, _until} | rest]} = state) do
    case Enum.find(state.known, &match?({_worker, {:free, _child}}, &1)) do
      {worker, {:free, child}} ->
        send(owner, {:forked, ref, {:ok, child}})
        known = Map.put(state.known, worker, {:lent, child})
        owners = Map.put(state.owners, owner, {worker, Process.monitor(owner)})
        serve(%{state | waiting: rest, known: known, owners: owners})

      nil ->
        state
    end
  end

  defp serve(state), do: state

  defp expire(state) do
    now = System.monotonic_time(:millisecond)
    {late, waiting} = Enum.split_with(state.waiting, fn {_pid, _ref, until} -> until <= now end)
    for {pid, ref, _until} <- late, do: send(pid, {:forked, ref, {:error, none(state)}})
    %{state | waiting: waiting}
  end

  defp none(%{cause: %Error{} = cause}), do: cause

  defp none(state) do
    text = "Snakepit has #{map_size(state.known)} workers in its pool, and none of them is free; see its log"
    Error.new(:unavailable, text)
  end

  defp spend(state, owner), do: give_up(state, owner, fn _child -> :spent end)
  defp free(state, owner), do: give_up(state, owner, &{:free, &1})

  defp give_up(state, owner, next) do
    with {{worker, monitor}, owners} <- Map.pop(state.owners, owner) do
      Process.demonitor(monitor, [:flush])
      known = with %{^worker => {:lent, child}} <- state.known, do: %{state.known | worker => next.(child)}
      %{state | owners: owners, known: known}
    else
      {nil, _owners} -> state
    end
  end

  # In a task: the new owners ask this process.
  defp grow(%{config: config} = state) do
    count = min(map_size(state.known), @most_workers)

    if count > Slots.size(config.slots),
      do:
        Task.Supervisor.start_child(config.task_supervisor, fn -> config.resize.(config.table, config.pool, count) end)

    state
  end

  defp rearm(state) do
    if state.timer, do: Process.cancel_timer(state.timer)
    seek? = state.waiting != [] or Enum.any?(state.known, &match?({_worker, :again}, &1))
    %{state | timer: Process.send_after(self(), :look, if(seek?, do: @seek_ms, else: @look_ms))}
  end
end
