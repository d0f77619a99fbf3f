defmodule DSPex.Exchange do
  @moduledoc """
  One request of a caller, from its place in the pool to its answer. All of it runs in the caller's process: encoding,
  choosing the worker, waiting, decoding.

  A request that was never written goes to another worker; one that was is repeated only with an idempotency key.
  Everything is bounded by the deadline: when it passes, the caller gets `:timeout` at once, the request is cancelled in
  Python, and a late answer is dropped.
  """

  alias DSPex.Breaker
  alias DSPex.Error
  alias DSPex.Pool
  alias DSPex.Pool.Queue
  alias DSPex.Pool.Slots
  alias DSPex.Protocol.Message
  alias DSPex.Telemetry
  alias DSPex.Wire.Frame
  alias DSPex.Wire.Limits
  alias DSPex.Wire.Payload
  alias DSPex.Worker
  alias DSPex.Worker.ToolProcesses

  @attempts 5

  @enforce_keys [:table, :pool, :row, :method, :payload]
  defstruct [:table, :pool, :row, :method, :payload, :owner, :index, :near, :prefer, :at, :affinity, :bound, :place] ++
              [
                deadline: :infinity,
                meta: [],
                options: %{},
                attempt: 1,
                repeatable?: false,
                worker: nil,
                id: nil,
                ref: nil
              ]

  @type t :: %__MODULE__{
          table: :ets.table(),
          pool: atom,
          row: map,
          method: String.t(),
          payload: Payload.t(),
          owner: reference | nil,
          index: pos_integer | nil,
          near: pos_integer | nil,
          prefer: pos_integer | nil,
          at: pos_integer | nil,
          affinity: term,
          bound: Pool.Place.t() | nil,
          place: Pool.Place.t() | nil,
          deadline: integer | :infinity,
          meta: [{String.t(), term}],
          options: map,
          attempt: pos_integer,
          repeatable?: boolean,
          worker: pid | nil,
          id: non_neg_integer | nil,
          ref: reference | nil
        }

  @decode %Limits{maps: :ordered}

  @doc """
  Prepares a request. Options: `:pool`, `:timeout` (ms or `:infinity`), `:encoding`, `:meta` (pairs for `_meta`), `:tools`
  (by name), `:credit` (stream), `:owner` (a process whose death ends the call), `:index` (that worker and no other).
  With a session (in `:meta`, or as `:affinity`) the same worker is tried first each time. With `:bound` no other process than
  that one gets the request. In the struct, `near` is the worker to try first, `prefer` the one that gets the request even
  when it is full; `at` is the one that has it, and `place` says which of its processes.
  """
  @spec new(:ets.table(), String.t(), [{String.t(), term}], keyword) :: {:ok, t} | {:error, Error.t()}
  def new(table, method, params, options) do
    pool = Keyword.get(options, :pool) || hd(:ets.lookup_element(table, :pools, 2))

    with {:ok, row} <- pool_row(table, pool),
         {:ok, payload} <- Payload.encode(Keyword.get(options, :encoding) || row.encoding, params, row.limits) do
      {:ok, made(%{table: table, pool: pool, row: row, method: method, payload: payload}, options)}
    end
  end

  @doc "Sends the request and waits for its answer: the result, with its maps ordered. `at` tells who gave it."
  @spec call(t) :: {{:ok, term} | {:error, Error.t()}, t}
  def call(exchange) do
    with {:ok, exchange} <- open(exchange),
         {:event, _event, exchange} <- next(exchange) do
      abandon(exchange)
      {{:error, Error.new(:protocol_error, "an event came for a call that does not stream")}, exchange}
    else
      {:answer, outcome, exchange} -> {outcome, exchange}
      {:error, error} -> {{:error, error}, exchange}
    end
  end

  @doc "Takes a place and sends the request."
  @spec open(t) :: {:ok, t} | {:error, Error.t()}
  def open(exchange) do
    with :ok <- admitted(exchange),
         {:ok, index} <- checkout(exchange) do
      send_to(exchange, index)
    end
  end

  @doc "Waits for the next event of a stream, or for the answer, which ends the exchange."
  @spec next(t) :: {:event, map, t} | {:answer, {:ok, term} | {:error, Error.t()}, t}
  def next(%__MODULE__{ref: ref, owner: owner} = exchange) do
    receive do
      {^ref, {:answer, body}} ->
        done(exchange)
        Breaker.success(exchange.table, {:pool, exchange.pool})
        answered(answer(body), exchange)

      {^ref, {:event, body}} ->
        {:event, event(body), exchange}

      {^ref, {:refused, error}} ->
        done(exchange)
        again(exchange, error, error.reason == :unavailable)

      {^ref, {:lost, error}} ->
        done(exchange)
        again(exchange, error, exchange.repeatable? and error.reason == :worker_lost)

      {:DOWN, ^ref, :process, _worker, reason} ->
        error = Error.new(:worker_lost, "the worker's owner ended in mid-call: #{inspect(reason, limit: 5)}")
        again(exchange, error, reason == :noproc or exchange.repeatable?)

      {:DOWN, ^owner, :process, _pid, _reason} when owner != nil ->
        abandon(exchange)
        exit(:normal)
    after
      left(exchange.deadline) ->
        abandon(exchange)
        {:answer, {:error, timeout(exchange)}, exchange}
    end
  end

  @doc "Lets `n` more events come."
  @spec grant(t, pos_integer) :: :ok
  def grant(%__MODULE__{worker: worker, id: id}, n), do: Worker.grant(worker, id, n)

  @doc "Gives the request up: it is cancelled in Python, and nothing of it is left in the mailbox."
  @spec abandon(t) :: :ok
  def abandon(%__MODULE__{ref: nil}), do: :ok

  def abandon(%__MODULE__{worker: worker, id: id} = exchange) do
    Worker.cancel(worker, id)
    done(exchange)
  end

  @doc "What decides which worker is tried first: the session of the options, or what they give as `:affinity`."
  @spec affinity(keyword) :: term
  def affinity(options) do
    case List.keyfind(Keyword.get(options, :meta, []), "session", 0) do
      {"session", id} when id != nil -> {tenant(options[:meta]), id}
      _none -> Keyword.get(options, :affinity)
    end
  end

  defp tenant(meta) do
    with {"tenant", tenant} when tenant != nil <- List.keyfind(meta, "tenant", 0), do: tenant, else: (_none -> nil)
  end

  @doc "What is left until a deadline, in milliseconds."
  @spec left(integer | :infinity) :: timeout
  def left(:infinity), do: :infinity
  def left(deadline), do: max(0, deadline - now())

  defp made(%{table: table} = known, options) do
    timeout = Keyword.get(options, :timeout, :infinity)
    meta = for {_name, value} = pair <- Keyword.get(options, :meta, []), value != nil, do: pair
    owner = if pid = Keyword.get(options, :owner), do: Process.monitor(pid)
    within? = List.keymember?(meta, "session", 0) or Keyword.get(options, :within?) == true

    %__MODULE__{
      table: table,
      pool: known.pool,
      row: known.row,
      method: known.method,
      payload: known.payload,
      deadline: if(timeout == :infinity, do: :infinity, else: now() + timeout),
      meta: if(within?, do: [{"within", ToolProcesses.within(table)} | meta], else: meta),
      repeatable?: List.keymember?(meta, "idempotency_key", 0),
      options: for({name, value} <- options, name in [:tools, :credit], into: %{}, do: {name, value}),
      owner: owner,
      index: Keyword.get(options, :index),
      bound: Keyword.get(options, :bound),
      affinity: affinity(options)
    }
  end

  defp pool_row(table, pool) do
    case Pool.front(table, pool) do
      {:ok, row} ->
        {:ok, row}

      :error ->
        {:error, Pool.unknown(pool, :ets.lookup_element(table, :pools, 2))}
    end
  end

  # What asks one worker, as a health check does, is let through: it tells how that one is.
  defp admitted(%{index: nil, table: table, pool: pool}), do: Breaker.check(table, {:pool, pool})
  defp admitted(_bound), do: :ok

  defp checkout(%{bound: %Pool.Place{} = place, table: table, pool: pool, row: row}),
    do: Pool.Place.checkout(place, table, pool, row.slots)

  # A call bound to one worker, or sent after its own program, takes its place beyond the bound.
  defp checkout(%{index: index, prefer: prefer, row: row}) when index != nil or prefer != nil do
    Slots.take(row.slots, index || prefer)
    {:ok, index || prefer}
  end

  defp checkout(exchange) do
    case near(exchange) do
      {:ok, index} -> {:ok, index}
      _busy_or_none -> wait(exchange)
    end
  end

  defp near(%{near: index, row: %{slots: slots}}) when index != nil do
    with :busy <- Slots.checkout_at(slots, index), do: Slots.checkout(slots)
  end

  defp near(%{affinity: nil, row: row}), do: Slots.checkout(row.slots)

  # Sessions come back to their worker while it is there: it has their state at hand.
  defp near(%{affinity: affinity, row: %{slots: slots}}) do
    with count when count > 0 <- Slots.size(slots),
         {:ok, index} <- Slots.checkout_at(slots, rem(:erlang.phash2(affinity), count) + 1) do
      {:ok, index}
    else
      _elsewhere -> Slots.checkout(slots)
    end
  end

  defp wait(%{row: row, owner: owner} = exchange) do
    case Process.whereis(row.queue) do
      nil ->
        {:error, Error.new(:unavailable, "pool #{exchange.pool} is being started again")}

      queue ->
        ref = :erlang.monitor(:process, queue, alias: :demonitor)
        started = System.monotonic_time()
        Queue.wait(queue, ref, left(exchange.deadline))

        receive do
          {^ref, {:granted, index}} ->
            forget(ref)
            metadata = %{instance: row.instance, pool: exchange.pool}
            Telemetry.execute([:dspex, :pool, :checkout], %{waited: System.monotonic_time() - started}, metadata)
            {:ok, index}

          {^ref, {:denied, %{reason: :overloaded} = error}} ->
            forget(ref)
            {:error, if(left(exchange.deadline) == 0, do: timeout(exchange), else: error)}

          {^ref, {:denied, error}} ->
            forget(ref)
            {:error, error}

          {:DOWN, ^ref, :process, _queue, _reason} ->
            {:error, Error.new(:unavailable, "pool #{exchange.pool} is being started again")}

          {:DOWN, ^owner, :process, _pid, _reason} when owner != nil ->
            exit(:normal)
        after
          left(exchange.deadline) ->
            leave(queue, ref, row.slots)
            {:error, timeout(exchange)}
        end
    end
  end

  # A place may be granted in the very moment in which the caller gives up.
  defp leave(queue, ref, slots) do
    Queue.leave(queue, ref)
    Process.demonitor(ref, [:flush])

    receive do
      {^ref, {:granted, index}} -> Queue.give_back(queue, slots, index)
    after
      0 -> :ok
    end
  end

  defp send_to(exchange, index) do
    case Worker.Place.owner(exchange.table, exchange.pool, index) do
      {worker, generation} ->
        ref = :erlang.monitor(:process, worker, alias: :demonitor)
        id = DSPex.Instance.next_id(exchange.table)
        body = Message.request(id, exchange.method, exchange.payload, meta(exchange))
        Worker.request(worker, id, {self(), ref}, Frame.flat(body), exchange.options)
        place = %Pool.Place{index: index, owner: worker, generation: generation}
        {:ok, %{exchange | worker: worker, id: id, ref: ref, at: index, place: place, prefer: nil}}

      nil ->
        Queue.give_back(exchange.row.queue, exchange.row.slots, index)
        {:error, Error.new(:unavailable, "pool #{exchange.pool} has no worker #{index}")}
    end
  end

  defp meta(%{deadline: :infinity, meta: meta}), do: meta
  defp meta(%{deadline: deadline, meta: meta}), do: [{"deadline_ms", left(deadline)} | meta]

  # Another owner changed the session meanwhile; nothing was changed by this request, and it is repeated as it was.
  defp answered({:error, %Error{reason: :conflict, retryable?: true} = error}, exchange),
    do: again(exchange, error, true)

  # A worker that drains begins nothing: what it refuses goes to its successor, or to another.
  defp answered({:error, %Error{reason: :overloaded} = error}, exchange), do: again(exchange, error, leaving?(exchange))
  defp answered(outcome, exchange), do: {:answer, outcome, exchange}

  defp leaving?(%{table: table, pool: pool, at: at, place: %{owner: owner, generation: generation}}) do
    case :ets.lookup(table, {:worker, pool, at}) do
      [{_key, ^owner, %{generation: ^generation} = row}] -> row.state == :draining
      _successor_or_none -> true
    end
  end

  defp again(%{index: nil, attempt: attempt} = exchange, _error, true) when attempt < @attempts do
    case open(%{exchange | attempt: attempt + 1, ref: nil}) do
      {:ok, exchange} -> next(exchange)
      {:error, error} -> {:answer, {:error, error}, exchange}
    end
  end

  defp again(exchange, error, _repeat?), do: {:answer, {:error, error}, exchange}

  defp answer(body) do
    case Message.decode(body, @decode) do
      {:response, _id, outcome} -> outcome
      {:invalid, _id, error} -> {:error, error}
      _other -> {:error, Error.new(:protocol_error, "the worker answered with something that is no response")}
    end
  end

  defp event(body) do
    case Message.decode(body) do
      {:notification, _method, %{"event" => %{} = event, "seq" => seq}} -> Map.put(event, "seq", seq)
      _other -> %{"type" => "unknown"}
    end
  end

  defp done(%{ref: ref}), do: forget(ref)

  # After this the alias is dead; what came before it must not stay in the caller's mailbox.
  defp forget(ref) do
    Process.demonitor(ref, [:flush])
    flush(ref)
  end

  defp flush(ref) do
    receive do
      {^ref, _message} -> flush(ref)
    after
      0 -> :ok
    end
  end

  defp timeout(%{method: method}),
    do: Error.new(:timeout, "#{method} was not answered before its deadline; it was cancelled (option timeout)")

  defp now, do: System.monotonic_time(:millisecond)
end
