defmodule DSPex.Docs.SpansTest do
  # The handlers of the telemetry guide. OpenTelemetry is no package of these tests: modules of its shape stand in for it.
  use ExUnit.Case, async: false

  @compile {:no_warn_undefined, MyApp.DSPexSpans}
  @page Path.expand("../../../docs/telemetry.md", __DIR__)
  @external_resource @page
  @moduletag req: ["NFR4.1.2", "NFR4.2.2"]
  @stand_ins """
  defmodule OpentelemetryTelemetry do
    def start_telemetry_span(tracer, name, metadata, options) do
      send(DSPex.Docs.SpansTest, {:started, tracer, name, options})
      send(DSPex.Docs.SpansTest, {:instance, metadata.instance})
    end

    def set_current_telemetry_span(_tracer, _metadata), do: :span
    def end_telemetry_span(tracer, metadata), do: send(DSPex.Docs.SpansTest, {:ended, tracer, metadata[:result]})
  end

  defmodule OpenTelemetry do
    def status(code, message), do: {code, message}
  end

  defmodule OpenTelemetry.Span do
    def set_status(span, status), do: send(DSPex.Docs.SpansTest, {:status, span, status})
  end
  """

  setup do
    [[code]] = Regex.scan(~r/^```elixir\n(if Code.*?)^```$/ms, File.read!(@page), capture: :all_but_first)
    modules = Code.compile_string(@stand_ins) ++ Code.compile_string(code, @page)
    Process.register(self(), __MODULE__)
    :ok = MyApp.DSPexSpans.attach()

    on_exit(fn ->
      for kind <- [:call, :stream],
          step <- [:start, :stop, :exception],
          do: :ok = DSPex.Telemetry.detach({MyApp.DSPexSpans, kind, step})

      for {module, _code} <- modules, do: {:code.delete(module), :code.purge(module)}
    end)
  end

  test "a call and a stream are spans, and one that fails has the error as its status" do
    answers = fn
      %{"question" => "ok"} -> %{"answer" => "x"}
      _other -> DSPex.Error.new(:lm_error, "no luck")
    end

    start_supervised!({DSPex, name: __MODULE__.DSPex, pools: [default: DSPex.Testing.pool(answers)]})
    program = DSPex.Predict.new("question -> answer")
    options = [instance: __MODULE__.DSPex]

    assert {:ok, _prediction} = DSPex.call(program, %{question: "ok"}, options)
    assert_received {:started, :dspex, "dspex.call", %{kind: :client, attributes: %{"dspex.pool" => ":default"}}}
    assert_received {:ended, :dspex, :ok}
    refute_received {:status, _span, _status}

    assert {:error, _error} = DSPex.call(program, %{question: "fail"}, options)
    assert_received {:status, :span, {:error, "lm_error"}}
    assert_received {:ended, :dspex, :lm_error}

    assert %{type: :done} = List.last(Enum.to_list(DSPex.stream(program, %{question: "ok"}, options)))
    assert_received {:started, :dspex, "dspex.stream", _options}
    assert_received {:ended, :dspex, :ok}
  end
end
