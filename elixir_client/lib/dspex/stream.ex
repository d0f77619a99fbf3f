defmodule DSPex.Stream do
  @moduledoc false
  # A call as an Enumerable: started when it is enumerated, fed as fast as it is read, cancelled when it is halted.

  alias DSPex.Breaker
  alias DSPex.Error
  alias DSPex.Event
  alias DSPex.Exchange
  alias DSPex.Prediction
  alias DSPex.Runner
  alias DSPex.Telemetry
  alias DSPex.Trace

  @credit 32
  @refill 16

  @doc "The stream. `start` gives `{table, program, params, options, meta}` or an error; it runs in the enumerating process."
  @spec new((() -> {:ok, map} | {:error, Error.t()})) :: Enumerable.t()
  def new(start) do
    Stream.resource(fn -> open(start) end, &next/1, &close/1)
  end

  defp open(start) do
    case start.() do
      {:ok, call} ->
        before = Trace.current()
        Telemetry.execute([:dspex, :stream, :start], %{system_time: System.system_time()}, call.metadata)

        state =
          Map.merge(call, %{
            options: Keyword.update(call.options, :meta, [], &Trace.renewed(&1, before, call.given)),
            started: System.monotonic_time(),
            exchange: nil,
            used: 0,
            events: 0,
            result: :halted,
            failure: nil
          })

        first(state)

      {:error, error} ->
        raise error
    end
  end

  # The first answer may be that the worker lacks the program; nothing has been seen of the stream then.
  defp first(state) do
    options = Keyword.put(state.options, :credit, @credit)
    meta = Keyword.get(options, :meta, []) ++ [{"stream", true}, {"credit", @credit}]
    options = Keyword.put(options, :meta, meta)

    outcome = Runner.with_module(state.table, state.program, "module.call", state.params, options, &open_and_next/1)

    case outcome do
      {{:event, event}, exchange} -> %{state | exchange: exchange} |> Map.put(:pending, [event])
      {outcome, _exchange} -> Map.put(state, :pending, [{:answer, outcome}])
    end
  end

  defp open_and_next(exchange) do
    with {:ok, exchange} <- Exchange.open(exchange) do
      case Exchange.next(exchange) do
        {:event, event, exchange} -> {{:event, event}, exchange}
        {:answer, outcome, exchange} -> {outcome, exchange}
      end
    else
      {:error, error} -> {{:error, error}, exchange}
    end
  end

  defp next(%{pending: [{:answer, outcome}]} = state), do: answered(outcome, %{state | pending: []})
  defp next(%{pending: [event]} = state), do: emit(event, %{state | pending: []})
  defp next(%{failure: %Error{} = error}), do: raise(error)
  defp next(%{exchange: nil} = state), do: {:halt, state}

  defp next(%{exchange: exchange} = state) do
    case Exchange.next(exchange) do
      {:event, event, exchange} -> emit(event, %{state | exchange: exchange})
      {:answer, outcome, _exchange} -> answered(outcome, state)
    end
  end

  defp emit(event, state) do
    state = refill(%{state | used: state.used + 1, events: state.events + 1})
    {event |> Event.from_wire() |> List.wrap(), state}
  end

  # Credit is given back in lots: one message for sixteen events, and never more than 32 of them in the mailbox.
  defp refill(%{used: used} = state) when used >= @refill do
    Exchange.grant(state.exchange, used)
    %{state | used: 0}
  end

  defp refill(state), do: state

  defp answered({:ok, result}, state) do
    duration = System.convert_time_unit(System.monotonic_time() - state.started, :native, :millisecond)
    state = %{state | exchange: nil, result: :ok}

    case Prediction.from_wire(result, Map.put(state.meta, "duration_ms", duration)) do
      {:ok, prediction} -> {[%Event{type: :done, prediction: prediction}], state}
      {:error, error} -> failed(error, state)
    end
  end

  defp answered({:error, error}, state), do: failed(error, state)

  # Raised at the next step, so that `close` sees the state that it ended in.
  defp failed(error, state), do: {[], %{state | exchange: nil, result: error.reason, failure: error}}

  defp close(state) do
    if state.exchange, do: Exchange.abandon(state.exchange)
    Breaker.lm_outcome(state.table, state.scope, lm_outcome(state))
    stop(state)
  end

  defp lm_outcome(%{failure: %Error{} = error}), do: {:error, error}
  defp lm_outcome(%{result: :ok}), do: {:ok, nil}
  defp lm_outcome(_halted), do: {:error, nil}

  defp stop(state) do
    measurements = %{duration: System.monotonic_time() - state.started, events: state.events}
    Telemetry.execute([:dspex, :stream, :stop], measurements, Map.put(state.metadata, :result, state.result))
  end
end
