defmodule DSPex.Pipeline.Tasks do
  @moduledoc """
  Runs functions in processes of their own, several at once, and leaves none behind: when one must stop, or the process
  that waits for them dies, they are killed, and whatever they started with them.
  """

  @typedoc "What became of a function: its value, an exit reason, or that it was stopped."
  @type outcome :: {:ok, term} | {:exit, term} | :timeout | :stopped

  @doc """
  Runs `functions` and gives their outcomes in order.

  Options:

    * `:max` – how many run at once (default all)
    * `:timeout` – milliseconds for each of them, or `:infinity` (default)
    * `:halt?` – a function of an outcome; when it says `true`, the others are stopped

  Called in any process; exits of processes that it is linked to are obeyed while it waits.
  """
  @spec run([(() -> term)], keyword) :: [outcome]
  def run(functions, options \\ []) do
    trapped = Process.flag(:trap_exit, true)

    try do
      functions
      |> Enum.with_index()
      |> loop(%{}, %{}, %{
        max: Keyword.get(options, :max, length(functions)),
        timeout: Keyword.get(options, :timeout, :infinity),
        halt?: Keyword.get(options, :halt?, fn _outcome -> false end),
        count: length(functions)
      })
    after
      Process.flag(:trap_exit, trapped)
    end
  end

  defp loop(waiting, running, outcomes, options) do
    {waiting, running} = start(waiting, running, options)

    if map_size(running) == 0 do
      for index <- 0..(options.count - 1)//1, do: Map.get(outcomes, index, :stopped)
    else
      running |> await() |> settle(waiting, running, outcomes, options)
    end
  end

  defp settle({pid, outcome}, waiting, running, outcomes, options) do
    {{index, _deadline}, running} = Map.pop!(running, pid)
    outcomes = Map.put(outcomes, index, outcome)

    if options.halt?.(outcome) do
      stop(Map.keys(running))
      loop([], %{}, outcomes, options)
    else
      loop(waiting, running, outcomes, options)
    end
  end

  defp start([{function, index} | rest], running, options) when map_size(running) < options.max do
    pid = spawn_link(fn -> exit({:shutdown, {__MODULE__, outcome(function)}}) end)
    start(rest, Map.put(running, pid, {index, deadline(options.timeout)}), options)
  end

  defp start(waiting, running, _options), do: {waiting, running}

  # What a function raises is an outcome: whoever asked for it tells it on, and no crash has to be logged.
  defp outcome(function) do
    {:ok, function.()}
  catch
    :error, reason -> {:exit, {Exception.normalize(:error, reason, __STACKTRACE__), __STACKTRACE__}}
    :throw, value -> {:exit, {:nocatch, value}}
    :exit, reason -> {:exit, reason}
  end

  defp await(running) do
    receive do
      {:EXIT, pid, {:shutdown, {__MODULE__, outcome}}} when is_map_key(running, pid) -> {pid, outcome}
      {:EXIT, pid, reason} when is_map_key(running, pid) -> {pid, {:exit, reason}}
      {:EXIT, _other, reason} when reason != :normal -> abandon(running, reason)
    after
      left(running) -> late(running)
    end
  end

  defp abandon(running, reason) do
    stop(Map.keys(running))
    exit(reason)
  end

  defp late(running) do
    {pid, _place} = Enum.min_by(running, fn {_pid, {_index, deadline}} -> deadline end)
    stop([pid])
    {pid, :timeout}
  end

  defp stop(pids) do
    Enum.each(pids, &Process.exit(&1, :kill))

    for pid <- pids do
      receive do: ({:EXIT, ^pid, _reason} -> :ok)
    end
  end

  defp left(running) do
    case running |> Map.values() |> Enum.map(&elem(&1, 1)) |> Enum.min() do
      :infinity -> :infinity
      deadline -> max(0, deadline - System.monotonic_time(:millisecond))
    end
  end

  defp deadline(:infinity), do: :infinity
  defp deadline(timeout), do: System.monotonic_time(:millisecond) + timeout
end
