defmodule DSPex.Pool do
  @moduledoc """
  A pool of workers that share one Python, one set of LMs and one queue. An instance has one or several.

  The tree of an instance:

      DSPex (supervisor, the instance's name)
      ├── Task.Supervisor        tools, async calls
      └── DSPex.Pool (supervisor, one for each pool)
          ├── DSPex.Pool.Queue   callers without a place
          ├── DSPex.Worker.ForkServer, when the pool starts its workers by one, or the roster of Snakepit's workers
          └── DynamicSupervisor  one DSPex.Worker for each Python process

  A call reads the counters of its pool in its own process (`DSPex.Pool.Slots`) and sends its frame straight to the worker.
  """
  use Supervisor

  alias DSPex.Error
  alias DSPex.Integrations.Snakepit.Roster
  alias DSPex.Pool.LmFile
  alias DSPex.Pool.Queue
  alias DSPex.Pool.Slots
  alias DSPex.Pool.Watch
  alias DSPex.Telemetry
  alias DSPex.Wire.Limits
  alias DSPex.Worker
  alias DSPex.Worker.ForkServer
  alias DSPex.Worker.StartMode

  @most_workers 128

  @doc "The largest number of workers that a pool can have."
  @spec most_workers() :: pos_integer
  def most_workers, do: @most_workers

  @doc "Starts a pool. `config` holds the pool's options and what it knows of its instance."
  @spec start_link(map) :: Supervisor.on_start()
  def start_link(config), do: Supervisor.start_link(__MODULE__, config)

  @doc false
  def child_spec(config),
    do: %{id: {__MODULE__, config.pool}, start: {__MODULE__, :start_link, [config]}, type: :supervisor}

  @doc "The row of a pool in its instance's table."
  @spec fetch(:ets.table(), atom) :: {:ok, map} | :error
  def fetch(table, pool) do
    case :ets.lookup(table, {:pool, pool}) do
      [{_key, row}] -> {:ok, row}
      [] -> :error
    end
  end

  @doc "What every call needs to know of a pool: its counters, its queue, the encoding of its envelopes and their limits."
  @spec front(:ets.table(), atom) ::
          {:ok, %{slots: Slots.t(), queue: atom, encoding: atom, limits: Limits.t()}} | :error
  def front(table, pool) do
    case :ets.lookup(table, {:front, pool}) do
      [{_key, front}] -> {:ok, front}
      [] -> :error
    end
  end

  @doc "The workers of a pool: for each its index, the process that owns it, and what is known of it."
  @spec workers(:ets.table(), atom) :: [{pos_integer, pid, map}]
  def workers(table, pool) do
    table
    |> :ets.select([{{{:worker, pool, :"$1"}, :"$2", :"$3"}, [], [{{:"$1", :"$2", :"$3"}}]}])
    |> Enum.sort()
  end

  @doc """
  Changes the number of workers. Those that go finish their calls first; calls on their way to them go elsewhere.
  """
  @spec resize(:ets.table(), atom, non_neg_integer) :: :ok | {:error, Error.t()}
  def resize(table, pool, count) when is_integer(count) and count >= 0 and count <= @most_workers do
    with {:ok, row} <- found(table, pool) do
      owned = Map.new(workers(table, pool), fn {index, pid, _row} -> {index, pid} end)
      Slots.resize(row.slots, count)
      for {index, pid} <- owned, index > count, do: Worker.retire(pid)
      missing = Enum.reject(1..count//1, &is_map_key(owned, &1))
      for index <- missing, do: Slots.put_state(row.slots, index, :starting)
      start_workers(row.workers, row.config, missing)
      metadata = %{instance: row.config.instance, pool: pool}
      Telemetry.execute([:dspex, :pool, :resize], %{from: map_size(owned), to: count}, metadata)
      Watch.changed(table)
      send(row.queue, :changed)
      :ok
    end
  end

  def resize(_table, _pool, count),
    do: {:error, Error.argument("a pool has 0 to #{@most_workers} workers, not #{inspect(count)}")}

  @doc "Replaces the processes of a pool one after the other, each when the one before is ready again."
  @spec restart(:ets.table(), atom, timeout) :: :ok | {:error, Error.t()}
  def restart(table, pool, timeout) do
    with {:ok, _row} <- found(table, pool) do
      deadline = Watch.deadline(timeout)

      Enum.reduce_while(workers(table, pool), :ok, fn {index, pid, row}, :ok ->
        Worker.restart(pid)

        case Watch.until(table, deadline, fn -> replaced(table, pool, index, {pid, row.generation}) end) do
          :ok -> {:cont, :ok}
          _late_or_gone -> {:halt, late(pool, index)}
        end
      end)
    end
  end

  # An owner that crashed meanwhile has a successor, which counts its processes anew; a pool that shrank has none.
  defp replaced(table, pool, index, {owner, generation}) do
    case :ets.lookup(table, {:worker, pool, index}) do
      [{_key, ^owner, %{state: :ready, generation: newer}}] when newer > generation -> :ok
      [{_key, other, %{state: :ready}}] when other != owner -> :ok
      rows -> if rows == [] and beyond?(table, pool, index), do: :ok, else: :again
    end
  end

  defp beyond?(table, pool, index) do
    with {:ok, %{slots: slots}} <- fetch(table, pool), do: index > Slots.size(slots), else: (:error -> true)
  end

  defp late(pool, index), do: {:error, Error.new(:timeout, "worker #{index} of pool #{pool} is not ready again yet")}

  defp found(table, pool) do
    with :error <- fetch(table, pool), do: {:error, unknown(pool, :ets.lookup_element(table, :pools, 2))}
  end

  @doc "The error of a pool's name that is none of `known`."
  @spec unknown(term, [atom]) :: Error.t()
  def unknown(pool, known) do
    text = "no pool is named #{inspect(pool)}; there are #{Enum.map_join(known, ", ", &inspect/1)}"
    Error.new(:not_found, text, hint: "The pools are those of the option pools: of the instance.")
  end

  @impl Supervisor
  def init(config) do
    {fork_server, givers} = giver(config)

    own = %{
      slots: slots(config.workers),
      queue: named(config, "Queue"),
      fork_server: fork_server,
      supervisor: named(config, "Workers"),
      resize: &resize/3
    }

    queue = {Queue, queue_config(config, own)}
    config = Map.merge(config, own)
    :ets.insert(config.table, rows(config))
    forks = for module <- givers, do: {module, config}
    Supervisor.init(lm_file(config) ++ [queue | forks] ++ starting(config), strategy: :rest_for_one)
  end

  defp slots(count) do
    slots = Slots.new(@most_workers)
    Slots.resize(slots, count)
    for index <- 1..count//1, do: Slots.put_state(slots, index, :starting)
    slots
  end

  defp queue_config(config, own) do
    config
    |> Map.take([:instance, :pool, :table])
    |> Map.merge(config.queue)
    |> Map.merge(%{slots: own.slots, name: own.queue})
  end

  defp rows(config) do
    row = %{
      slots: config.slots,
      queue: config.queue,
      workers: config.supervisor,
      options: config.options,
      config: config
    }

    # A row of its own, for each call copies it.
    front = config |> Map.take([:slots, :queue, :encoding, :instance]) |> Map.put(:limits, limits(config.options))
    [{{:pool, config.pool}, row}, {{:front, config.pool}, front}]
  end

  defp lm_file(%{lms: nil, embedders: nil}), do: []
  defp lm_file(config), do: [{LmFile, Map.take(config, [:instance, :pool, :lms, :embedders])}]

  defp starting(%{supervisor: supervisor, workers: count} = config) do
    start = fn -> start_workers(supervisor, config, 1..count//1) end

    [
      {DynamicSupervisor, name: supervisor, strategy: :one_for_one, max_restarts: 10, max_seconds: 10},
      Supervisor.child_spec({Task, start}, restart: :transient)
    ]
  end

  # The name and the module of the process that is asked for workers' processes.
  defp giver(config) do
    case StartMode.put(config, StartMode.of(config)) do
      :fork_server -> {named(config, "ForkServer"), [ForkServer]}
      :snakepit -> {named(config, "Roster"), [Roster]}
      _none -> {nil, []}
    end
  end

  defp named(config, kind), do: Module.concat([config.instance, kind, Macro.camelize(Atom.to_string(config.pool))])

  defp limits(options) do
    case options[:attachment_bytes] do
      nil -> %Limits{}
      bytes -> %Limits{attach: bytes}
    end
  end

  defp start_workers(supervisor, config, indexes) do
    for index <- indexes do
      worker = config |> Map.drop([:workers, :options]) |> Map.put(:index, index)
      DynamicSupervisor.start_child(supervisor, {Worker, worker})
    end
  end
end
