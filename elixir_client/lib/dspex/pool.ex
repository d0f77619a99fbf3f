defmodule DSPex.Pool do
  @moduledoc """
  A pool of workers that share one Python, one set of LMs and one queue. An instance has one or several.

  The tree of an instance:

      DSPex (supervisor, the instance's name)
      ├── Task.Supervisor        tools, async calls
      └── DSPex.Pool (supervisor, one for each pool)
          ├── DSPex.Pool.Queue   callers without a place
          └── DynamicSupervisor  one DSPex.Worker for each Python process

  A call reads the counters of its pool in its own process (`DSPex.Pool.Slots`) and sends its frame straight to the worker.
  """
  use Supervisor

  alias DSPex.Pool.Queue
  alias DSPex.Pool.Slots
  alias DSPex.Worker

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

  @doc "The workers of a pool: for each its index, the process that owns it, and what is known of it."
  @spec workers(:ets.table(), atom) :: [{pos_integer, pid, map}]
  def workers(table, pool) do
    table
    |> :ets.select([{{{:worker, pool, :"$1"}, :"$2", :"$3"}, [], [{{:"$1", :"$2", :"$3"}}]}])
    |> Enum.sort()
  end

  @impl Supervisor
  def init(config) do
    slots = Slots.new(@most_workers)
    Slots.resize(slots, config.workers)
    for index <- 1..config.workers//1, do: Slots.put_state(slots, index, :starting)
    queue = Module.concat([config.instance, "Queue", Macro.camelize(Atom.to_string(config.pool))])
    workers = Module.concat([config.instance, "Workers", Macro.camelize(Atom.to_string(config.pool))])
    row = %{slots: slots, queue: queue, workers: workers, options: config.options}
    :ets.insert(config.table, {{:pool, config.pool}, row})

    children = [
      {Queue,
       Map.merge(Map.take(config, [:instance, :pool, :table]), Map.merge(config.queue, %{slots: slots, name: queue}))},
      {DynamicSupervisor, name: workers, strategy: :one_for_one, max_restarts: 10, max_seconds: 10},
      Supervisor.child_spec({Task, fn -> start_workers(workers, Map.merge(config, %{slots: slots, queue: queue})) end},
        restart: :transient
      )
    ]

    Supervisor.init(children, strategy: :rest_for_one)
  end

  defp start_workers(supervisor, config) do
    for index <- 1..config.workers//1 do
      worker = config |> Map.drop([:workers, :options]) |> Map.put(:index, index)
      {:ok, _pid} = DynamicSupervisor.start_child(supervisor, {Worker, worker})
    end
  end
end
