defmodule DSPex.Interop.OrphanTest do
  # What is left of the Python processes when the BEAM that started them is killed.
  use ExUnit.Case, async: true

  alias DSPex.Test.Os
  alias DSPex.Test.Wait

  @moduletag timeout: 300_000
  @promise_ms 1_000
  @tries 5

  for {how, options} <- [default: [], fresh: [start: :fresh]] do
    @tag req: ["NFR2.1.1", "OWN-1"]
    test "kill -9 of the BEAM leaves no Python process after a second (start: #{how})" do
      assert Enum.any?(1..@tries, fn _try -> all_gone_in_time?(unquote(options)) end),
             "processes lived for more than #{@promise_ms} ms, #{@tries} times"
    end
  end

  # None may stay for good. One that was late may have had no processor: it is tried again.
  defp all_gone_in_time?(options) do
    {pid, workers} = options |> beam() |> pids()
    python = Enum.uniq(workers ++ children(pid))
    assert length(workers) == 2
    # A fork server is one more.
    assert options != [] or length(python) > 2
    assert Enum.all?(workers, &(not Os.gone?(&1)))
    {_output, 0} = Os.signal("KILL", pid)
    killed = System.monotonic_time(:millisecond)

    Wait.eventually(fn ->
      with [_left | _] = left <- Enum.reject(python, &Os.gone?/1), do: {:error, left}, else: ([] -> :ok)
    end)

    System.monotonic_time(:millisecond) - killed <= @promise_ms
  end

  # A second BEAM with a pool of its own, which tells its process ids and then waits to be killed.
  defp beam(options) do
    code = """
    {:ok, _apps} = Application.ensure_all_started(:dspex)
    pool = [workers: 2, lm: "offline/extractive"] ++ #{inspect(options)}
    {:ok, _pid} = DSPex.start_link(name: Orphans, pools: [default: pool])
    :ok = DSPex.await_ready(Orphans, 120_000)
    {:ok, %{default: %{workers: workers}}} = DSPex.info(Orphans)
    IO.puts(Enum.join(["pids", System.pid() | Enum.map(workers, & &1.os_pid)], " "))
    Process.sleep(:infinity)
    """

    paths = Enum.flat_map(:code.get_path(), fn path -> ["-pa", List.to_string(path)] end)
    args = paths ++ ["-e", code]
    Port.open({:spawn_executable, System.find_executable("elixir")}, [:binary, line: 4_096, args: args])
  end

  defp pids(beam) do
    receive do
      {^beam, {:data, {:eol, "pids " <> pids}}} ->
        [pid | workers] = pids |> String.split() |> Enum.map(&String.to_integer/1)
        {pid, workers}

      {^beam, {:data, _other}} ->
        pids(beam)
    after
      150_000 -> flunk("the second BEAM did not get its pool ready")
    end
  end

  # All below a process, the fork server among them.
  defp children(pid) do
    parents =
      for path <- Path.wildcard("/proc/[0-9]*"), child = String.to_integer(Path.basename(path)), not Os.gone?(child) do
        {parent(child), child}
      end

    below(Enum.group_by(parents, &elem(&1, 0), &elem(&1, 1)), pid)
  end

  defp below(tree, pid), do: Enum.flat_map(Map.get(tree, pid, []), &[&1 | below(tree, &1)])

  # It may be gone in the meantime.
  defp parent(pid) do
    Os.parent(pid)
  rescue
    _gone in [FunctionClauseError, ArgumentError] -> 0
  end
end
