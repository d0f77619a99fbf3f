defmodule DSPex.Transport do
  @moduledoc """
  How bytes get to a worker and back. A transport is a struct that lives in the worker's owner process; every callback
  runs there and must not block.

  A pool takes one by its option `transport:`, in the place of a process of its own:

      pools: [default: [transport: {DSPex.Transport.Socket, unix: "/run/worker.sock"}]]

  Messages that arrive at the owner are shown to `c:handle/2`, which says what they are.
  """

  @type t :: struct
  @type handled ::
          {:data, binary, t}
          | {:closed, reason :: String.t(), t}
          | {:ok, t}
          | :unknown

  @doc "Opens the connection. The error's message is what the pool will report as the cause."
  @callback open(options :: keyword) :: {:ok, t} | {:error, DSPex.Error.t()}

  @doc "Writes, or queues what can't be written now."
  @callback send(t, iodata) :: {:ok, t} | {:error, :closed}

  @doc "Bytes in the queue. The owner takes no more requests while it is too long."
  @callback backlog(t) :: non_neg_integer

  @doc "Says what a message to the owner means for this transport; `:unknown` when it belongs to somebody else."
  @callback handle(t, message :: term) :: handled

  @doc "Closes the connection. The other side sees the end of its input."
  @callback close(t) :: :ok

  @doc "The process of the operating system at the other end, when there is one of our own."
  @callback os_pid(t) :: pos_integer | nil
end
