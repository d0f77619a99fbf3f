defmodule DSPex.Test.Leaks do
  @moduledoc false
  # What may grow in the BEAM, counted before and after. For modules that run alone (`async: false`).

  alias DSPex.Test.Wait

  @doc """
  Runs `function` twice and waits until there is no more of anything after the second time than there was after the first,
  which may load code and fill tables of programs. `settled` (`:ok` or `{:error, why}`) says when it is time to count.
  """
  def none(instance, settled, function) do
    function.()
    :ok = Wait.eventually(settled)
    before = counts(instance)
    function.()
    :ok = Wait.eventually(settled)

    Wait.eventually(fn ->
      now = counts(instance)
      grown = for {name, count} <- now, count > before[name], do: {name, before[name], count}
      if grown == [], do: :ok, else: {:error, grown}
    end)
  end

  @doc "The whole pool: every worker ready, nothing in flight, nobody waiting."
  def whole(instance) do
    with :ok <- DSPex.await_ready(instance, 45_000) do
      {:ok, %{default: pool}} = DSPex.info(instance)
      busy = pool.queued + Enum.sum(Enum.map(pool.workers, & &1.in_flight))
      if busy == 0, do: :ok, else: {:error, pool}
    end
  end

  def counts(instance) do
    {:ok, table} = DSPex.Instance.table(instance)

    %{
      processes: length(Process.list()),
      ports: length(Port.list()),
      tables: length(:ets.all()),
      rows: :ets.info(table, :size),
      atoms: :erlang.system_info(:atom_count),
      files: length(File.ls!("/proc/self/fd"))
    }
  end
end
