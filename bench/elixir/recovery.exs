# P9: kill -9 of a worker with 64 calls in flight, until the pool has all of its workers again: as pools start by
# default (forks), against fresh processes.
Code.require_file("support.exs", __DIR__)

program = DSPex.Predict.new("context, question -> answer")
inputs = %{context: "The mill is red.", question: "How is the mill?"}

workers = fn instance ->
  {:ok, %{default: %{workers: workers}}} = DSPex.info(instance)
  workers
end

wait = fn wait, check -> if check.(), do: :ok, else: Process.sleep(1) && wait.(wait, check) end

recover = fn instance ->
  [%{os_pid: killed} | _others] = workers.(instance)
  caller = fn -> DSPex.call(program, inputs, instance: instance, timeout: 30_000) end
  # Stopped first, so that the 64 calls are really in flight when it dies.
  {_output, 0} = System.cmd("/bin/sh", ["-c", "kill -STOP #{killed}"])
  calls = for _call <- 1..64, do: Task.async(caller)
  wait.(wait, fn -> Enum.sum(Enum.map(workers.(instance), & &1.in_flight)) >= 32 end)
  started = System.monotonic_time(:microsecond)
  {_output, 0} = System.cmd("/bin/sh", ["-c", "kill -KILL #{killed}"])

  wait.(wait, fn ->
    now = workers.(instance)
    length(now) == 2 and Enum.all?(now, &(&1.state == :ready and &1.os_pid != killed))
  end)

  took = (System.monotonic_time(:microsecond) - started) / 1000
  Task.await_many(calls, 60_000)
  [took]
end

# Each kill is one by itself: the back-off begins anew after each.
pool = [workers: 2, lm: "offline/extractive", backoff_reset: 1]
forks = Bench.start_instance([name: Bench.Forks] ++ pool)
fresh = Bench.start_instance([name: Bench.Fresh, start: :fresh] ++ pool)
{ours, baseline} = Bench.paired(5, fn -> recover.(forks) end, fn -> recover.(fresh) end)

Bench.report(
  id: "P9",
  name: "kill -9 to full strength, forks over fresh processes",
  unit: "ms",
  samples: ours,
  baseline: baseline,
  goal: "value <= 150"
)
