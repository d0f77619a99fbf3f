defmodule DSPex.Pool.Slots do
  @moduledoc """
  The counters of a pool: for each worker its state, its load and its bound. Callers read and change them in their own
  processes, so that no process stands between a call and its worker.

      iex> slots = DSPex.Pool.Slots.new(2)
      iex> DSPex.Pool.Slots.resize(slots, 1)
      iex> DSPex.Pool.Slots.put_bound(slots, 1, 1)
      iex> DSPex.Pool.Slots.put_state(slots, 1, :ready)
      iex> {DSPex.Pool.Slots.checkout(slots), DSPex.Pool.Slots.checkout(slots)}
      {{:ok, 1}, :busy}

  Layout of the array: 1 number of workers, 2 callers in the queue, 3 round robin; then three cells a worker: load, state, bound.
  """

  @head 3
  @cells 3
  @states %{absent: 0, starting: 1, ready: 2, down: 3, draining: 4}
  @names Map.new(@states, fn {name, code} -> {code, name} end)
  @ready 2

  @enforce_keys [:counters]
  defstruct [:counters]

  @type t :: %__MODULE__{counters: :atomics.atomics_ref()}
  @type state :: :absent | :starting | :ready | :down | :draining

  @doc "Counters for up to `most` workers, none of which is there yet."
  @spec new(pos_integer) :: t
  def new(most \\ 128), do: %__MODULE__{counters: :atomics.new(@head + @cells * most, signed: true)}

  @doc "Sets the number of workers."
  @spec resize(t, non_neg_integer) :: :ok
  def resize(%__MODULE__{counters: counters}, count), do: :atomics.put(counters, 1, count)

  @doc "The number of workers."
  @spec size(t) :: non_neg_integer
  def size(%__MODULE__{counters: counters}), do: :atomics.get(counters, 1)

  @doc "Sets the state of a worker."
  @spec put_state(t, pos_integer, state) :: :ok
  def put_state(%__MODULE__{counters: counters}, index, state),
    do: :atomics.put(counters, cell(index) + 1, Map.fetch!(@states, state))

  @doc "The state of a worker."
  @spec state(t, pos_integer) :: state
  def state(%__MODULE__{counters: counters}, index), do: Map.fetch!(@names, :atomics.get(counters, cell(index) + 1))

  @doc "The states of all workers."
  @spec states(t) :: [state]
  def states(slots), do: for(index <- indexes(slots), do: state(slots, index))

  @doc "Sets how many calls a worker takes at once."
  @spec put_bound(t, pos_integer, pos_integer) :: :ok
  def put_bound(%__MODULE__{counters: counters}, index, bound), do: :atomics.put(counters, cell(index) + 2, bound)

  @doc "The calls in flight on a worker, those included that are on their way to it."
  @spec load(t, pos_integer) :: integer
  def load(%__MODULE__{counters: counters}, index), do: :atomics.get(counters, cell(index))

  @doc "Sets the load right, for a worker that has just started, or whose callers died before they reached it."
  @spec put_load(t, pos_integer, non_neg_integer) :: :ok
  def put_load(%__MODULE__{counters: counters}, index, load), do: :atomics.put(counters, cell(index), load)

  @doc "Says how many callers wait in the queue; while any does, nobody overtakes them."
  @spec put_waiting(t, non_neg_integer) :: :ok
  def put_waiting(%__MODULE__{counters: counters}, count), do: :atomics.put(counters, 2, count)

  @doc "How many callers wait in the queue."
  @spec waiting(t) :: non_neg_integer
  def waiting(%__MODULE__{counters: counters}), do: :atomics.get(counters, 2)

  @doc """
  Takes a place on the least loaded worker that is ready. `:busy` when all of those are full or others wait already,
  `:none` when none is ready. With `queued?: true` (the queue itself) waiting callers are no obstacle.
  """
  @spec checkout(t, boolean) :: {:ok, pos_integer} | :busy | :none
  def checkout(%__MODULE__{counters: counters} = slots, queued? \\ false) do
    if not queued? and :atomics.get(counters, 2) > 0 do
      :busy
    else
      count = :atomics.get(counters, 1)
      offset = if count > 1, do: :atomics.add_get(counters, 3, 1), else: 0
      least(slots, count, offset, count, nil)
    end
  end

  @doc "Whether a new call would have to wait: others do, or every worker that is ready has as many as it takes."
  @spec full?(t) :: boolean
  def full?(%__MODULE__{counters: counters} = slots) do
    waiting(slots) > 0 or
      Enum.all?(indexes(slots), fn index ->
        cell = cell(index)
        :atomics.get(counters, cell + 1) != @ready or :atomics.get(counters, cell) >= :atomics.get(counters, cell + 2)
      end)
  end

  @doc "Takes a place on this worker, if it is ready and has room and nobody waits."
  @spec checkout_at(t, pos_integer) :: {:ok, pos_integer} | :busy
  def checkout_at(%__MODULE__{counters: counters} = slots, index) do
    if :atomics.get(counters, 2) == 0 and :atomics.get(counters, cell(index) + 1) == @ready,
      do: admit(slots, index),
      else: :busy
  end

  @doc "Takes a place on this worker, whatever its load."
  @spec take(t, pos_integer) :: :ok
  def take(%__MODULE__{counters: counters}, index), do: :atomics.add(counters, cell(index), 1)

  @doc "Gives the place back."
  @spec release(t, pos_integer) :: :ok
  def release(%__MODULE__{counters: counters}, index), do: :atomics.sub(counters, cell(index), 1)

  # The walk begins at another worker each time, so that equal loads share the work.
  defp least(_slots, _count, _offset, 0, nil), do: :none
  defp least(slots, _count, _offset, 0, {_load, index}), do: admit(slots, index)

  defp least(%{counters: counters} = slots, count, offset, left, best) do
    index = Integer.mod(offset + left, count) + 1
    cell = cell(index)

    if :atomics.get(counters, cell + 1) == @ready do
      load = :atomics.get(counters, cell)
      best = if best == nil or load < elem(best, 0), do: {load, index}, else: best
      least(slots, count, offset, left - 1, best)
    else
      least(slots, count, offset, left - 1, best)
    end
  end

  defp admit(%{counters: counters}, index) do
    cell = cell(index)

    if :atomics.add_get(counters, cell, 1) <= :atomics.get(counters, cell + 2) do
      {:ok, index}
    else
      :atomics.sub(counters, cell, 1)
      :busy
    end
  end

  defp indexes(slots), do: Enum.take(Stream.iterate(1, &(&1 + 1)), size(slots))

  defp cell(index), do: @head + @cells * (index - 1) + 1
end
