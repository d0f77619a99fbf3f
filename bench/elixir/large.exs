# P10: 10 MB of floats there and back, as a tensor beside the envelope, against the same numbers as a JSON list.
Code.require_file("support.exs", __DIR__)

instance = Bench.start_instance(engine: "scripted")
count = 1_310_720
data = for n <- 1..count, into: <<>>, do: <<n * 0.1::float-little-64>>
tensor = %DSPex.Tensor{dtype: "f64", shape: [count], data: data}
# Halves, because a list has at most a million items.
list = for half <- Enum.chunk_every(Enum.map(1..count, &(&1 * 0.1)), div(count, 2)), do: half

echo = fn value ->
  started = System.monotonic_time(:microsecond)
  {:ok, _back} = DSPex.request("echo", [{"value", value}], instance: instance, timeout: 120_000)
  [byte_size(data) * 2 / (System.monotonic_time(:microsecond) - started)]
end

{ours, baseline} = Bench.paired(3, fn -> echo.(tensor) end, fn -> echo.(list) end)

Bench.report(
  id: "P10",
  name: "10 MB there and back, bytes over a JSON list",
  unit: "MB/s",
  samples: ours,
  baseline: baseline,
  goal: "ratio >= 15"
)
