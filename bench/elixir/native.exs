# P11: what Elixir does natively against DSPy's own way in one Python process, and against asking a Python that has the
# answer at hand.
Code.require_file("support.exs", __DIR__)

alias DSPex.Native.Adapter.Chat
alias DSPex.Native.JsonSchema
alias DSPex.Native.Metrics
alias DSPex.Signature

text = "context: list[str], question -> answer, score: float, sources: list[int]"
inputs = %{"context" => ["The mill is red.", "The barn is green."], "question" => "How is the barn?"}
values = %{"answer" => "green", "score" => "0.9", "sources" => [1, 2, 3]}

completion =
  "[[ ## answer ## ]]\ngreen\n\n[[ ## score ## ]]\n0.9\n\n[[ ## sources ## ]]\n[1, 2, 3]\n\n[[ ## completed ## ]]\n"

schema = %{
  "type" => "object",
  "properties" => %{
    "answer" => %{"type" => "string", "minLength" => 1},
    "score" => %{"type" => "string", "pattern" => "^[0-9.]+$"},
    "sources" => %{"type" => "array", "items" => %{"type" => "integer", "minimum" => 0}, "uniqueItems" => true}
  },
  "required" => ["answer", "score"]
}

{:ok, signature} = Signature.compile(text)
{:ok, compiled} = JsonSchema.compile(schema)
[_system, _user] = Chat.format(signature, [], inputs)
prediction = "It was the green barn beside the old mill"
answers = ["a green barn", "the red mill"]

python = Bench.open("dspy_parts.py")
encode = fn order -> order |> DSPex.Wire.Json.encode() |> then(fn {:ok, json, []} -> IO.iodata_to_binary(json) end) end

theirs = fn part, members ->
  order = encode.(Map.merge(members, %{"part" => part, "count" => 200, "signature" => text}))

  fn ->
    {:ok, samples} = DSPex.Wire.Json.decode(Bench.ask(python, order))
    samples
  end
end

row = fn id, name, ours, baseline, goal ->
  {samples, baseline} = Bench.paired(6, fn -> Bench.batches(100, 100, ours) end, baseline)
  Bench.report(id: id, name: name, unit: "us", samples: samples, baseline: baseline, goal: goal)
end

signature_of_dspy = theirs.("signature", %{})
parse = fn -> {:ok, _} = Signature.parse(text) end
format = fn -> Chat.format(signature, [], inputs) end
read = fn -> {:ok, _} = Chat.parse(signature, completion) end

row.("P11", "signature parsed ÷ dspy.Signature", parse, signature_of_dspy, "ratio <= 0.01")

row.("P11", "prompt ÷ ChatAdapter.format", format, theirs.("format", %{"inputs" => inputs}), "ratio <= 0.1")

row.(
  "P11",
  "completion parsed ÷ ChatAdapter.parse",
  read,
  theirs.("parse", %{"completion" => completion}),
  "ratio <= 0.333"
)

cached = encode.(%{"part" => "cached", "signature" => text})
round_trip = fn -> Bench.times(500, fn -> Bench.ask(python, cached) end) end
found = fn -> {:ok, _} = Signature.compile(text) end
row.("P11", "signature found in the cache ÷ round trip to a cached one in Python", found, round_trip, "ratio <= 0.1")
row.("P11", "signature parsed ÷ round trip to a cached one in Python", parse, round_trip, "")

row.(
  "",
  "outputs validated ÷ pydantic",
  fn -> {:ok, _} = Signature.validate_outputs(signature, values) end,
  theirs.("validate", %{"values" => values}),
  ""
)

row.(
  "",
  "F1 of answers ÷ dspy.evaluate",
  fn -> Metrics.f1(prediction, answers) end,
  theirs.("f1", %{"prediction" => prediction, "answers" => answers}),
  ""
)

row.(
  "",
  "JSON Schema ÷ jsonschema",
  fn -> JsonSchema.validate(compiled, values) end,
  theirs.("schema", %{"schema" => schema, "values" => values}),
  ""
)
