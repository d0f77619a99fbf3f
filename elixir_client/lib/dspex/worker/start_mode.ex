defmodule DSPex.Worker.StartMode do
  @moduledoc false
  # How the processes of a pool start: as forks of one that has dspy loaded, each by itself, or by Snakepit.

  alias DSPex.Error
  alias DSPex.Telemetry

  require Logger

  @type t :: :fork_server | :fresh | :snakepit | :given

  @doc """
  The mode that a pool begins with. `:auto` is the fork server on Linux; a pool with a transport starts no process (`:given`),
  one with a command of its own starts just that.
  """
  @spec of(map, {atom, atom}) :: t
  def of(config, system \\ :os.type())
  def of(%{transport: {_module, _options}}, _system), do: :given
  def of(%{start: :auto} = config, system), do: if(config.launch[:command], do: :fresh, else: default(config, system))
  def of(%{start: start}, _system), do: start

  defp default(_config, {:unix, :linux}), do: :fork_server

  defp default(config, {_family, name}) do
    fell_back(config, "there is one on Linux only, this is #{name}")
    :fresh
  end

  @doc "Whether a pool may do without its fork server, after it failed with `error` before it gave a worker."
  @spec optional?(map, Error.t()) :: boolean
  def optional?(%{start: :auto}, error), do: not shared?(error)
  def optional?(_config, _error), do: false

  # No Python, no dspy, another protocol: a fresh process would fail in the same way, and had better tell so itself.
  defp shared?(%Error{details: %{"start" => start}}), do: start != "fresh"
  defp shared?(_error), do: true

  @doc "An error that concerns the fork server alone."
  @spec alone(Error.t()) :: Error.t()
  def alone(%Error{} = error), do: %{error | details: Map.put(error.details || %{}, "start", "fresh")}

  @doc "Notes the mode, for `DSPex.info/1`."
  @spec put(map, t) :: t
  def put(config, mode) do
    :ets.insert(config.table, {{:start, config.pool}, mode})
    mode
  end

  @doc "The mode of a pool."
  @spec get(:ets.table(), atom) :: t | nil
  def get(table, pool) do
    case :ets.lookup(table, {:start, pool}) do
      [{_key, mode}] -> mode
      [] -> nil
    end
  end

  @doc "Tells that a pool does without a fork server from now on."
  @spec fell_back(map, String.t()) :: :ok
  def fell_back(config, why) do
    Logger.warning("pool #{config.pool}: no fork server (#{why}); its workers start as fresh processes")
    metadata = %{instance: config.instance, pool: config.pool, from: :fork_server, to: :fresh, reason: why}
    Telemetry.execute([:dspex, :pool, :fallback], %{count: 1}, metadata)
  end
end
