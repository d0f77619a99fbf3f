# Predict through the bridge against the same acall in one Python process, with the embedded LM on both sides.
Code.require_file("support.exs", __DIR__)

signature = "context, question -> answer"
inputs = %{"context" => "The mill is red. The barn is green.", "question" => "How is the barn?"}
program = DSPex.Predict.new(signature)

instance = Bench.start_instance(lm: "offline/extractive")
acall = Bench.open("acall.py")

order = fn count, concurrent ->
  {:ok, json, []} =
    DSPex.Wire.Json.encode(%{count: count, concurrent: concurrent, signature: signature, inputs: inputs})

  {:ok, samples} = DSPex.Wire.Json.decode(Bench.ask(acall, json))
  samples
end

call = fn -> {:ok, _} = DSPex.call(program, inputs, instance: instance) end

{ours, baseline} = Bench.paired(5, fn -> Bench.times(100, call) end, fn -> order.(100, 1) end)
Bench.report(id: "predict", name: "Predict, one at a time", unit: "us", samples: ours, baseline: baseline, goal: "")

{ours, baseline} =
  Bench.paired(5, fn -> [Bench.rate(64, 1_000, call)] end, fn -> [1_000 / (hd(order.(1_000, 64)) / 1.0e6)] end)

Bench.report(
  id: "predict",
  name: "Predict, 64 in flight, one worker",
  unit: "1/s",
  samples: ours,
  baseline: baseline,
  goal: "",
  better: "higher"
)
