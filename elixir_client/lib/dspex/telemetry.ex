defmodule DSPex.Telemetry do
  @moduledoc """
  Every event of this library. They go to `:telemetry` where it is installed; else to handlers attached with `attach/4`.

  | event | measurements | metadata |
  |---|---|---|
  | `[:dspex, :call, :start]` | `system_time` | `instance`, `pool`, `operation` |
  | `[:dspex, :call, :stop]` | `duration` (native) | those, and `result` (`:ok` or the error's reason), `worker`, `route` |
  | `[:dspex, :call, :exception]` | `duration` | those of start, and `kind`, `reason`, `stacktrace` |
  | `[:dspex, :stream, :start]` | `system_time` | `instance`, `pool` |
  | `[:dspex, :stream, :stop]` | `duration`, `events` | those, and `result` (`:ok`, `:halted` or the error's reason) |
  | `[:dspex, :session, :open]`, `:close` | `count` | `instance`, `pool` (nil: the first), `tenant`, `strict` |
  | `[:dspex, :router, :decision]` | `count` | `route`, `rule`, `kind`, `why` |
  | `[:dspex, :pipeline, :step, :start]` | `system_time` | `step`, `kind` and more of the step |
  | `[:dspex, :pipeline, :step, :stop]` | `duration` | the report of the step, as in the pipeline's result |
  | `[:dspex, :pool, :checkout]` | `waited` (native) | `instance`, `pool`; only of calls that had to wait for a place |
  | `[:dspex, :pool, :queue]` | `length` | `instance`, `pool` |
  | `[:dspex, :pool, :resize]` | `from`, `to` | `instance`, `pool` |
  | `[:dspex, :pool, :fallback]` | `count` | `instance`, `pool`, `from`, `to`, `reason` |
  | `[:dspex, :breaker, :open]`, `:half_open`, `:close` | `failures` | `instance`, `pool`, `lm` (nil: of the pool), `cause` |
  | `[:dspex, :worker, :up]` | `boot_ms` | `instance`, `pool`, `worker`, `os_pid` |
  | `[:dspex, :worker, :down]` | `in_flight`, `uptime_ms` | those, and `reason` (text) |
  | `[:dspex, :worker, :draining]` | `in_flight`, `uptime_ms`, `grace_ms` | `instance`, `pool`, `worker`, `reason` (`"memory"`, `"calls"`, …) |
  | `[:dspex, :worker, :stray]` | `count` | `instance`, `pool`, `worker`, `what` |
  | `[:dspex, :python, :event]` | as the worker sent them | `name`, `worker`, `metadata` |
  """

  alias DSPex.Telemetry.Handlers

  @type event :: [atom, ...]

  @doc "Runs the handlers of an event. A handler that raises is reported to the log and does no other harm."
  @spec execute(event, map, map) :: :ok
  def execute(event, measurements, metadata) do
    if library?(), do: :telemetry.execute(event, measurements, metadata), else: local(event, measurements, metadata)
  end

  @doc """
  Attaches a handler, a function of event, measurements, metadata and config.

      iex> DSPex.Telemetry.attach("telemetry-doctest", [:dspex, :call, :stop], fn _, _, _, _ -> :ok end, nil)
      :ok
      iex> DSPex.Telemetry.detach("telemetry-doctest")
      :ok
  """
  @spec attach(term, event, (event, map, map, term -> term), term) :: :ok | {:error, :already_exists}
  def attach(id, event, function, config) do
    if library?(),
      do: :telemetry.attach(id, event, function, config),
      else: Handlers.attach(id, event, function, config)
  end

  @doc "Takes a handler away."
  @spec detach(term) :: :ok | {:error, :not_found}
  def detach(id), do: if(library?(), do: :telemetry.detach(id), else: Handlers.detach(id))

  @doc """
  Runs `function` between a `:start` and a `:stop` event (or `:exception`). It returns `{result, extra_metadata}`.
  """
  @spec span([atom, ...], map, (() -> {result, map})) :: result when result: term
  def span(prefix, metadata, function) do
    started = System.monotonic_time()
    execute(prefix ++ [:start], %{system_time: System.system_time()}, metadata)

    try do
      {result, extra} = function.()
      execute(prefix ++ [:stop], %{duration: System.monotonic_time() - started}, Map.merge(metadata, extra))
      result
    catch
      kind, reason ->
        failure = Map.merge(metadata, %{kind: kind, reason: reason, stacktrace: __STACKTRACE__})
        execute(prefix ++ [:exception], %{duration: System.monotonic_time() - started}, failure)
        :erlang.raise(kind, reason, __STACKTRACE__)
    end
  end

  defp local(event, measurements, metadata) do
    for {id, function, config} <- Handlers.for_event(event) do
      try do
        function.(event, measurements, metadata, config)
      catch
        kind, reason ->
          require Logger
          Logger.error("telemetry handler #{inspect(id)} failed: #{Exception.format(kind, reason, __STACKTRACE__)}")
      end
    end

    :ok
  end

  @doc false
  # Once, when the application starts, and the library before it: handlers must not be parted between two tables by the
  # moment in which a module happens to be loaded.
  def choose do
    started? = List.keymember?(Application.started_applications(), :telemetry, 0)
    :persistent_term.put({__MODULE__, :library?}, started? and Code.ensure_loaded?(:telemetry))
  end

  defp library?, do: :persistent_term.get({__MODULE__, :library?}, false)
end
