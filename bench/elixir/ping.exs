# P1: round trip of `ping` through our stack ÷ a raw read/write loop. P2: `echo` from 64 processes on one worker, as a share
# of what the raw loop does with 64 packets in flight.
Code.require_file("support.exs", __DIR__)

instance = Bench.start_instance(engine: "scripted")
raw = Bench.open("raw_loop.py")
packet = ~s({"jsonrpc":"2.0","id":1,"method":"ping"})

ping = fn -> {:ok, _} = DSPex.request("ping", [], instance: instance) end

{ours, baseline} =
  Bench.paired(10, fn -> Bench.times(500, ping) end, fn -> Bench.times(500, fn -> Bench.ask(raw, packet) end) end)

Bench.report(id: "P1", name: "ping round trip", unit: "us", samples: ours, baseline: baseline, goal: "ratio <= 2.0")

echo = fn -> {:ok, _} = DSPex.request("echo", [{"value", 7}], instance: instance) end

{ours, baseline} =
  Bench.paired(
    5,
    fn -> [Bench.rate(64, 20_000, echo)] end,
    fn -> [Bench.raw_rate(raw, packet, 64, 100_000)] end
  )

Bench.report(
  id: "P2",
  name: "echo from 64 processes, one worker",
  unit: "1/s",
  samples: ours,
  baseline: baseline,
  goal: "ratio >= 0.2"
)
