defmodule DSPex.Pool.Watch do
  @moduledoc false
  # Waiting for workers to become what one wants: every change of a worker's row is told to those who wait. They stand in a
  # table of the instance's supervisor, which outlives pools, queues and workers; its end ends their waiting.

  @doc "Makes the table of those who wait; the calling process owns it."
  @spec open(:ets.table()) :: true
  def open(table), do: :ets.insert(table, {:watchers, :ets.new(:watchers, [:public])})

  @doc "Tells all who wait to look again."
  @spec changed(:ets.table()) :: :ok
  def changed(table) do
    watchers = :ets.lookup_element(table, :watchers, 2)

    for {ref, pid} <- :ets.tab2list(watchers) do
      # One that was killed did not take itself out.
      if Process.alive?(pid), do: send(ref, {ref, :changed}), else: :ets.delete(watchers, ref)
    end

    :ok
  end

  @doc "The deadline (monotonic ms) of a timeout that begins now."
  @spec deadline(timeout) :: integer | :infinity
  def deadline(:infinity), do: :infinity
  def deadline(timeout), do: now() + timeout

  @doc """
  Looks now, and after every change, until there is something else than `:again`, which is given back. `:late` after the
  deadline (monotonic ms), `:gone` when the instance has ended.
  """
  @spec until(:ets.table(), integer | :infinity, (() -> :again | outcome)) :: outcome | :late | :gone when outcome: term
  def until(table, deadline, look) do
    with :again <- look.() do
      case :ets.info(table, :owner) do
        :undefined -> :gone
        owner -> watch(table, owner, deadline, look)
      end
    end
  end

  defp watch(table, owner, deadline, look) do
    ref = :erlang.monitor(:process, owner, alias: :demonitor)

    try do
      enter(table, ref)
      # What changed before the table knew of this process.
      wait(ref, deadline, look)
    after
      leave(table, ref)
    end
  end

  defp wait(ref, deadline, look) do
    with :again <- look.() do
      receive do
        {^ref, :changed} -> wait(drained(ref), deadline, look)
        {:DOWN, ^ref, :process, _owner, _reason} -> :gone
      after
        left(deadline) -> :late
      end
    end
  end

  # Many changes at once need one look.
  defp drained(ref) do
    receive do
      {^ref, :changed} -> drained(ref)
    after
      0 -> ref
    end
  end

  defp enter(table, ref), do: with_watchers(table, &:ets.insert(&1, {ref, self()}))

  defp leave(table, ref) do
    Process.demonitor(ref, [:flush])
    drained(ref)
    with_watchers(table, &:ets.delete(&1, ref))
  end

  # The tables end with the instance.
  defp with_watchers(table, function) do
    function.(:ets.lookup_element(table, :watchers, 2))
  rescue
    ArgumentError -> false
  end

  defp left(:infinity), do: :infinity
  defp left(deadline), do: max(0, deadline - now())

  defp now, do: System.monotonic_time(:millisecond)
end
