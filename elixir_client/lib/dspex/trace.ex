defmodule DSPex.Trace do
  @moduledoc """
  The trace that a call belongs to. Within a span of OpenTelemetry's API, where that is loaded, a call carries the span's W3C
  `traceparent` to Python, and the spans there are children of it:

      OpenTelemetry.Tracer.with_span "ask" do
        DSPex.call(program, %{question: "Why?"})
      end

  Where a handler of `[:dspex, :call, :start]` or `[:dspex, :stream, :start]` begins a span and makes it the current one, it
  stands between the two. `traceparent:` of a call goes before it; `traceparent: nil` sends none. The calls of
  `DSPex.async/3`, `DSPex.batch/3` and streams belong to the span in which they were made.
  """

  @doc """
  The span of the calling process as a `traceparent`; nil outside of one, and without OpenTelemetry.

      iex> DSPex.Trace.current()
      nil
  """
  @spec current() :: String.t() | nil
  def current do
    # Who has a span has loaded the library.
    if :erlang.function_exported(:otel_tracer, :current_span_ctx, 0),
      do: traceparent_of(:otel_tracer.current_span_ctx())
  end

  defp traceparent_of(span) do
    with true <- :otel_span.is_valid(span),
         %{otel_trace_id: trace, otel_span_id: parent, otel_trace_flags: flags} <- :otel_span.hex_span_ctx(span) do
      IO.iodata_to_binary(["00-", trace, ?-, parent, ?-, flags])
    else
      _no_span -> nil
    end
  end

  @doc """
  The `traceparent` of a call with these options.

      iex> DSPex.Trace.traceparent(traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
      "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
  """
  @spec traceparent(keyword) :: String.t() | nil
  def traceparent(options) do
    case List.keyfind(options, :traceparent, 0) do
      {:traceparent, given} -> given
      nil -> current()
    end
  end

  @doc false
  # `meta` of a request whose start event was told after `before` was current: where a handler of the event has begun a span,
  # the spans in Python are children of that one. A trace that was given to the call goes before it.
  @spec renewed([{String.t(), term}], String.t() | nil, keyword) :: [{String.t(), term}]
  def renewed(meta, before, options) do
    with false <- Keyword.has_key?(options, :traceparent), now when now not in [nil, before] <- current() do
      List.keystore(meta, "traceparent", 0, {"traceparent", now})
    else
      _the_same -> meta
    end
  end

  @doc false
  # For the options of a call that another process makes in the place of this one.
  @spec carry(keyword) :: keyword
  def carry(options) do
    case current() do
      nil -> options
      traceparent -> Keyword.put_new(options, :traceparent, traceparent)
    end
  end
end
