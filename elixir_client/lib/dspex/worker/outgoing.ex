defmodule DSPex.Worker.Outgoing do
  @moduledoc false
  # The frames that an owner has made and not written yet.

  alias DSPex.Worker.Place

  @batch 64

  @doc "Adds a frame, and changes the connection with it."
  def write(data, connection, frame),
    do: %{data | connection: connection, out: [data.out | frame], batched: data.batched + 1}

  @doc "Adds a frame; `[]` is none."
  def write(data, []), do: data
  def write(data, frame), do: %{data | out: [data.out | frame], batched: data.batched + 1}

  # One write for all frames that the messages at hand have made: system calls are what a busy worker's owner pays for.
  @doc "Writes what there is, unless more is about to come."
  def flush(%{batched: 0} = data), do: data

  def flush(%{batched: batched} = data) do
    if batched >= @batch or Place.idle?() do
      case data.module.send(data.transport, data.out) do
        {:ok, transport} -> %{data | transport: transport, out: [], batched: 0}
        {:error, :closed} -> %{data | out: [], batched: 0}
      end
    else
      data
    end
  end
end
