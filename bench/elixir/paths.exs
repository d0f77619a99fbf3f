# What stands in the way of every call in Elixir. P3: a hit of the result cache. P13: routing and checkout. And what a
# pipeline adds to each of its steps.
Code.require_file("support.exs", __DIR__)

alias DSPex.Pool.Slots

program = DSPex.Predict.new("context, question -> answer")
inputs = %{"context" => "The mill is red. The barn is green.", "question" => "How is the barn?"}

# Both sides can run the program, so that the router has everything to weigh.
native = [prefer: :python, lms: [default: [model: "openai/none", base_url: "http://127.0.0.1:9/v1"]]]
instance = Bench.start_instance(lm: "offline/extractive", native: native, cache: [])
{:ok, table} = DSPex.Instance.table(instance)

options = [instance: instance, cache: true]
hit = fn -> {:ok, %{meta: %{"cache" => "hit"}}} = DSPex.call(program, inputs, options) end
{:ok, _first} = DSPex.call(program, inputs, options)

samples = for _ <- 1..6, do: Bench.rate(1, 100_000, hit)

Bench.report(
  id: "P3",
  name: "cache hit in Elixir, one process",
  unit: "1/s",
  samples: tl(samples),
  goal: "value >= 300000"
)

decide = fn -> {:ok, %{rule: :preference}} = DSPex.Router.decide(table, program, []) end
samples = Bench.batches(1_000, 100, decide)
Bench.report(id: "P13", name: "routing decision", unit: "us", samples: samples, goal: "value <= 5")

{:ok, %{slots: slots}} = DSPex.Pool.fetch(table, :default)

checkout = fn ->
  {:ok, worker} = Slots.checkout(slots)
  Slots.release(slots, worker)
end

samples = Bench.batches(1_000, 100, checkout)
Bench.report(id: "P13", name: "pool checkout and release", unit: "us", samples: samples, goal: "value <= 10")

steps = for _ <- 1..10, do: {fn fields -> fields end, inputs: ["text"], outputs: ["text"]}
pipeline = DSPex.Pipeline.new!(steps, inputs: ["text"])

samples =
  for run <- Bench.times(2_000, fn -> {:ok, _} = DSPex.Pipeline.run(pipeline, %{"text" => "a"}) end), do: run / 10

Bench.report(
  id: "pipeline",
  name: "pipeline of 10 steps, per step",
  unit: "us",
  samples: Enum.drop(samples, 200),
  goal: "value <= 20"
)
