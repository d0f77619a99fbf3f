defmodule DSPex.Transport.Outbox do
  @moduledoc """
  What a port does not take yet. Writes never suspend the owner (`:nosuspend`): a stopped worker would otherwise stop the
  owner and all its timers. For pipes and sockets alike, which are both ports.

  A port tells nobody when it can be written to again, so it is asked: the owner gets `{outbox, port, :flush}` and calls
  `flush/2`.
  """

  @retry_ms 2

  defstruct queue: :queue.new(), bytes: 0

  @type t :: %__MODULE__{queue: :queue.queue(iodata), bytes: non_neg_integer}

  @doc "Writes, or queues what can't be written now."
  @spec send(t, port, iodata) :: {:ok, t} | {:error, :closed}
  def send(%__MODULE__{bytes: 0} = outbox, port, data) do
    if Port.command(port, data, [:nosuspend]) do
      {:ok, outbox}
    else
      retry(port)
      {:ok, enqueue(outbox, data)}
    end
  rescue
    ArgumentError -> {:error, :closed}
  end

  def send(%__MODULE__{} = outbox, _port, data), do: {:ok, enqueue(outbox, data)}

  @doc "Writes what can be written of the queue."
  @spec flush(t, port) :: {:ok, t} | {:error, :closed}
  def flush(%__MODULE__{} = outbox, port) do
    case :queue.out(outbox.queue) do
      {:empty, _queue} ->
        {:ok, outbox}

      {{:value, data}, rest} ->
        if Port.command(port, data, [:nosuspend]) do
          flush(%{outbox | queue: rest, bytes: outbox.bytes - IO.iodata_length(data)}, port)
        else
          retry(port)
          {:ok, outbox}
        end
    end
  rescue
    ArgumentError -> {:error, :closed}
  end

  defp enqueue(outbox, data),
    do: %{outbox | queue: :queue.in(data, outbox.queue), bytes: outbox.bytes + IO.iodata_length(data)}

  defp retry(port), do: Process.send_after(self(), {__MODULE__, port, :flush}, @retry_ms)
end
