# P14: memory of a worker after ten times as many calls as before: 1,000 and 10,000; with the argument `full` 10,000 and 100,000.
Code.require_file("support.exs", __DIR__)

first = if System.argv() == ["full"], do: 10_000, else: 1_000
instance = Bench.start_instance(lm: "offline/extractive")
program = DSPex.Predict.new("context, question -> answer")
inputs = %{context: "The mill is red.", question: "How is the mill?"}
call = fn -> {:ok, _} = DSPex.call(program, inputs, instance: instance) end

resident = fn ->
  {:ok, %{"rss_bytes" => bytes}} = DSPex.request("worker/status", [], instance: instance)
  bytes / 1_048_576
end

Bench.rate(50, first, call)
baseline = resident.()
Bench.rate(50, first * 9, call)

Bench.report(
  id: "P14",
  name: "memory after #{first * 10} calls over #{first}",
  unit: "MB",
  samples: [resident.()],
  baseline: [baseline],
  goal: "ratio <= 1.05"
)
