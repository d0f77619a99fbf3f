defmodule Bench do
  @moduledoc "What the measuring scripts share: baselines behind ports, paired rounds, reports as lines of JSON."

  @doc "Opens a baseline program that answers each packet with one."
  def open(script, args \\ []) do
    python = Path.expand(".venv/bin/python")
    args = [Path.expand(Path.join("bench/baselines", script)) | args]
    Port.open({:spawn_executable, python}, [:binary, :exit_status, {:packet, 4}, {:args, args}])
  end

  @doc "The process of a baseline."
  def os_pid(port), do: port |> Port.info(:os_pid) |> elem(1)

  @doc "The process of an instance's only worker."
  def worker_pid(instance) do
    {:ok, %{default: %{workers: [%{os_pid: os_pid}]}}} = DSPex.info(instance)
    os_pid
  end

  @doc """
  Keeps this BEAM and the processes `pythons` on the processors given, as `taskset` takes them (`"0-"` is all). False where
  that cannot be done.
  """
  def place(beam, pythons_on, pythons) do
    last = System.schedulers() - 1
    cpus = fn list -> if list == "0-", do: "0-#{last}", else: list end

    System.find_executable("taskset") != nil and last > 0 and
      Enum.all?([{System.pid(), beam} | Enum.map(pythons, &{Integer.to_string(&1), pythons_on})], fn {pid, list} ->
        match?({_output, 0}, System.cmd("taskset", ["-a", "-c", "-p", cpus.(list), pid], stderr_to_stdout: true))
      end)
  end

  @doc "Sends a packet to the baseline and waits for its answer."
  def ask(port, packet) do
    Port.command(port, packet)
    take(port)
  end

  defp take(port) do
    receive do
      {^port, {:data, answer}} -> answer
      {^port, {:exit_status, status}} -> raise "the baseline ended with status #{status}"
    after
      60_000 -> raise "the baseline did not answer within 60 s"
    end
  end

  @doc "Times `function` `count` times, one after the other; microseconds each."
  def times(count, function) do
    for _ <- 1..count do
      started = System.monotonic_time(:nanosecond)
      function.()
      (System.monotonic_time(:nanosecond) - started) / 1000
    end
  end

  @doc "Times `count` batches of `size` calls; the microseconds of one call in each. For what takes less than a few."
  def batches(count, size, function) do
    for time <- times(count, fn -> repeat(size, function) end), do: time / size
  end

  defp repeat(0, _function), do: :ok

  defp repeat(left, function) do
    function.()
    repeat(left - 1, function)
  end

  @doc """
  Measures both sides in turns, so that a busy moment of the machine meets both: `rounds` times, each side once. The
  first round of each warms up and is dropped. Gives `{ours, baseline}`, each a list of samples.
  """
  def paired(rounds, ours, baseline) do
    _warm = {ours.(), baseline.()}

    {ours, baseline} =
      1..rounds
      |> Enum.map(fn
        round when rem(round, 2) == 1 -> {ours.(), baseline.()}
        _round -> then(baseline.(), &{ours.(), &1})
      end)
      |> Enum.unzip()

    {List.flatten(ours), List.flatten(baseline)}
  end

  @doc """
  Starts an instance with one worker, ready for calls. `options` are `:name`, `:native` and `:cache` of the instance,
  `:engine` for the worker's settings, and any of the pool.
  """
  def start_instance(options) do
    {:ok, _apps} = Application.ensure_all_started(:dspex)
    {engine, options} = Keyword.pop(options, :engine)
    settings = if engine, do: %{engine: engine}, else: %{}
    {own, options} = Keyword.split(options, [:name, :native, :cache])
    own = Keyword.put_new(own, :name, Bench.DSPex)
    pools = [default: Keyword.merge([workers: 1, settings: settings], options)]
    {:ok, _pid} = DSPex.start_link([pools: pools] ++ own)
    :ok = DSPex.await_ready(own[:name])
    own[:name]
  end

  @doc "Gives an order to a baseline that takes JSON, and its answer."
  def order(port, order) do
    {:ok, json, []} = DSPex.Wire.Json.encode(order)
    {:ok, answer} = DSPex.Wire.Json.decode(ask(port, json))
    answer
  end

  @doc "Starts the LM that answers after 100 ms; gives its address and the environment of workers that use it."
  def start_slow_lm do
    address = take(open("slow_lm.py"))
    {address, [{"OPENAI_BASE_URL", address}, {"OPENAI_API_KEY", "any"}]}
  end

  @doc "Calls per second that `processes` make together, `total` in all."
  def rate(processes, total, function) do
    each = div(total, processes)
    started = System.monotonic_time(:nanosecond)

    1..processes
    |> Enum.map(fn _ -> Task.async(fn -> repeat(each, function) end) end)
    |> Task.await_many(:infinity)

    each * processes / ((System.monotonic_time(:nanosecond) - started) / 1.0e9)
  end

  @doc "Packets per second through a baseline with `in_flight` of them under way."
  def raw_rate(port, packet, in_flight, total) do
    started = System.monotonic_time(:nanosecond)
    for _ <- 1..in_flight, do: Port.command(port, packet)
    for _ <- 1..(total - in_flight), do: ask(port, packet)
    for _ <- 1..in_flight, do: take(port)
    total / ((System.monotonic_time(:nanosecond) - started) / 1.0e9)
  end

  @doc "Prints one report."
  def report(fields) do
    {:ok, json, []} = DSPex.Wire.Json.encode(Map.new(fields, fn {name, value} -> {to_string(name), value} end))
    IO.puts(json)
  end
end
