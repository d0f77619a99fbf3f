# P4, the other half: Predict through Elixir and one worker, 64 in flight, against `mlflow models serve`; the embedded LM on
# both sides.
Code.require_file("support.exs", __DIR__)

signature = "context, question -> answer"
inputs = %{"context" => "The mill is red.", "question" => "How is the mill?"}
program = DSPex.Predict.new(signature)
served = Bench.open("mlflow_serve.py")
instance = Bench.start_instance(lm: "offline/extractive")
call = fn -> {:ok, _} = DSPex.call(program, inputs, instance: instance) end
order = %{count: 320, concurrent: 64, signature: signature, inputs: inputs}

{ours, baseline} =
  Bench.paired(
    3,
    fn -> [Bench.rate(64, 3_200, call)] end,
    fn -> [order.count / (hd(Bench.order(served, order)) / 1.0e6)] end
  )

Bench.report(
  id: "P4",
  name: "Predict, 64 in flight, workers: 1, over mlflow models serve",
  unit: "1/s",
  samples: ours,
  baseline: baseline,
  goal: "ratio >= 10"
)
