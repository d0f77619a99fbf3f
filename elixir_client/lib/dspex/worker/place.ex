defmodule DSPex.Worker.Place do
  @moduledoc false
  # The place of a worker in its pool: the counters of its calls, and its row in the instance's table. An owner that has
  # left its place to a successor (`left?`) touches neither.

  alias DSPex.Pool.Queue
  alias DSPex.Pool.Slots
  alias DSPex.Pool.Watch

  @doc "Whether another owner that lives has the place, and does not leave it."
  def taken?(config) do
    case :ets.lookup(config.table, row_key(config)) do
      [{_key, owner, row}] -> owner != self() and row.state != :draining and Process.alive?(owner)
      [] -> false
    end
  end

  @doc "Whether the pool has fewer workers than this one's place needs."
  def beyond?(config), do: config.index > Slots.size(config.slots)

  @doc "Sets the counters of a new owner."
  def open(config) do
    Slots.put_load(config.slots, config.index, 0)
    Slots.put_bound(config.slots, config.index, config.max_in_flight)
  end

  @doc "Says how the worker is."
  def put(%{left?: true} = data, _state), do: data

  def put(%{config: config} = data, state) do
    row = %{
      state: state,
      os_pid: data.transport && data.module.os_pid(data.transport),
      cause: data.cause,
      info: data.info,
      generation: data.generation
    }

    Slots.put_state(config.slots, config.index, state)
    :ets.insert(config.table, [{row_key(config), self(), row}, {owner_key(config), self(), data.generation}])
    Watch.changed(config.table)
    data
  end

  # A row of its own, for each call copies it.
  @doc "Who owns a worker, and which of its processes in turn that is; nil when there is none."
  def owner(table, pool, index) do
    case :ets.lookup(table, {:owner, pool, index}) do
      [{_key, owner, generation}] -> {owner, generation}
      [] -> nil
    end
  end

  @doc "Gives the place of one call back, and tells those who wait."
  def release(%{left?: true}), do: :ok
  def release(%{config: %{slots: slots, index: index, queue: queue}}), do: Queue.give_back(queue, slots, index)

  # A caller that was killed between its checkout and its request leaves a place taken.
  @doc "Sets the load right, when there is nothing in flight and nothing on its way, and tells those who wait."
  def settle(%{left?: true}, _in_flight), do: :ok

  def settle(%{config: config} = data, in_flight) do
    if in_flight == 0 and data.missed == 0 and Slots.load(config.slots, config.index) != 0 and idle?() do
      Slots.put_load(config.slots, config.index, 0)
      Queue.wake(config.queue, config.slots)
    end
  end

  @doc "Whether no message waits for the calling process."
  def idle?, do: match?({:message_queue_len, 0}, Process.info(self(), :message_queue_len))

  @doc "The owner ends."
  def forget(%{left?: true}), do: :ok

  def forget(%{config: config}) do
    Slots.put_state(config.slots, config.index, :absent)
    :ets.match_delete(config.table, {row_key(config), self(), :_})
    :ets.match_delete(config.table, {owner_key(config), self(), :_})
    Watch.changed(config.table)
    send(config.queue, :changed)
  rescue
    # The table ends with the instance, the queue's name with the pool.
    ArgumentError -> :ok
  end

  defp owner_key(config), do: {:owner, config.pool, config.index}
  defp row_key(config), do: {:worker, config.pool, config.index}
end
