defmodule DSPex.Caller do
  @moduledoc """
  The way of a call: options, cache, router, and then Elixir or a worker of the pool. All of it runs in the caller's process.

  `DSPex` is its front; see there for the options.
  """

  alias DSPex.Breaker
  alias DSPex.Cached
  alias DSPex.Check
  alias DSPex.Error
  alias DSPex.Exchange
  alias DSPex.Execution
  alias DSPex.Instance
  alias DSPex.Native
  alias DSPex.Prediction
  alias DSPex.Program
  alias DSPex.Router
  alias DSPex.Runner
  alias DSPex.Telemetry
  alias DSPex.Trace

  @timeout 60_000
  @call_options ~w(instance pool timeout lm adapter config session tenant idempotency_key traceparent implementation encoding
                   cache execution owner bound)a
  @meta [
    session: "session",
    tenant: "tenant",
    idempotency_key: "idempotency_key"
  ]
  @default_instance :"Elixir.DSPex"
  @credit 32

  @doc "See `DSPex.call/3`."
  @spec call(Program.t(), map | keyword, keyword) :: {:ok, Prediction.t()} | {:error, Error.t()}
  def call(%Program{} = program, inputs, options) do
    with {:ok, table, request} <- request_options(options) do
      Cached.fetch(table, program, inputs, options, fn ->
        Router.route(table, program, options, &run(&1, table, program, inputs, request, options))
      end)
    end
  end

  @doc "See `DSPex.stream/3`."
  @spec stream(Program.t(), map | keyword, keyword) :: Enumerable.t()
  def stream(%Program{} = program, inputs, options) do
    with {:ok, table, request} <- request_options(options),
         {:ok, decision} <- Router.decide(table, program, options) do
      stream(decision, table, program, inputs, request, options)
    else
      {:error, error} -> Stream.resource(fn -> raise error end, &{:halt, &1}, & &1)
    end
  end

  @doc "See `DSPex.describe/2`."
  @spec describe(Program.t(), keyword) :: {:ok, map} | {:error, Error.t()}
  def describe(%Program{} = program, options) do
    with {:ok, table, options} <- request_options(options) do
      {outcome, _exchange} = Runner.run(table, program, "module.describe", [], options)
      with {:ok, description} <- outcome, do: {:ok, DSPex.Ordered.plain(description)}
    end
  end

  @doc "See `DSPex.dump/2`; gives the program as ordered JSON members."
  @spec dump(Program.t(), keyword) :: {:ok, DSPex.Ordered.t()} | {:error, Error.t()}
  def dump(%Program{} = program, options) do
    with {:ok, table, options} <- request_options(options) do
      case Runner.run(table, program, "module.dump", [], options) do
        {{:ok, %DSPex.Ordered{pairs: [{"program", %DSPex.Ordered{} = dumped} | _more]}}, _exchange} ->
          {:ok, dumped}

        {{:ok, _other}, _exchange} ->
          {:error, Error.new(:protocol_error, "the worker answered module.dump without a program")}

        {{:error, error}, _exchange} ->
          {:error, error}
      end
    end
  end

  @doc "See `DSPex.request/3`."
  @spec request(String.t(), map | [{String.t(), term}], keyword) :: {:ok, term} | {:error, Error.t()}
  def request(method, params, options) do
    with {:ok, table, request} <- request_options(options, [:maps, :worker]),
         :ok <- Check.all(worker: options[:worker]),
         request = [{:index, Keyword.get(options, :worker)} | request],
         params = for({name, value} <- params, do: {to_string(name), value}),
         {:ok, exchange} <- Exchange.new(table, method, params, request),
         {{:ok, result}, _exchange} <- Exchange.call(exchange) do
      {:ok, if(Keyword.get(options, :maps) == :ordered, do: result, else: DSPex.Ordered.plain(result))}
    else
      {{:error, error}, _exchange} -> {:error, error}
      {:error, error} -> {:error, error}
    end
  end

  @doc """
  Sends `method` about a program to a worker that has it, with `:lm`, `:adapter` and `:config` of the options as its `options`,
  and gives the result with its maps ordered. `tools` (by name) are known beside those of the program. `on_event`, a function
  of an event as a map, hears of its stream, in the caller's process; without it nothing streams.
  """
  @spec work(String.t(), Program.t(), [{String.t(), term}], keyword, map, (map -> term) | nil) ::
          {:ok, term} | {:error, Error.t()}
  def work(method, %Program{} = program, params, options, tools \\ %{}, on_event \\ nil) do
    with {:ok, table, request} <- request_options(options) do
      request = [{:tools, Map.merge(Program.tools(program), tools)} | streaming(request, on_event)]
      listen = fn exchange -> with {:ok, exchange} <- opened(exchange), do: listen(exchange, on_event) end
      params = params ++ call_options(options)
      {outcome, _exchange} = Runner.with_module(table, program, method, params, request, listen)
      outcome
    end
  end

  defp streaming(request, nil), do: request

  defp streaming(request, _on_event) do
    request |> Keyword.update!(:meta, &(&1 ++ [{"stream", true}, {"credit", @credit}])) |> Keyword.put(:credit, @credit)
  end

  defp opened(exchange) do
    with {:error, error} <- Exchange.open(exchange), do: {{:error, error}, exchange}
  end

  defp listen(exchange, on_event) do
    case Exchange.next(exchange) do
      {:event, event, exchange} ->
        heard(exchange, event, on_event)
        Exchange.grant(exchange, 1)
        listen(exchange, on_event)

      {:answer, outcome, exchange} ->
        {outcome, exchange}
    end
  end

  # What the caller's function raises is the caller's; the work for it ends.
  defp heard(exchange, event, on_event) do
    on_event.(event)
  catch
    kind, reason ->
      Exchange.abandon(exchange)
      :erlang.raise(kind, reason, __STACKTRACE__)
  end

  defp run(%Router{route: :native} = decision, table, program, inputs, request, options) do
    metadata = %{
      instance: Keyword.get(options, :instance, @default_instance),
      pool: nil,
      operation: "module.call",
      route: :native
    }

    Telemetry.span([:dspex, :call], metadata, fn ->
      outcome =
        guarded(table, lm_scope(nil, program, options), fn ->
          guard = Native.Guard.start(options[:owner])
          outcome = Native.Program.call(program, inputs, decision.lm, native_options(request, options))
          Native.Guard.stop(guard)
          {outcome, nil}
        end)
        |> elem(0)

      outcome = with {:ok, prediction} <- outcome, do: {:ok, put_in(prediction.meta["route_reason"], decision.why)}
      {outcome, stop_metadata(outcome, nil)}
    end)
  end

  defp run(decision, table, program, inputs, request, options) do
    call = prepare(decision, table, program, inputs, request, options)
    before = Trace.current()

    Telemetry.span([:dspex, :call], call.metadata, fn ->
      started = System.monotonic_time()
      request = Keyword.update!(call.options, :meta, &Trace.renewed(&1, before, options))

      {outcome, exchange} =
        guarded(table, lm_scope(call.metadata.pool, program, options), fn ->
          Runner.run(table, program, "module.call", call.params, request)
        end)

      outcome = with {:ok, result} <- outcome, do: Prediction.from_wire(result, duration(call.meta, started))
      {outcome, stop_metadata(outcome, exchange)}
    end)
  end

  defp guarded(table, scope, function) do
    case Breaker.check(table, scope) do
      :ok ->
        {outcome, exchange} = function.()
        Breaker.lm_outcome(table, scope, outcome)
        {outcome, exchange}

      {:error, error} ->
        {{:error, error}, nil}
    end
  end

  defp lm_scope(pool, program, options), do: {:lm, pool, Router.Capability.lm_name(program, options) || "default"}

  defp stream(%Router{route: :native} = decision, table, program, inputs, request, options) do
    events =
      Native.Stream.new(program, inputs, decision.lm, [{:owner, options[:owner]} | native_options(request, options)])

    Stream.concat([Stream.resource(fn -> Router.record(table, program, decision) end, &{:halt, &1}, & &1), events])
  end

  defp stream(decision, table, program, inputs, request, options) do
    DSPex.Stream.new(fn ->
      Router.record(table, program, decision)
      call = prepare(decision, table, program, inputs, request, options)
      scope = lm_scope(call.metadata.pool, program, options)
      given = Keyword.take(options, [:traceparent])

      with :ok <- Breaker.check(table, scope),
           do: {:ok, Map.merge(call, %{program: program, scope: scope, given: given})}
    end)
  end

  defp native_options(request, options), do: [timeout: request[:timeout]] ++ Keyword.take(options, [:adapter, :config])

  defp prepare(decision, table, program, inputs, request, options) do
    pool = Router.Capability.pool(table, options)
    request = [{:tools, Program.tools(program)} | request]

    metadata = %{
      instance: Keyword.get(options, :instance, @default_instance),
      pool: pool,
      operation: "module.call",
      route: :python
    }

    meta = %{"route" => "python", "route_reason" => decision.why, "pool" => Atom.to_string(pool)}
    params = [{"inputs", inputs(inputs)} | call_options(options)]
    %{table: table, params: params, options: request, metadata: metadata, meta: meta}
  end

  defp inputs(inputs) when is_list(inputs),
    do: if(Keyword.keyword?(inputs), do: DSPex.Ordered.new(inputs), else: inputs)

  defp inputs(inputs), do: inputs

  defp call_options(options) do
    given =
      for name <- [:lm, :adapter, :config], value = options[name], value != nil do
        {Atom.to_string(name), if(Keyword.keyword?(value), do: Map.new(value), else: value)}
      end

    given = given ++ execution(options[:execution])
    if given == [], do: [], else: [{"options", DSPex.Ordered.new(given)}]
  end

  defp execution(nil), do: []

  defp execution(wanted) do
    {:ok, wire} = Execution.to_wire(wanted)
    [{"execution", wire}]
  end

  defp request_options(options, more \\ []) do
    unknown = Enum.find(options, fn {name, _value} -> name not in @call_options and name not in more end)
    timeout = Keyword.get(options, :timeout, @timeout)

    cond do
      unknown != nil ->
        text =
          "unknown option #{elem(unknown, 0)} of the call; known are #{Enum.join(@call_options -- [:owner, :bound], ", ")}"

        {:error, Error.argument(text)}

      true ->
        with :ok <- Check.all(timeout: timeout, pool: options[:pool], encoding: options[:encoding]),
             :ok <- Check.meta(options),
             {:ok, _wire} <- Execution.to_wire(Keyword.get(options, :execution) || []),
             {:ok, table} <- Instance.table(Keyword.get(options, :instance, @default_instance)) do
          meta = for {name, text} <- @meta, value = Keyword.get(options, name), do: {text, value}
          meta = [{"traceparent", Trace.traceparent(options)} | meta]
          passed = for {name, _value} = option <- options, name in [:pool, :encoding, :owner, :bound], do: option
          {:ok, table, [{:meta, meta}, {:timeout, timeout} | passed]}
        end
    end
  end

  defp duration(meta, started) do
    Map.put(
      meta,
      "duration_ms",
      System.convert_time_unit(System.monotonic_time() - started, :native, :microsecond) / 1000
    )
  end

  defp stop_metadata({:ok, prediction}, _exchange), do: %{result: :ok, worker: prediction.meta["worker"]}
  defp stop_metadata({:error, error}, exchange), do: %{result: error.reason, worker: exchange && exchange.at}
end
