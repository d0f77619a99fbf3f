defmodule DSPex.Instance do
  @moduledoc """
  The supervisor of an instance, and its table: pools, workers and the handles of programs, for callers to read.

      {:ok, _pid} = DSPex.start_link(name: MyApp.DSPex, pools: [default: [workers: 1]])
      {:ok, _table} = DSPex.Instance.table(MyApp.DSPex)

  There is no global state: everything of an instance hangs on its name, and goes when its supervisor ends.
  """
  use Supervisor

  alias DSPex.Check
  alias DSPex.Error
  alias DSPex.Options
  alias DSPex.Pool
  alias DSPex.Pool.LmFile
  alias DSPex.Pool.Watch

  @version Mix.Project.config()[:version]

  @doc "Starts an instance; the options are those of `DSPex.start_link/1`."
  @spec start_link(keyword) :: Supervisor.on_start()
  def start_link(options) do
    options = Options.instance!(options)
    Supervisor.start_link(__MODULE__, options, name: options[:name])
  end

  @doc "The table of an instance that runs."
  @spec table(atom) :: {:ok, :ets.table()} | {:error, Error.t()}
  def table(name) when not is_atom(name), do: Check.all(instance: name)

  def table(name) do
    case :ets.whereis(:persistent_term.get({__MODULE__, name}, :undefined)) do
      :undefined ->
        {:error,
         Error.new(
           :unavailable,
           "no instance is named #{inspect(name)}; add {DSPex, name: #{inspect(name)}} to a supervision tree"
         )}

      table ->
        {:ok, table}
    end
  end

  @doc "The supervisor of an instance's tasks."
  @spec tasks(atom) :: atom
  def tasks(name), do: Module.concat(name, "Tasks")

  @doc "The next id of a request: unique within the instance, below 2^52."
  @spec next_id(:ets.table()) :: pos_integer
  def next_id(table), do: :atomics.add_get(:ets.lookup_element(table, :ids, 2), 1, 1)

  @impl Supervisor
  def init(options) do
    name = options[:name]
    table = open(name, options)
    tasks = {Task.Supervisor, name: tasks(name)}
    pools = for {pool, pool_options} <- options[:pools], do: {Pool, pool_config(name, table, pool, pool_options)}
    Supervisor.init([tasks | cache_child(name, options[:cache]) ++ pools], strategy: :one_for_one)
  end

  # The name is given last: whoever finds the table finds all of these.
  defp open(name, options) do
    unnamed = :ets.new(Module.concat(name, "Begun"), [:named_table, :public, :set, read_concurrency: true])
    Watch.open(unnamed)

    :ets.insert(unnamed,
      instance: name,
      ids: :atomics.new(1, signed: false),
      pools: Keyword.keys(options[:pools]),
      native: native(options[:native] || []),
      cache: options[:cache] && cache(name)
    )

    table = :ets.rename(unnamed, table_name(name))
    # Every call asks for it; to make the name anew takes ten times as long.
    :persistent_term.put({__MODULE__, name}, table)
    table
  end

  defp native(options) do
    lms = for {lm_name, lm} <- Keyword.get(options, :lms, []), into: %{}, do: {Atom.to_string(lm_name), native_lm(lm)}
    %{lms: lms, prefer: Keyword.get(options, :prefer, :native)}
  end

  defp native_lm(options) do
    {model, options} = Keyword.pop!(options, :model)
    DSPex.Native.LM.new(model, options)
  end

  defp cache_child(_name, nil), do: []
  defp cache_child(name, options), do: [{DSPex.Cache, [{:name, cache(name)} | options]}]
  defp cache(name), do: Module.concat(name, "Cache")

  defp table_name(name), do: Module.concat(name, "Table")

  # Options of the pool that are settings of its worker.
  @settings [
    memory_soft: :memory_soft_bytes,
    max_calls: :recycle_calls,
    max_age: :recycle_age_ms,
    nice: :nice,
    cpus: :cpus,
    gpu: :gpu,
    extras: :extras
  ]

  defp launch(name, pool, options) do
    own = for {option, setting} <- @settings, value = options[option], do: {Atom.to_string(setting), value}
    given = Map.new(options[:settings], fn {setting, value} -> {to_string(setting), value} end)
    config = if options[:lms] || options[:embedders], do: [{"config", LmFile.path(name, pool)}], else: []
    settings = (own ++ config) |> Map.new() |> Map.merge(given)

    [instance: inspect(name), settings: settings] ++ Keyword.take(options, [:python, :command, :args, :env, :cd, :lm])
  end

  defp pool_config(name, table, pool, options) do
    fixed =
      ~w(workers start transport encoding max_in_flight max_frame_bytes max_backlog handshake_timeout ready_timeout
               ping_interval ping_misses backoff backoff_reset drain_ms max_rss lms embedders attachment_bytes version_mismatch)a

    Map.merge(Map.new(fixed, &{&1, options[&1]}), %{
      instance: name,
      pool: pool,
      table: table,
      options: options,
      version: @version,
      task_supervisor: tasks(name),
      queue: %{limit: options[:queue_limit], timeout: options[:queue_timeout]},
      launch: launch(name, pool, options)
    })
    |> then(&if &1.transport == nil, do: Map.delete(&1, :transport), else: &1)
    |> then(&if &1.start == :snakepit, do: lent(&1, options), else: &1)
  end

  # The first one asks; the pool grows when it is known how many there are.
  defp lent(config, options) do
    source = {DSPex.Integrations.Snakepit, options[:snakepit_pool]}
    Map.merge(config, %{workers: 1, snakepit: source, launch: [lent: true]})
  end
end
