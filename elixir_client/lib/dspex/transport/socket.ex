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
  @watermark 1_048_576
  @rearm 200

  defstruct [:socket, :os_pid, outbox: %Outbox{}]

  @type t :: %__MODULE__{socket: :gen_tcp.socket(), os_pid: pos_integer | nil, outbox: Outbox.t()}

  @doc "Connects. Options: `:unix` (path) or `:tcp` (port on loopback), `:os_pid` of the worker when it is known."
  @impl DSPex.Transport
  def open(options) do
    {address, port, name} = address(options)

    case :gen_tcp.connect(address, port, socket_options(), @connect_ms) do
      {:ok, socket} ->
        {:ok, %__MODULE__{socket: socket, os_pid: options[:os_pid]}}

      {:error, reason} ->
        {:error, Error.new(:unavailable, "no worker listens on #{name}: #{:inet.format_error(reason)}")}
    end
  end

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
      {:tcp_closed, ^socket} -> {:closed, "the worker closed the connection", transport}
      {:tcp_error, ^socket, reason} -> {:closed, "the connection broke: #{:inet.format_error(reason)}", transport}
      {:EXIT, ^socket, _reason} -> {:closed, "the connection broke", transport}
      # What gen_tcp:send would have waited for.
      {:inet_reply, ^socket, :ok} -> {:ok, transport}
      {:inet_reply, ^socket, {:error, reason}} -> {:closed, "cannot write: #{:inet.format_error(reason)}", transport}
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
      {:error, :closed} -> {:closed, "the connection is closed", transport}
    end
  end
end
