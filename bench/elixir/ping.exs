# P1: round trip of `ping` through our stack ÷ a raw read/write loop. P2: `echo` from 64 processes on one worker, as a share
# of what the raw loop does with 64 packets in flight.
#
# Where the kernel puts the two ends of a pipe decides more than what they do: on one processor a round trip of the raw loop
# takes 10 us, on two 30, and with a processor that has to be woken 50 or more, on each side by itself. The rows with a
# placement hold it the same for both sides.
Code.require_file("support.exs", __DIR__)

instance = Bench.start_instance(engine: "scripted")
raw = Bench.open("raw_loop.py")
packet = ~s({"jsonrpc":"2.0","id":1,"method":"ping"})

ping = fn -> {:ok, _} = DSPex.request("ping", [], instance: instance) end

{ours, baseline} =
  Bench.paired(10, fn -> Bench.times(500, ping) end, fn -> Bench.times(500, fn -> Bench.ask(raw, packet) end) end)

Bench.report(id: "P1", name: "ping round trip", unit: "us", samples: ours, baseline: baseline, goal: "ratio <= 2.0")

pythons = [Bench.worker_pid(instance), Bench.os_pid(raw)]

for {name, elixir, python} <- [{"one processor", "0", "0"}, {"two processors", "0", "1"}],
    Bench.place(elixir, python, pythons) do
  {ours, baseline} =
    Bench.paired(10, fn -> Bench.times(250, ping) end, fn -> Bench.times(250, fn -> Bench.ask(raw, packet) end) end)

  Bench.report(id: "P1", name: "ping round trip on #{name}", unit: "us", samples: ours, baseline: baseline, goal: "")
end

Bench.place("0-", "0-", pythons)

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
