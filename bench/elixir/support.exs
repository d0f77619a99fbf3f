defmodule Bench do
  @moduledoc "What the measuring scripts share: baselines behind ports, paired rounds, reports as lines of JSON."

  @doc "Opens a baseline program that answers each packet with one."
  def open(script, args \\ []) do
    python = Path.expand(".venv/bin/python")
    args = [Path.expand(Path.join("bench/baselines", script)) | args]
    Port.open({:spawn_executable, python}, [:binary, :exit_status, {:packet, 4}, {:args, args}])
  end

  @doc "Sends a packet to the baseline and waits for its answer."
  def ask(port, packet) do
    Port.command(port, packet)

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

  @doc """
  Measures both sides in turns, so that a busy moment of the machine meets both: `rounds` times, each side once. The
  first round of each warms up and is dropped. Gives `{ours, baseline}`, each a list of samples.
  """
  def paired(rounds, ours, baseline) do
    _warm = {ours.(), baseline.()}

    {a, b} =
      Enum.map(1..rounds, fn
        round when rem(round, 2) == 1 -> {ours.(), baseline.()}
        _round -> baseline.() |> then(&{ours.(), &1})
      end)
      |> Enum.unzip()

    {List.flatten(a), List.flatten(b)}
  end

  @doc "Prints one report."
  def report(fields) do
    {:ok, json, []} = DSPex.Wire.Json.encode(Map.new(fields, fn {name, value} -> {to_string(name), value} end))
    IO.puts(json)
  end
end
