# P4: Predict through Elixir and one worker (and two), 64 in flight, against FastAPI with `acall`; the embedded LM on both
# sides. P5: an LM that answers after 100 ms, 256 in flight, one worker: share of the ideal rate, beside bare `acall`.
Code.require_file("support.exs", __DIR__)

signature = "context, question -> answer"
inputs = %{"context" => "The mill is red.", "question" => "How is the mill?"}
program = DSPex.Predict.new(signature)
order = fn count, concurrent -> %{count: count, concurrent: concurrent, signature: signature, inputs: inputs} end
per_second = fn port, count, concurrent -> count / (hd(Bench.order(port, order.(count, concurrent))) / 1.0e6) end

fastapi = Bench.open("fastapi_acall.py")

for {workers, goal} <- [{1, "ratio >= 3"}, {2, "ratio >= 6"}] do
  name = :"Bench.Workers#{workers}"
  instance = Bench.start_instance(name: name, workers: workers, lm: "offline/extractive")
  call = fn -> {:ok, _} = DSPex.call(program, inputs, instance: instance) end

  {ours, baseline} =
    Bench.paired(5, fn -> [Bench.rate(64, 3_200, call)] end, fn -> [per_second.(fastapi, 1_600, 64)] end)

  Bench.report(
    id: "P4",
    name: "Predict, 64 in flight, workers: #{workers}, over FastAPI with acall",
    unit: "1/s",
    samples: ours,
    baseline: baseline,
    goal: goal
  )

  Supervisor.stop(Process.whereis(name) || name)
end

{address, env} = Bench.start_slow_lm()
instance = Bench.start_instance(name: Bench.Slow, lm: "openai/any", env: env, max_in_flight: 256)
acall = Bench.open("acall.py", ["openai/any", address])
call = fn -> {:ok, _} = DSPex.call(program, inputs, instance: instance) end
ideal = 256 / 0.1

{ours, baseline} =
  Bench.paired(
    3,
    fn -> [Bench.rate(256, 256 * 20, call) / ideal] end,
    fn -> [per_second.(acall, 256 * 5, 256) / ideal] end
  )

Bench.report(
  id: "P5",
  name: "100 ms LM, 256 in flight, one worker, over acall: share of ideal",
  unit: "share",
  samples: ours,
  baseline: baseline,
  goal: "value >= 0.85"
)
