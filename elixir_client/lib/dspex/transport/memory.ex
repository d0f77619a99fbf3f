defmodule DSPex.Transport.Memory do
  @moduledoc """
  A worker in this BEAM: a process that gets the client's bytes and sends its own. For tests of users and of this library.

  The peer gets `{:dspex_memory, link, what}`, where `what` is `:open`, `{:data, bytes}` or `:close`. It answers with
  `reply/2` and ends the connection with `hang_up/2`.
  """
  @behaviour DSPex.Transport

  defstruct [:peer, :monitor]

  @type t :: %__MODULE__{peer: pid, monitor: reference}
  @type link :: {pid, reference}

  @doc "Sends bytes from the peer to the client."
  @spec reply(link, iodata) :: :ok
  def reply({owner, monitor}, data) do
    Kernel.send(owner, {__MODULE__, monitor, {:data, IO.iodata_to_binary(data)}})
    :ok
  end

  @doc "Ends the connection from the peer's side."
  @spec hang_up(link, String.t()) :: :ok
  def hang_up({owner, monitor}, reason) do
    Kernel.send(owner, {__MODULE__, monitor, {:closed, reason}})
    :ok
  end

  @doc "Connects to the process in option `:peer`, or to the one that the function in it starts."
  @spec open(keyword) :: {:ok, DSPex.Transport.t()} | {:error, DSPex.Error.t()}
  @impl DSPex.Transport
  def open(options) do
    peer = with start when is_function(start, 0) <- Keyword.fetch!(options, :peer), do: start.()
    transport = %__MODULE__{peer: peer, monitor: Process.monitor(peer)}
    tell(transport, :open)
    {:ok, transport}
  end

  @impl DSPex.Transport
  def send(transport, data) do
    tell(transport, {:data, IO.iodata_to_binary(data)})
    {:ok, transport}
  end

  @impl DSPex.Transport
  def handle(%{monitor: monitor} = transport, {__MODULE__, monitor, {:data, bytes}}), do: {:data, bytes, transport}
  def handle(%{monitor: monitor} = transport, {__MODULE__, monitor, {:closed, why}}), do: {:closed, why, transport}

  def handle(%{monitor: monitor} = transport, {:DOWN, monitor, :process, _pid, reason}),
    do: {:closed, "the peer ended: #{inspect(reason)}", transport}

  def handle(_transport, _message), do: :unknown

  @impl DSPex.Transport
  def close(transport) do
    tell(transport, :close)
    Process.demonitor(transport.monitor, [:flush])
    :ok
  end

  @impl DSPex.Transport
  def backlog(_transport), do: 0

  @impl DSPex.Transport
  def os_pid(_transport), do: nil

  defp tell(transport, what), do: Kernel.send(transport.peer, {:dspex_memory, {self(), transport.monitor}, what})
end
