defmodule DSPex.Transport.Socket do
  @moduledoc """
  A worker that listens on a Unix socket, or on TCP of this machine with a token.

  Options of a pool: `transport: {DSPex.Transport.Socket, unix: "/run/dspex/worker.sock"}`, or
  `transport: {DSPex.Transport.Socket, tcp: 4100, token: System.fetch_env!("DSPEX_TOKEN")}`. The token goes into `initialize`.
  """
  @behaviour DSPex.Transport

  alias DSPex.Error
  alias DSPex.Transport.Outbox

  @connect_ms 2_000
  @end_ms 250
  @watermark 1_048_576
  @rearm 200

  defstruct [:socket, :os_pid, :how, outbox: %Outbox{}, patient?: false]

  @type t :: %__MODULE__{
          socket: :gen_tcp.socket(),
          os_pid: pos_integer | nil,
          how: String.t() | nil,
          outbox: Outbox.t(),
          patient?: boolean
        }

  @doc """
  Connects. Options: `:unix` (path) or `:tcp` (port on loopback); `:forked`, the process id of a worker whose end is told
  by `tell_end/3`.
  """
  @spec open(keyword) :: {:ok, DSPex.Transport.t()} | {:error, DSPex.Error.t()}
  @impl DSPex.Transport
  def open(options) do
    {address, port, name} = address(options)

    case :gen_tcp.connect(address, port, socket_options(), @connect_ms) do
      {:ok, socket} ->
        {:ok, %__MODULE__{socket: socket, os_pid: options[:forked]}}

      {:error, reason} ->
        {:error, Error.new(:unavailable, "no worker listens on #{name}: #{:inet.format_error(reason)}")}
    end
  end

  @doc "Tells the owner of a connection that the worker's process ended, and how."
  @spec tell_end(pid, pos_integer, String.t()) :: :ok
  def tell_end(owner, os_pid, how) do
    Kernel.send(owner, {__MODULE__, :ended, os_pid, how})
    :ok
  end

  @doc "Has the end of a forked worker told by how its process ended, and not by its socket, which is closed before."
  @spec expect_end(DSPex.Transport.t()) :: DSPex.Transport.t()
  def expect_end(%__MODULE__{os_pid: os_pid} = transport) when os_pid != nil, do: %{transport | patient?: true}
  def expect_end(transport), do: transport

  @impl DSPex.Transport
  def send(%__MODULE__{} = transport, data) do
    with {:ok, outbox} <- Outbox.send(transport.outbox, transport.socket, data),
         do: {:ok, %{transport | outbox: outbox}}
  end

  @impl DSPex.Transport
  def handle(%__MODULE__{socket: socket} = transport, message) do
    case message do
      {:tcp, ^socket, bytes} -> {:data, bytes, transport}
      {:tcp_passive, ^socket} -> rearm(transport)
      {:tcp_closed, ^socket} -> closed(transport, "the worker closed the connection")
      {:tcp_error, ^socket, reason} -> closed(transport, "the connection broke: #{:inet.format_error(reason)}")
      {:EXIT, ^socket, _reason} -> closed(transport, "the connection broke")
      {__MODULE__, :ended, os_pid, how} when os_pid == transport.os_pid and os_pid != nil -> ended(transport, how)
      {__MODULE__, ^socket, :given_up} -> {:closed, transport.how, transport}
      # What gen_tcp:send would have waited for.
      {:inet_reply, ^socket, :ok} -> {:ok, transport}
      {:inet_reply, ^socket, {:error, reason}} -> closed(transport, "cannot write: #{:inet.format_error(reason)}")
      {Outbox, ^socket, :flush} -> flush(transport)
      _other -> :unknown
    end
  end

  @impl DSPex.Transport
  def backlog(%__MODULE__{outbox: outbox}), do: outbox.bytes

  @impl DSPex.Transport
  def os_pid(%__MODULE__{os_pid: os_pid}), do: os_pid

  @impl DSPex.Transport
  def close(%__MODULE__{socket: socket}) do
    :gen_tcp.close(socket)
    :ok
  end

  defp address(options) do
    case {options[:unix], options[:tcp]} do
      {path, _tcp} when is_binary(path) -> {{:local, path}, 0, path}
      {nil, port} when is_integer(port) -> {{127, 0, 0, 1}, port, "127.0.0.1:#{port}"}
    end
  end

  # `active: n` and not `true`: a worker that floods must fill the socket, not the mailbox.
  defp socket_options do
    [
      :binary,
      packet: :raw,
      active: @rearm,
      nodelay: true,
      high_watermark: @watermark,
      buffer: 65_536,
      exit_on_close: true
    ]
  end

  defp rearm(transport) do
    :inet.setopts(transport.socket, active: @rearm)
    {:ok, transport}
  end

  defp flush(transport) do
    case Outbox.flush(transport.outbox, transport.socket) do
      {:ok, outbox} -> {:ok, %{transport | outbox: outbox}}
      {:error, :closed} -> closed(transport, "the connection is closed")
    end
  end

  # The end of a fork comes in two messages: of its socket, and of its process. The second is the one that says how; only
  # where that is of use is it waited for.
  defp closed(%{how: nil, patient?: true} = transport, reason), do: {:ok, give_up_soon(%{transport | how: reason})}
  defp closed(%{patient?: true, os_pid: os_pid} = transport, _reason) when os_pid != nil, do: {:ok, transport}
  defp closed(transport, reason), do: {:closed, transport.how || reason, transport}

  # Its last words may be on their way through the socket still.
  defp ended(%{how: nil} = transport, how), do: {:ok, give_up_soon(%{transport | how: how, os_pid: nil})}
  defp ended(transport, how), do: {:closed, how, %{transport | os_pid: nil}}

  defp give_up_soon(transport) do
    Process.send_after(self(), {__MODULE__, transport.socket, :given_up}, @end_ms)
    transport
  end
end
