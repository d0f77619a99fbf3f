defmodule DSPex.Transport.Port do
  @moduledoc """
  A worker as a child process, over its stdin and stdout.

  The port is opened as a plain stream: with `{:packet, 4}` a garbage length makes the BEAM reserve gigabytes. What the
  pipe does not take waits in an outbox, which the owner bounds by its `backlog/1`.
  """
  @behaviour DSPex.Transport

  alias DSPex.Error
  alias DSPex.Transport.Outbox

  defstruct [:port, :os_pid, outbox: %Outbox{}]

  @type t :: %__MODULE__{
          port: port,
          os_pid: pos_integer | nil,
          outbox: Outbox.t()
        }

  @doc """
  Starts the process. Options: `:executable`, `:args`, `:env` (pairs of text; `false` removes), `:cd`.
  """
  @spec open(keyword) :: {:ok, DSPex.Transport.t()} | {:error, DSPex.Error.t()}
  @impl DSPex.Transport
  def open(options) do
    executable = Keyword.fetch!(options, :executable)

    port = Port.open({:spawn_executable, executable}, port_options(options))

    os_pid = with {:os_pid, os_pid} <- Port.info(port, :os_pid), do: os_pid
    {:ok, %__MODULE__{port: port, os_pid: os_pid}}
  rescue
    error in [ErlangError, ArgumentError] ->
      {:error, Error.new(:unavailable, "cannot start #{options[:executable]}: #{reason(error)}")}
  end

  @impl DSPex.Transport
  def send(%__MODULE__{} = transport, data) do
    with {:ok, outbox} <- Outbox.send(transport.outbox, transport.port, data), do: {:ok, %{transport | outbox: outbox}}
  end

  @impl DSPex.Transport
  def handle(%__MODULE__{port: port} = transport, {port, {:data, bytes}}), do: {:data, bytes, transport}

  def handle(%__MODULE__{port: port} = transport, {port, {:exit_status, status}}),
    do: {:closed, "the process ended with #{status(status)}", %{transport | os_pid: nil}}

  def handle(%__MODULE__{port: port} = transport, {:EXIT, port, reason}),
    do: {:closed, "the pipe to the process broke (#{inspect(reason)})", transport}

  def handle(%__MODULE__{port: port} = transport, {Outbox, port, :flush}) do
    case Outbox.flush(transport.outbox, port) do
      {:ok, outbox} -> {:ok, %{transport | outbox: outbox}}
      {:error, :closed} -> {:closed, "the pipe to the process is closed", transport}
    end
  end

  def handle(_transport, _message), do: :unknown

  @impl DSPex.Transport
  def close(%__MODULE__{port: port}) do
    Port.close(port)
    :ok
  rescue
    ArgumentError -> :ok
  end

  @impl DSPex.Transport
  def backlog(%__MODULE__{outbox: outbox}), do: outbox.bytes

  @impl DSPex.Transport
  def os_pid(%__MODULE__{os_pid: os_pid}), do: os_pid

  defp port_options(options) do
    env = for {name, value} <- Keyword.get(options, :env, []), do: {charlist(name), value && charlist(value)}
    cd = if options[:cd], do: [cd: options[:cd]], else: []
    [:binary, :stream, :exit_status, :use_stdio, :hide, args: Keyword.get(options, :args, []), env: env] ++ cd
  end

  defp charlist(text), do: text |> to_string() |> String.to_charlist()

  # A shell's convention, which the BEAM follows: 128 and the number of the signal.
  defp status(status) when status > 128, do: "signal #{status - 128}"
  defp status(status), do: "exit status #{status}"

  defp reason(%ErlangError{original: :enoent}), do: "there is no such file"
  defp reason(%ErlangError{original: :eacces}), do: "it may not be executed"
  defp reason(error), do: Exception.message(error)
end
