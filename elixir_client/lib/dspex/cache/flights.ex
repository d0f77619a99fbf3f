defmodule DSPex.Cache.Flights do
  @moduledoc """
  Who works for which key, and who waits for it: the single-flight part of `DSPex.Cache`, within its process.
  """

  defstruct by_key: %{}, by_monitor: %{}

  @type t :: %__MODULE__{by_key: map, by_monitor: map}

  @doc "No flights."
  @spec new() :: t
  def new, do: %__MODULE__{}

  @doc "The first caller leads; later ones wait, at most `timeout` milliseconds."
  @spec join(t, term, GenServer.from(), timeout) :: {:lead | :wait, t}
  def join(flights, key, from, timeout) do
    case flights.by_key do
      %{^key => {leader, monitor, waiting}} ->
        waiter = {from, timer(key, from, timeout)}
        {:wait, put_in(flights.by_key[key], {leader, monitor, waiting ++ [waiter]})}

      _free ->
        {:lead, lead(flights, key, from, [])}
    end
  end

  @doc "The leader is done: gives those who waited."
  @spec land(t, term, pid) :: {t, [GenServer.from()]}
  def land(flights, key, pid) do
    case flights.by_key do
      %{^key => {^pid, monitor, waiting}} ->
        Process.demonitor(monitor, [:flush])
        {forget(flights, key, monitor), Enum.map(waiting, &stop_timer/1)}

      _another_leads ->
        {flights, []}
    end
  end

  @doc "The leader died: the next who waits leads, and is told so."
  @spec down(t, reference) :: t
  def down(flights, monitor) do
    case flights.by_monitor do
      %{^monitor => key} ->
        {_leader, ^monitor, waiting} = Map.fetch!(flights.by_key, key)
        flights |> forget(key, monitor) |> succeed(key, waiting)

      _unknown ->
        flights
    end
  end

  @doc "A waiter's time is up: it is told `:late`."
  @spec give_up(t, term, GenServer.from()) :: t
  def give_up(flights, key, from) do
    with %{^key => {leader, monitor, waiting}} <- flights.by_key,
         {[_late], others} <- Enum.split_with(waiting, fn {waiter, _timer} -> waiter == from end) do
      GenServer.reply(from, :late)
      put_in(flights.by_key[key], {leader, monitor, others})
    else
      _landed -> flights
    end
  end

  defp succeed(flights, _key, []), do: flights

  defp succeed(flights, key, [waiter | others]) do
    from = stop_timer(waiter)
    GenServer.reply(from, :lead)
    lead(flights, key, from, others)
  end

  defp lead(flights, key, {pid, _tag}, waiting) do
    monitor = Process.monitor(pid)

    %{
      flights
      | by_key: Map.put(flights.by_key, key, {pid, monitor, waiting}),
        by_monitor: Map.put(flights.by_monitor, monitor, key)
    }
  end

  defp forget(flights, key, monitor) do
    %{flights | by_key: Map.delete(flights.by_key, key), by_monitor: Map.delete(flights.by_monitor, monitor)}
  end

  defp timer(_key, _from, :infinity), do: nil
  defp timer(key, from, timeout), do: Process.send_after(self(), {:late, key, from}, timeout)

  defp stop_timer({from, nil}), do: from

  defp stop_timer({from, timer}) do
    Process.cancel_timer(timer)
    from
  end
end
