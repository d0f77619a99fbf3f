defmodule DSPex.Worker.Ending do
  @moduledoc false
  # The end of a worker's process: waited for, and judged.

  alias DSPex.Error
  alias DSPex.Protocol.Connection
  alias DSPex.Worker.OsProcess

  # A limit that is passed as soon as the process is ready must not make a storm of processes.
  @shortest_life 1_000

  @doc "How long to wait before the next start of a process that lived `uptime` ms and ended by a limit of its own."
  def delay(uptime), do: max(0, @shortest_life - uptime)

  @doc "Whether the end is no failure, but a process that reached a limit of its own; `uptime` is nil when it never was ready."
  def recycled?(nil, _cause), do: false
  def recycled?(uptime, %Error{details: details}), do: details["recycle"] == true and delay(uptime) == 0
  def recycled?(_uptime, _cause), do: false

  @doc """
  What callers without an answer are told. A worker that drains ends by itself, within its grace, when all that it has begun
  is answered: what is not was never read, and may go to another worker.
  """
  def outcome(grace_until, %Error{details: %{"recycle" => true}}, text) when is_integer(grace_until) do
    if System.monotonic_time(:millisecond) < grace_until,
      do: {:refused, Error.new(:unavailable, "the worker was replaced before it read the request: #{text}")},
      else: outcome(nil, nil, text)
  end

  def outcome(_grace_until, _cause, text),
    do: {:lost, Error.new(:worker_lost, "the worker ended in mid-call: #{text}")}

  @doc """
  Ends the process of an owner that ends. One that is lent goes back as it is: the end of its connection cancels what it
  does.
  """
  def of_process(%{config: %{start: :snakepit}} = data), do: data.module.close(data.transport)

  def of_process(data) do
    {frame, _connection} = Connection.shutdown(data.connection, 0)
    data.module.send(data.transport, frame)
    await(data.module, data.transport, System.monotonic_time(:millisecond) + data.config.drain_ms)
  end

  @doc "Reads until the other side is gone; at the deadline its process is killed."
  def await(module, transport, deadline) do
    receive do
      message ->
        case module.handle(transport, message) do
          {:closed, _reason, _transport} -> :ok
          {_handled, _bytes, transport} -> await(module, transport, deadline)
          {:ok, transport} -> await(module, transport, deadline)
          :unknown -> await(module, transport, deadline)
        end
    after
      max(0, deadline - System.monotonic_time(:millisecond)) ->
        OsProcess.kill_now(module.os_pid(transport))
        module.close(transport)
    end
  end
end
