defmodule DSPex.Test.Wait do
  @moduledoc false
  # Waiting for what other processes do: by the events that tell it, and where none does, by asking again.

  import ExUnit.Assertions

  alias DSPex.Telemetry

  @patience 45_000

  @doc "Waits until so many callers wait in the queue of a pool; its telemetry says when to look."
  def queued(instance, count, pool \\ :default) do
    heard([:dspex, :pool, :queue], instance, fn ->
      {:ok, %{^pool => %{queued: queued}}} = DSPex.info(instance)
      if queued == count, do: :ok, else: {:error, "#{queued} wait, not #{count}"}
    end)
  end

  @doc "Waits until the instance is ready; a worker that comes up says when to look. A cause that passes is no failure."
  def ready(instance), do: heard([:dspex, :worker, :up], instance, fn -> DSPex.await_ready(instance) end)

  @doc "Waits until so many calls are in flight in the pool, over all of its workers."
  def in_flight(instance, count, pool \\ :default) do
    eventually(fn ->
      {:ok, %{^pool => %{workers: workers}}} = DSPex.info(instance)
      loads = Enum.map(workers, & &1.in_flight)
      if Enum.sum(loads) == count, do: :ok, else: {:error, "in flight are #{inspect(loads)}, not #{count}"}
    end)
  end

  @doc """
  Looks again until it is true, `:ok` or `{:ok, value}`, which is given back. The last resort, for what nothing tells: the
  state of a process of the operating system, a counter.
  """
  def eventually(check, pause \\ 10),
    do: look(check, deadline(), fn -> receive(do: (:never -> :ok), after: (pause -> :ok)) end)

  # Looks at the beginning and whenever the event comes; an event that came between is not missed, the handler being there.
  defp heard(event, instance, check) do
    id = {__MODULE__, make_ref()}
    :ok = Telemetry.attach(id, event, &__MODULE__.tell/4, {self(), id, instance})
    outcome = look(check, deadline(), fn -> receive(do: (^id -> :ok), after: (100 -> :ok)) end)
    :ok = Telemetry.detach(id)
    drain(id)
    outcome
  end

  defp drain(id), do: receive(do: (^id -> drain(id)), after: (0 -> :ok))

  @doc false
  def tell(_event, _measurements, metadata, {test, id, instance}),
    do: if(metadata.instance == instance, do: send(test, id))

  defp look(check, deadline, pause) do
    case check.() do
      true ->
        :ok

      :ok ->
        :ok

      {:ok, value} ->
        {:ok, value}

      not_yet ->
        if now() > deadline,
          do: flunk("it did not come to be: #{inspect(not_yet)}"),
          else: again(check, deadline, pause)
    end
  end

  defp again(check, deadline, pause) do
    pause.()
    look(check, deadline, pause)
  end

  defp deadline, do: now() + @patience
  defp now, do: System.monotonic_time(:millisecond)
end
