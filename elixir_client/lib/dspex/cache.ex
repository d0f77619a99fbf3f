defmodule DSPex.Cache do
  @moduledoc """
  A cache of results: bounded in entries and bytes, with a time to live, and single-flight: of many callers that miss
  the same key at once, one does the work and the others get its result.

      {:ok, _pid} = DSPex.Cache.start_link(name: MyApp.Answers, max_entries: 10_000, ttl: :timer.minutes(5))
      DSPex.Cache.fetch(MyApp.Answers, key, fn -> DSPex.call(MyApp.DSPex, program, inputs) end)

  Hits are read from ETS in the caller's process. Only `{:ok, _}` is kept: an error is given to whoever waits for it, and
  tried again by the next caller. What is handed out is a copy, as everything that comes out of ETS.

  Options of `start_link/1`:

    * `:name` (required) – an atom; the instance's name
    * `:max_entries` – default 10,000
    * `:max_bytes` – of keys and values in external format, default 64 MiB; a larger value is not kept
    * `:ttl` – milliseconds, or `:infinity` (default)
  """

  use GenServer

  alias DSPex.Cache.Flights

  @max_bytes 64 * 1024 * 1024
  @counters %{hits: 1, misses: 2, evictions: 3, joined: 4}

  @typedoc "The key of a result: see `key/1`."
  @type key :: term
  @typedoc "What to clear: everything, or what was stored under a tenant or program."
  @type group :: :all | {:tenant, term} | {:program, term}

  @doc "Starts a cache, linked to the caller."
  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(options) do
    name = Keyword.fetch!(options, :name)
    GenServer.start_link(__MODULE__, options, name: name)
  end

  @doc """
  The key of a call: a digest of what decides the answer, and nothing else. Equal maps give equal keys, whatever the order
  in which they were built; an integer and an equal float give different ones.

      iex> call = [program: "5e1f", lm: "openai/gpt-4o-mini", adapter: "chat", inputs: %{a: 1, b: 2}, tenant: nil]
      iex> DSPex.Cache.key(call) == DSPex.Cache.key(Keyword.put(call, :inputs, %{b: 2, a: 1}))
      true
      iex> DSPex.Cache.key(call) == DSPex.Cache.key(Keyword.put(call, :tenant, "acme"))
      false
  """
  @spec key(keyword) :: key
  def key(parts) do
    digest = :crypto.hash(:sha256, :erlang.term_to_binary(Map.new(parts), [:deterministic]))
    {digest, parts[:program], parts[:tenant]}
  end

  @doc """
  The cached `{:ok, value}`, or the result of `fun`, which runs in the calling process. The second element of the outer
  tuple tells which: `:hit`, `:miss` (this caller did the work) or `:joined` (another one did).

  When the caller that does the work dies, the next of those who wait takes over. `timeout` (milliseconds) bounds the wait
  for another caller's result, not the work itself.
  """
  @spec fetch(GenServer.name(), key, (() -> {:ok, value} | {:error, error}), timeout) ::
          {{:ok, value} | {:error, error} | {:error, DSPex.Error.t()}, :hit | :miss | :joined}
        when value: term, error: term
  def fetch(cache, key, fun, timeout \\ :infinity) do
    case get(cache, key) do
      {:ok, value} -> {{:ok, value}, :hit}
      :error -> join(cache, key, fun, timeout)
    end
  end

  @doc "The cached value."
  @spec get(GenServer.name(), key) :: {:ok, term} | :error
  def get(cache, key) do
    with [{_key, value, _bytes, expires, used?, _turn}] <- :ets.lookup(table(cache), key), true <- fresh?(expires) do
      # Readers of the same key stand in each other's way only when they write.
      unless used?, do: :ets.update_element(table(cache), key, {5, true})
      count(cache, :hits)
      {:ok, value}
    else
      _absent_or_stale -> :error
    end
  end

  @doc "Stores a value; gives `false` when it is larger than the whole cache may be."
  @spec put(GenServer.name(), key, term) :: boolean
  def put(cache, key, value), do: GenServer.call(cache, {:put, key, value}, :infinity)

  @doc "Forgets a group of entries; gives how many there were."
  @spec clear(GenServer.name(), group) :: non_neg_integer
  def clear(cache, group \\ :all), do: GenServer.call(cache, {:clear, group}, :infinity)

  @doc "Numbers: `entries`, `bytes`, `hits`, `misses`, `joined`, `evictions`."
  @spec stats(GenServer.name()) :: %{atom => non_neg_integer}
  def stats(cache) do
    counters = counters(cache)
    counted = Map.new(@counters, fn {name, place} -> {name, :counters.get(counters, place)} end)
    Map.merge(counted, GenServer.call(cache, :size, :infinity))
  end

  @impl GenServer
  def init(options) do
    name = Keyword.fetch!(options, :name)
    :ets.new(name, [:named_table, :set, :public, read_concurrency: true, write_concurrency: true])
    :persistent_term.put({__MODULE__, name}, :counters.new(map_size(@counters), [:write_concurrency]))

    {:ok,
     %{
       table: name,
       max_entries: Keyword.get(options, :max_entries, 10_000),
       max_bytes: Keyword.get(options, :max_bytes, @max_bytes),
       ttl: Keyword.get(options, :ttl, :infinity),
       bytes: 0,
       # Keys in the order of insertion: the hand of the clock goes round them, and spares what was read since. An
       # entry that was replaced or cleared stays in the queue under its old turn, until the hand comes by.
       order: :queue.new(),
       queued: 0,
       turn: 0,
       flights: Flights.new()
     }}
  end

  @impl GenServer
  def handle_call({:join, key, timeout}, from, state) do
    case :ets.lookup(state.table, key) do
      [{_key, value, _bytes, expires, _used, _turn}] when expires == :infinity ->
        {:reply, {:landed, {:ok, value}}, state}

      [{_key, value, _bytes, expires, _used, _turn}] ->
        join_unless_fresh(fresh?(expires), value, {key, timeout, from}, state)

      [] ->
        join_flight({key, timeout, from}, state)
    end
  end

  def handle_call({:land, key, result}, {pid, _tag}, state) do
    {flights, waiting} = Flights.land(state.flights, key, pid)
    for from <- waiting, do: GenServer.reply(from, {:landed, result})
    state = %{state | flights: flights}
    {:reply, :ok, store_ok(state, key, result)}
  end

  def handle_call({:put, key, value}, _from, state) do
    state = store(state, key, value)
    {:reply, :ets.member(state.table, key), state}
  end

  def handle_call({:clear, group}, _from, state) do
    keys = for {key, _value, _bytes, _expires, _used, _turn} <- :ets.tab2list(state.table), member?(group, key), do: key
    {:reply, length(keys), Enum.reduce(keys, state, &delete(&2, &1))}
  end

  def handle_call(:size, _from, state) do
    {:reply, %{entries: :ets.info(state.table, :size), bytes: state.bytes}, state}
  end

  @impl GenServer
  def handle_info({:DOWN, monitor, :process, _pid, _reason}, state) do
    {:noreply, %{state | flights: Flights.down(state.flights, monitor)}}
  end

  def handle_info({:late, key, from}, state) do
    {:noreply, %{state | flights: Flights.give_up(state.flights, key, from)}}
  end

  @impl GenServer
  def terminate(_reason, state) do
    :persistent_term.erase({__MODULE__, state.table})
  end

  defp join(cache, key, fun, timeout) do
    case GenServer.call(cache, {:join, key, timeout}, :infinity) do
      :lead ->
        count(cache, :misses)
        {lead(cache, key, fun), :miss}

      {:landed, result} ->
        count(cache, :joined)
        {result, :joined}

      :late ->
        {{:error, DSPex.Error.new(:timeout, "another caller's work for the same key took longer than #{timeout} ms")},
         :joined}
    end
  end

  # Whoever waits learns of a crash by the monitor; an exception that is caught above us has to be told.
  defp lead(cache, key, fun) do
    result = fun.()
    GenServer.call(cache, {:land, key, result}, :infinity)
    result
  catch
    kind, reason ->
      error = DSPex.Error.new(:internal, "the work for this key failed in the process of another caller")
      GenServer.call(cache, {:land, key, {:error, error}}, :infinity)
      :erlang.raise(kind, reason, __STACKTRACE__)
  end

  defp join_unless_fresh(true, value, _request, state), do: {:reply, {:landed, {:ok, value}}, state}
  defp join_unless_fresh(false, _value, request, state), do: join_flight(request, state)

  defp join_flight({key, timeout, from}, state) do
    case Flights.join(state.flights, key, from, timeout) do
      {:lead, flights} -> {:reply, :lead, %{state | flights: flights}}
      {:wait, flights} -> {:noreply, %{state | flights: flights}}
    end
  end

  defp store_ok(state, key, {:ok, value}), do: store(state, key, value)
  defp store_ok(state, _key, _error), do: state

  defp store(state, key, value) do
    bytes = :erlang.external_size({key, value})
    state = delete(state, key)

    if bytes > state.max_bytes do
      state
    else
      turn = state.turn + 1
      :ets.insert(state.table, {key, value, bytes, expiry(state.ttl), false, turn})
      %{state | bytes: state.bytes + bytes, turn: turn} |> enqueue(key, turn) |> evict() |> compact()
    end
  end

  defp evict(state) do
    if state.bytes > state.max_bytes or :ets.info(state.table, :size) > state.max_entries,
      do: state |> advance() |> evict(),
      else: state
  end

  defp advance(state) do
    {{:value, {key, turn}}, order} = :queue.out(state.order)
    state = %{state | order: order, queued: state.queued - 1}

    case :ets.lookup(state.table, key) do
      [{_key, _value, _bytes, expires, true, ^turn}] ->
        if fresh?(expires), do: spare(state, key, turn), else: drop(state, key)

      [{_key, _value, _bytes, _expires, false, ^turn}] ->
        drop(state, key)

      _replaced_or_gone ->
        state
    end
  end

  defp spare(state, key, turn) do
    :ets.update_element(state.table, key, {5, false})
    enqueue(state, key, turn)
  end

  defp drop(state, key) do
    count(state.table, :evictions)
    delete(state, key)
  end

  defp delete(state, key) do
    case :ets.take(state.table, key) do
      [{_key, _value, bytes, _expires, _used, _turn}] -> %{state | bytes: state.bytes - bytes}
      [] -> state
    end
  end

  defp enqueue(state, key, turn), do: %{state | order: :queue.in({key, turn}, state.order), queued: state.queued + 1}

  # Without evictions the hand does not move, and a key that is written again and again would leave its turns behind.
  defp compact(state) do
    if state.queued > 2 * :ets.info(state.table, :size) + 64 do
      order =
        :queue.filter(
          fn {key, turn} -> match?([{_, _, _, _, _, ^turn}], :ets.lookup(state.table, key)) end,
          state.order
        )

      %{state | order: order, queued: :queue.len(order)}
    else
      state
    end
  end

  defp member?(:all, _key), do: true
  defp member?({:program, program}, {_digest, program, _tenant}), do: true
  defp member?({:tenant, tenant}, {_digest, _program, tenant}), do: true
  defp member?(_group, _key), do: false

  defp fresh?(:infinity), do: true
  defp fresh?(expires), do: System.monotonic_time(:millisecond) < expires

  defp expiry(:infinity), do: :infinity
  defp expiry(ttl), do: System.monotonic_time(:millisecond) + ttl

  defp table(cache), do: cache
  defp counters(cache), do: :persistent_term.get({__MODULE__, cache})
  defp count(cache, what), do: :counters.add(counters(cache), Map.fetch!(@counters, what), 1)
end
