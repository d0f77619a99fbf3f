# OpenTelemetry's API is not there: these have its shape, and a span in the mailbox's own process.
unless Code.ensure_loaded?(:otel_tracer) do
  # The tracer last: other tests run already, and who finds it asks for the span.
  defmodule :otel_span do
    def is_valid(span), do: span != :undefined
    def hex_span_ctx({trace, span}), do: %{otel_trace_id: trace, otel_span_id: span, otel_trace_flags: "01"}
  end

  defmodule :otel_tracer do
    def current_span_ctx, do: Process.get(:test_span, :undefined)
  end
end

defmodule DSPex.TraceTest do
  # Spans around calls: the caller's, and those that handlers of events begin.
  use ExUnit.Case, async: true

  alias DSPex.Telemetry
  alias DSPex.Test.Peer

  @moduletag req: "NFR4.2.2"
  @program DSPex.Predict.new("question -> answer")
  @inputs %{question: "?"}
  @trace String.duplicate("a", 32)

  setup context do
    test = self()

    script = %{
      "module.call" => fn link, id, params ->
        send(test, {:traceparent, params["_meta"]["traceparent"]})
        Peer.result(link, id, Peer.prediction(%{"answer" => "x"}))
      end
    }

    {:ok, instance: Peer.start_instance(Module.concat(__MODULE__, "I#{context.line}"), script)}
  end

  # What handlers do that make spans of events, as those of opentelemetry_telemetry.
  defp spanned(instance, prefix) do
    begin = fn _event, _measurements, %{instance: name}, _config ->
      if name == instance, do: Process.put(:test_span, {@trace, "00000000000000bb"})
    end

    finish = fn _event, _measurements, %{instance: name}, _config ->
      if name == instance, do: Process.put(:test_span, Process.get(:test_parent, :undefined))
    end

    :ok = Telemetry.attach({instance, :start}, prefix ++ [:start], begin, nil)
    :ok = Telemetry.attach({instance, :stop}, prefix ++ [:stop], finish, nil)
    on_exit(fn -> for step <- [:start, :stop], do: Telemetry.detach({instance, step}) end)
  end

  defp within_span do
    Process.put(:test_parent, {@trace, "00000000000000aa"})
    Process.put(:test_span, {@trace, "00000000000000aa"})
  end

  test "a call carries its caller's span", %{instance: instance} do
    within_span()
    assert {:ok, _prediction} = DSPex.call(@program, @inputs, instance: instance)
    assert_receive {:traceparent, "00-#{@trace}-00000000000000aa-01"}
  end

  test "a span that a handler begins stands between the caller's and Python's", %{instance: instance} do
    spanned(instance, [:dspex, :call])
    assert {:ok, _prediction} = DSPex.call(@program, @inputs, instance: instance)
    assert_receive {:traceparent, "00-#{@trace}-00000000000000bb-01"}
    within_span()
    assert {:ok, _prediction} = DSPex.call(@program, @inputs, instance: instance)
    assert_receive {:traceparent, "00-#{@trace}-00000000000000bb-01"}
    assert DSPex.Trace.current() == "00-#{@trace}-00000000000000aa-01"
  end

  test "so it is for streams", %{instance: instance} do
    spanned(instance, [:dspex, :stream])
    within_span()
    assert [_done] = Enum.to_list(DSPex.stream(@program, @inputs, instance: instance))
    assert_receive {:traceparent, "00-#{@trace}-00000000000000bb-01"}
  end

  test "a trace that the call was given goes before it, and none stays none", %{instance: instance} do
    spanned(instance, [:dspex, :call])
    assert {:ok, _prediction} = DSPex.call(@program, @inputs, instance: instance, traceparent: "00-given")
    assert_receive {:traceparent, "00-given"}
    assert {:ok, _prediction} = DSPex.call(@program, @inputs, instance: instance, traceparent: nil)
    assert_receive {:traceparent, nil}
  end
end
