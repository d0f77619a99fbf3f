# More workers: calls per second with an LM that answers after 100 ms, 256 in flight for each worker, against one worker in
# the same rounds.
Code.require_file("support.exs", __DIR__)

program = DSPex.Predict.new("context, question -> answer")
inputs = %{"context" => "The mill is red.", "question" => "How is the mill?"}
{_address, env} = Bench.start_slow_lm()

instances =
  for workers <- [1, 2, 4], into: %{} do
    name = :"Bench.Scaling#{workers}"
    {workers, Bench.start_instance(name: name, workers: workers, lm: "openai/any", env: env, max_in_flight: 256)}
  end

rate = fn workers ->
  call = fn -> {:ok, _} = DSPex.call(program, inputs, instance: instances[workers]) end
  Bench.rate(256 * workers, 256 * workers * 6, call)
end

for workers <- [1, 2, 4] do
  {ours, baseline} = Bench.paired(3, fn -> [rate.(workers)] end, fn -> [rate.(1)] end)

  Bench.report(
    id: "scaling",
    name: "100 ms LM, 256 in flight a worker, workers: #{workers}, over one worker",
    unit: "1/s",
    samples: ours,
    baseline: baseline,
    goal: "",
    better: "higher"
  )
end
