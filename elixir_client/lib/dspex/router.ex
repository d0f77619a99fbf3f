defmodule DSPex.Router do
  @moduledoc """
  Decides where a call runs: natively in Elixir, or in Python. It runs in the caller's process, over the instance's table;
  no process stands in the way.

  The rules, the first that settles it wins:

    1. **override**: `implementation: :native` or `:python`; what cannot be done there is an error
    2. **capability**: only one side can (`DSPex.Router.Capability`)
    3. **availability**: Python is left out while no worker of the pool is ready
    4. **load**: Python is left out while all its workers are full
    5. **latency**: a side whose decayed average for this kind of program is less than half of the other's
    6. **preference**: `prefer:` of the instance's `native:` options (`:native` unless set)

  When the chosen side fails before anything happened (`:unavailable`, `:overloaded`, an LM that is not configured) the other
  one is tried once, if it can; never after wrong input.

      DSPex.call(program, inputs, implementation: :python)
      {:ok, %{meta: %{"route" => "python", "route_reason" => why}}} = DSPex.call(program, inputs)

  Each decision is the event `[:dspex, :router, :decision]`, is counted (`stats/1`), and can be asked for in words
  (`explain/2`).
  """

  alias DSPex.Error
  alias DSPex.Instance
  alias DSPex.Pool
  alias DSPex.Program
  alias DSPex.Router.Capability
  alias DSPex.Router.Latency

  # Not an alias: the facade uses this module, and modules that use each other cannot be read apart.
  @default_instance :"Elixir.DSPex"

  @enforce_keys [:route, :rule, :why]
  defstruct [:route, :rule, :why, :fallback, :lm]

  @type route :: :native | :python
  @type t :: %__MODULE__{
          route: route,
          rule: :override | :capability | :availability | :load | :latency | :preference | :fallback,
          why: String.t(),
          fallback: route | nil,
          lm: DSPex.Native.LM.t() | nil
        }

  @doc "Decides for a call with these options (those of `DSPex.call/3`). Counts nothing and tells nobody."
  @spec decide(:ets.table(), Program.t(), keyword) :: {:ok, t} | {:error, Error.t()}
  def decide(table, program, options) do
    native = Capability.native(table, program, options)
    python = Capability.python(table, program, options)

    case Keyword.get(options, :implementation, :auto) do
      :auto ->
        choose(native, python, table, program, options)

      :native ->
        override(:native, native, program)

      :python ->
        override(:python, python, program)

      other ->
        {:error, Error.argument("implementation is #{inspect(other)}; it must be :auto, :native or :python")}
    end
  end

  @doc """
  Decides, runs the call by `run`, a function of the decision, and falls back once where that is allowed. `run` gives
  `{:ok, result}` or `{:error, error}`.
  """
  @spec route(:ets.table(), Program.t(), keyword, (t -> {:ok, term} | {:error, Error.t()})) ::
          {:ok, term} | {:error, Error.t()}
  def route(table, program, options, run) do
    with {:ok, decision} <- decide(table, program, options) do
      record(table, program, decision)

      case timed(table, program, decision, run) do
        {:error, error} -> fall_back(error, table, program, decision, run)
        outcome -> outcome
      end
    end
  end

  @doc "Counts and tells a decision."
  @spec record(:ets.table(), Program.t(), t) :: :ok
  def record(table, program, decision) do
    key = {:route, decision.route, decision.rule}
    :ets.update_counter(table, key, {2, 1}, {key, 0})
    metadata = %{kind: program.kind, route: decision.route, rule: decision.rule, why: decision.why}
    DSPex.Telemetry.execute([:dspex, :router, :decision], %{count: 1}, metadata)
  end

  @doc """
  Where a call would run now, and why, in words. Options are those of the call.
  """
  @spec explain(Program.t(), keyword) :: {:ok, String.t()} | {:error, Error.t()}
  def explain(program, options \\ []) do
    with {:ok, table} <- Instance.table(Keyword.get(options, :instance, @default_instance)),
         {:ok, decision} <- decide(table, program, options) do
      fallback =
        if decision.fallback,
          do: "; if it fails before anything happened, #{name(decision.fallback)} takes over",
          else: ""

      {:ok, "#{program.kind} runs in #{name(decision.route)} (#{decision.rule}): #{decision.why}#{fallback}"}
    end
  end

  @doc "How often each route was taken by each rule, and the decayed averages in milliseconds."
  @spec stats(atom) :: {:ok, map} | {:error, Error.t()}
  def stats(instance \\ @default_instance) do
    with {:ok, table} <- Instance.table(instance) do
      decisions =
        for [route, rule, count] <- :ets.match(table, {{:route, :"$1", :"$2"}, :"$3"}),
            into: %{},
            do: {{route, rule}, count}

      {:ok, %{decisions: decisions, latency_ms: Latency.all(table)}}
    end
  end

  defp override(route, {:ok, lm}, _program) do
    {:ok, %__MODULE__{route: route, rule: :override, why: "the call asks for it", lm: lm}}
  end

  defp override(route, {:no, why}, _program) do
    {:error, Error.argument("implementation: #{inspect(route)} cannot be had for this call: #{why}")}
  end

  defp choose({:no, why}, {:ok, nil}, _table, _program, _options), do: only(:python, why, nil)
  defp choose({:ok, lm}, {:no, why}, _table, _program, _options), do: only(:native, why, lm)

  defp choose({:no, why}, {:no, also}, _table, _program, _options) do
    {:error, Error.new(:unavailable, "neither side can run this call. Elixir: #{why}. Python: #{also}")}
  end

  defp choose({:ok, lm}, {:ok, nil}, table, program, options) do
    name = Capability.pool(table, options)
    {:ok, pool} = Pool.fetch(table, name)
    lm_name = Capability.lm_name(program, options) || "default"
    states = Pool.Slots.states(pool.slots)

    cond do
      open?(table, {:lm, nil, lm_name}) -> both(:python, :availability, "the breaker of Elixir's LM is open", lm)
      open?(table, {:lm, name, lm_name}) -> both(:native, :availability, "the breaker of the pool's LM is open", lm)
      open?(table, {:pool, name}) -> both(:native, :availability, "the breaker of the pool is open", lm)
      :ready not in states -> both(:native, :availability, "no worker of the pool is ready", lm)
      Pool.Slots.full?(pool.slots) -> both(:native, :load, "all workers of the pool are full", lm)
      faster = Latency.faster(table, program.kind) -> latency(faster, lm)
      true -> preference(table, lm)
    end
  end

  defp open?(table, scope), do: DSPex.Breaker.state(table, scope) == :open

  defp only(route, why, lm), do: {:ok, %__MODULE__{route: route, rule: :capability, why: why, lm: lm}}

  defp both(route, rule, why, lm) do
    fallback = if route == :native, do: :python, else: :native
    {:ok, %__MODULE__{route: route, rule: rule, why: why, lm: lm, fallback: fallback}}
  end

  defp latency({route, mine, others}, lm) do
    both(
      route,
      :latency,
      "it takes #{Float.round(mine, 1)} ms there on average, and #{Float.round(others, 1)} ms on the other side",
      lm
    )
  end

  defp preference(table, lm) do
    prefer = Capability.native_config(table).prefer
    both(prefer, :preference, "both sides can, and the instance prefers #{prefer}", lm)
  end

  defp timed(table, program, decision, run) do
    started = System.monotonic_time()
    outcome = run.(decision)

    if match?({:ok, _result}, outcome),
      do: Latency.observe(table, decision.route, program.kind, System.monotonic_time() - started)

    outcome
  end

  defp fall_back(error, table, program, %__MODULE__{fallback: other} = decision, run) when other != nil do
    if harmless?(error) do
      why = "#{name(decision.route)} failed before anything happened: #{error.message}"
      second = %{decision | route: other, rule: :fallback, why: why, fallback: nil}
      record(table, program, second)
      timed(table, program, second, run)
    else
      {:error, error}
    end
  end

  defp fall_back(error, _table, _program, _decision, _run), do: {:error, error}

  defp harmless?(%Error{reason: reason}) when reason in [:unavailable, :overloaded], do: true
  defp harmless?(%Error{reason: :lm_error, details: %{"code" => "not_configured"}}), do: true
  defp harmless?(_error), do: false

  defp name(:native), do: "Elixir"
  defp name(:python), do: "Python"
end
