# P10: 10 and 48 MB of floats there and back, as an Arrow table and as a tensor, against the same numbers as JSON lists. What
# is too large for a frame goes in parts, as users would send it.
Code.require_file("support.exs", __DIR__)

defmodule Bench.Large do
  @part 500_000

  # A column of floats as an Arrow IPC stream, by pyarrow: the tables of a client without Explorer are bytes.
  def table(data) do
    path = Path.join(System.tmp_dir!(), "dspex-bench-#{System.pid()}-#{System.unique_integer([:positive])}")
    File.write!(path, data)

    code = """
    import sys, numpy, pyarrow
    table = pyarrow.table({"n": numpy.fromfile(sys.argv[1], dtype="<f8")})
    with pyarrow.ipc.new_stream(sys.argv[1], table.schema) as writer:
        writer.write_table(table)
    """

    {"", 0} = System.cmd(Path.expand(".venv/bin/python"), ["-c", code, path])
    ipc = File.read!(path)
    File.rm!(path)
    DSPex.Table.new(ipc)
  end

  def lists(count), do: 1..count |> Enum.map(&(&1 * 0.1)) |> Enum.chunk_every(@part)

  # Megabytes of numbers per second, there and back.
  def rate(values, bytes) do
    started = System.monotonic_time(:microsecond)

    for value <- values do
      {:ok, _back} = DSPex.request("echo", [{"value", value}], instance: Bench.DSPex, timeout: 120_000)
    end

    [bytes * 2 / (System.monotonic_time(:microsecond) - started)]
  end
end

Bench.start_instance(engine: "scripted")

for {megabytes, rounds} <- [{10, 3}, {48, 1}] do
  count = div(megabytes * 1_048_576, 8)
  data = for n <- 1..count, into: <<>>, do: <<n * 0.1::float-little-64>>
  tensor = %DSPex.Tensor{dtype: "f64", shape: [count], data: data}
  lists = Bench.Large.lists(count)

  for {what, value} <- [{"an Arrow table", Bench.Large.table(data)}, {"a tensor", tensor}] do
    bytes = byte_size(data)
    ours = fn -> Bench.Large.rate([value], bytes) end
    {ours, baseline} = Bench.paired(rounds, ours, fn -> Bench.Large.rate(lists, bytes) end)

    Bench.report(
      id: "P10",
      name: "#{megabytes} MB there and back as #{what}, over JSON lists",
      unit: "MB/s",
      samples: ours,
      baseline: baseline,
      goal: "ratio >= 15"
    )
  end
end
