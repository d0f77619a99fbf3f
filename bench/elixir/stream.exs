# P7: from the moment in which the LM's server writes a token to the moment in which Elixir has it, against a raw httpx
# reader; what a token costs when they all come at once; and from the moment in which a stream is halted to the one in
# which the LM's server sees its connection end.
Code.require_file("support.exs", __DIR__)

{address, env} = Bench.start_slow_lm()
instance = Bench.start_instance(lm: "openai/any", env: env)
reader = Bench.open("raw_stream.py", [address])
program = DSPex.Predict.new("question -> answer")

# The tokens are the times of their writing, 19 digits; events may hold parts of several. The space after each one is no
# mark of its end: a stream keeps white space back until it knows that the field goes on.
take = fn take, text, now, delays ->
  case String.trim_leading(text) do
    <<digits::binary-size(19), rest::binary>> ->
      take.(take, rest, now, [(now - String.to_integer(digits)) / 1000 | delays])

    rest ->
      {delays, rest}
  end
end

ask = fn question ->
  started = System.monotonic_time(:nanosecond)

  {delays, _rest} =
    DSPex.stream(program, %{question: question}, instance: instance)
    |> Enum.reduce({[], ""}, fn
      %DSPex.Event{type: :token, text: text}, {delays, rest} ->
        now = System.os_time(:nanosecond)
        take.(take, rest <> text, now, delays)

      _other, state ->
        state
    end)

  {(System.monotonic_time(:nanosecond) - started) / 1000, Enum.reverse(delays)}
end

raw = fn question ->
  {:ok, [all | delays]} = DSPex.Wire.Json.decode(Bench.ask(reader, question))
  {all, delays}
end

first = fn {_all, delays} -> hd(delays) end

{ours, baseline} = Bench.paired(15, fn -> [first.(ask.("go"))] end, fn -> [first.(raw.("go"))] end)

Bench.report(
  id: "P7",
  name: "first token, later than at a raw reader",
  unit: "us",
  samples: Enum.zip_with(ours, baseline, &(&1 - &2)),
  goal: "value <= 2000"
)

per_token = fn {all, delays} -> all / length(delays) end
{ours, baseline} = Bench.paired(10, fn -> [per_token.(ask.("burst"))] end, fn -> [per_token.(raw.("burst"))] end)

Bench.report(
  id: "P7",
  name: "cost of a token, over a raw reader",
  unit: "us",
  samples: ours,
  baseline: baseline,
  goal: "value <= 100"
)

{:ok, _apps} = Application.ensure_all_started(:inets)

halted = fn ->
  [at] =
    DSPex.stream(program, %{question: "go"}, instance: instance)
    |> Stream.filter(&match?(%DSPex.Event{type: :token}, &1))
    |> Stream.map(fn _token -> System.os_time(:nanosecond) end)
    |> Enum.take(1)

  {:ok, {{_version, 200, _reason}, _headers, body}} = :httpc.request(String.to_charlist(address <> "/cut"))
  (String.to_integer(IO.iodata_to_binary(body)) - at) / 1.0e6
end

[_warm | samples] = for _ <- 1..30, do: halted.()

Bench.report(
  id: "P7",
  name: "halted stream, until the LM's server sees the disconnect",
  unit: "ms",
  samples: samples,
  goal: "value <= 100"
)
