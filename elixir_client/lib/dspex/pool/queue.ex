defmodule DSPex.Pool.Queue do
  @moduledoc """
  Callers that found no place in their pool, in order, bounded in number and time. It stands beside the way of a call, not
  on it: as long as a worker has room nobody comes here.

  A waiting caller gets, under the alias it gave, `{:granted, index}` with a place taken for it, or `{:denied, error}`.
  """
  use GenServer

  alias DSPex.Error
  alias DSPex.Policy.Pace
  alias DSPex.Pool.Slots
  alias DSPex.Telemetry

  @doc "Starts the queue of a pool. Config: `:instance`, `:pool`, `:table`, `:slots`, `:limit`, `:timeout`, `:name`."
  @spec start_link(map) :: GenServer.on_start()
  def start_link(config), do: GenServer.start_link(__MODULE__, config, name: config.name)

  @doc "Waits for a place. `left` is what remains of the caller's deadline in milliseconds."
  @spec wait(GenServer.name() | pid, reference, timeout) :: :ok
  def wait(queue, ref, left) do
    send(queue, {:wait, self(), ref, left})
    :ok
  end

  @doc "The caller waits no more."
  @spec leave(GenServer.name() | pid, reference) :: :ok
  def leave(queue, ref) do
    send(queue, {:leave, ref})
    :ok
  end

  @doc "Gives a place on a worker back. Whoever gives one back tells the queue, or nobody would."
  @spec give_back(atom | pid, Slots.t(), pos_integer) :: :ok
  def give_back(queue, slots, index) do
    Slots.release(slots, index)
    wake(queue, slots)
  end

  @doc "Lets the queue look for places, if anybody waits."
  @spec wake(atom | pid, Slots.t()) :: :ok
  def wake(queue, slots) do
    with true <- Slots.waiting(slots) > 0, pid when is_pid(pid) <- whereis(queue), do: send(pid, :free)
    :ok
  end

  defp whereis(pid) when is_pid(pid), do: pid
  defp whereis(name), do: Process.whereis(name)

  @impl GenServer
  def init(config), do: {:ok, %{config: config, order: :queue.new(), waiters: %{}, pace: Pace.new()}}

  @impl GenServer
  def handle_info({:wait, pid, ref, left}, state), do: {:noreply, state |> enqueue(pid, ref, left) |> grant()}
  def handle_info(:free, state), do: {:noreply, grant(state)}
  def handle_info(:changed, state), do: {:noreply, grant(state)}
  def handle_info({:leave, ref}, state), do: {:noreply, drop(state, ref)}

  def handle_info({:expired, ref}, state) when is_map_key(state.waiters, ref) do
    %{timeout: timeout, pool: pool} = state.config
    text = "pool #{pool}: no worker had room for the call within #{timeout} ms (queue: timeout)"
    deny(ref, Error.new(:overloaded, text, retry_after: 1))
    {:noreply, drop(state, ref)}
  end

  def handle_info({:DOWN, monitor, :process, _pid, _reason}, state) do
    case Enum.find(state.waiters, fn {_ref, waiter} -> waiter.monitor == monitor end) do
      {ref, _waiter} -> {:noreply, drop(state, ref)}
      nil -> {:noreply, state}
    end
  end

  def handle_info(_message, state), do: {:noreply, state}

  defp enqueue(state, pid, ref, left) do
    %{config: config, waiters: waiters} = state
    # A pool that is still starting has no throughput to shed load by: there the caller's own deadline counts.
    ready? = :ready in Slots.states(config.slots)
    time = if ready?, do: min(config.timeout, left), else: left
    expected = if ready?, do: Pace.wait(state.pace, map_size(waiters), now())

    if error = excess(config, map_size(waiters), expected, time) do
      deny(ref, error)
      state
    else
      timer = if time != :infinity, do: Process.send_after(self(), {:expired, ref}, time)
      waiter = %{monitor: Process.monitor(pid), timer: timer}
      put(state, :queue.in(ref, state.order), Map.put(waiters, ref, waiter))
    end
  end

  defp excess(%{limit: limit, pool: pool}, count, _expected, _time) when count >= limit do
    text = "pool #{pool}: its #{limit} places in the queue are taken (queue: limit)"
    Error.new(:overloaded, text, retry_after: 1)
  end

  # Refused now, the caller can still do something else; refused at its deadline, it can't.
  defp excess(%{pool: pool}, count, expected, time) when is_integer(expected) and expected > time do
    text = "pool #{pool}: #{count} callers wait, for a place in #{expected} ms; this call has #{time} ms"
    Error.new(:overloaded, text, retry_after: Float.ceil((expected - time) / 1000, 3), details: %{"shed" => true})
  end

  defp excess(_config, _count, _expected, _time), do: nil

  defp grant(%{waiters: waiters} = state) when map_size(waiters) == 0, do: state

  defp grant(%{config: config} = state) do
    case Slots.checkout(config.slots, true) do
      {:ok, index} -> state |> grant_next(index) |> grant()
      :busy -> state
      :none -> deny_all(state)
    end
  end

  defp grant_next(state, index) do
    case next(state) do
      {nil, state} ->
        Slots.release(state.config.slots, index)
        state

      {ref, state} ->
        send(ref, {ref, {:granted, index}})
        drop(%{state | pace: Pace.step(state.pace, now())}, ref)
    end
  end

  # Those who left are still in the order; they are passed over here.
  defp next(state) do
    case :queue.out(state.order) do
      {:empty, _order} -> {nil, state}
      {{:value, ref}, order} when is_map_key(state.waiters, ref) -> {ref, %{state | order: order}}
      {{:value, _gone}, order} -> next(%{state | order: order})
    end
  end

  # Nobody is ready. While a worker is starting it is worth waiting; when all are down the cause is told at once.
  defp deny_all(%{config: config} = state) do
    case config |> causes() |> List.first() do
      nil ->
        state

      error ->
        Enum.each(state.waiters, fn {ref, _waiter} -> deny(ref, error) end)
        state.waiters |> Map.keys() |> Enum.reduce(state, &drop(&2, &1))
    end
  end

  defp causes(config) do
    states = Slots.states(config.slots)

    if states == [] do
      [Error.new(:unavailable, "pool #{config.pool} has no workers: it was drained (DSPex.resize gives it some)")]
    else
      causes(config, states)
    end
  end

  defp causes(config, states) do
    if Enum.all?(states, &(&1 == :down)) do
      for index <- 1..Slots.size(config.slots)//1,
          [{_key, _pid, %{cause: %Error{} = cause}}] <- [:ets.lookup(config.table, {:worker, config.pool, index})],
          do: cause
    else
      []
    end
  end

  defp drop(state, ref) do
    case Map.pop(state.waiters, ref) do
      {nil, _waiters} ->
        state

      {waiter, waiters} ->
        Process.demonitor(waiter.monitor, [:flush])
        if waiter.timer, do: Process.cancel_timer(waiter.timer)
        empty? = map_size(waiters) == 0
        pace = if empty?, do: Pace.pause(state.pace), else: state.pace
        put(%{state | pace: pace}, if(empty?, do: :queue.new(), else: state.order), waiters)
    end
  end

  defp put(%{config: config} = state, order, waiters) do
    Slots.put_waiting(config.slots, map_size(waiters))
    metadata = %{instance: config.instance, pool: config.pool}
    Telemetry.execute([:dspex, :pool, :queue], %{length: map_size(waiters)}, metadata)
    %{state | order: order, waiters: waiters}
  end

  defp now, do: System.monotonic_time(:millisecond)
  defp deny(ref, error), do: send(ref, {ref, {:denied, error}})
end
