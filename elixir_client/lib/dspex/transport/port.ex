defmodule DSPex.Transport.Port do
  @moduledoc """
  A worker as a child process, over its stdin and stdout.

  The port is opened as a plain stream: with `{:packet, 4}` a garbage length makes the BEAM reserve gigabytes. Writes
  never suspend the owner (`:nosuspend`): a stopped worker would otherwise stop the owner and all its timers. What the
  pipe does not take waits in a queue, which the owner bounds by its `backlog/1`.
  """
  @behaviour DSPex.Transport

  alias DSPex.Error

  @retry_ms 2

  defstruct [:port, :os_pid, queue: :queue.new(), queued: 0]

  @type t :: %__MODULE__{
          port: port,
          os_pid: pos_integer | nil,
          queue: :queue.queue(iodata),
          queued: non_neg_integer
        }

  @doc """
  Starts the process. Options: `:executable`, `:args`, `:env` (pairs of text; `false` removes), `:cd`.
  """
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
  def send(%__MODULE__{queued: 0} = transport, data) do
    if Port.command(transport.port, data, [:nosuspend]), do: {:ok, transport}, else: enqueue(transport, data, true)
  rescue
    ArgumentError -> {:error, :closed}
  end

  def send(%__MODULE__{} = transport, data), do: enqueue(transport, data, false)

  @impl DSPex.Transport
  def handle(%__MODULE__{port: port} = transport, {port, {:data, bytes}}), do: {:data, bytes, transport}

  def handle(%__MODULE__{port: port} = transport, {port, {:exit_status, status}}),
    do: {:closed, "the process ended with #{status(status)}", %{transport | os_pid: nil}}

  def handle(%__MODULE__{port: port} = transport, {:EXIT, port, reason}),
    do: {:closed, "the pipe to the process broke (#{inspect(reason)})", transport}

  def handle(%__MODULE__{port: port} = transport, {__MODULE__, port, :flush}), do: flush(transport)
  def handle(_transport, _message), do: :unknown

  @impl DSPex.Transport
  def close(%__MODULE__{port: port}) do
    Port.close(port)
    :ok
  rescue
    ArgumentError -> :ok
  end

  @impl DSPex.Transport
  def backlog(%__MODULE__{queued: queued}), do: queued

  @impl DSPex.Transport
  def os_pid(%__MODULE__{os_pid: os_pid}), do: os_pid

  defp port_options(options) do
    env = for {name, value} <- Keyword.get(options, :env, []), do: {charlist(name), value && charlist(value)}
    cd = if options[:cd], do: [cd: options[:cd]], else: []
    [:binary, :stream, :exit_status, :use_stdio, :hide, args: Keyword.get(options, :args, []), env: env] ++ cd
  end

  defp charlist(text), do: text |> to_string() |> String.to_charlist()

  defp enqueue(transport, data, first?) do
    if first?, do: retry(transport)
    {:ok, %{transport | queue: :queue.in(data, transport.queue), queued: transport.queued + IO.iodata_length(data)}}
  end

  # The port tells nobody when it can be written to again, so it is asked.
  defp retry(transport), do: Process.send_after(self(), {__MODULE__, transport.port, :flush}, @retry_ms)

  defp flush(transport) do
    case :queue.out(transport.queue) do
      {:empty, _queue} ->
        {:ok, transport}

      {{:value, data}, rest} ->
        if Port.command(transport.port, data, [:nosuspend]) do
          flush(%{transport | queue: rest, queued: transport.queued - IO.iodata_length(data)})
        else
          retry(transport)
          {:ok, transport}
        end
    end
  rescue
    ArgumentError -> {:closed, "the pipe to the process is closed", transport}
  end

  # A shell's convention, which the BEAM follows: 128 and the number of the signal.
  defp status(status) when status > 128, do: "signal #{status - 128}"
  defp status(status), do: "exit status #{status}"

  defp reason(%ErlangError{original: :enoent}), do: "there is no such file"
  defp reason(%ErlangError{original: :eacces}), do: "it may not be executed"
  defp reason(error), do: Exception.message(error)
end
