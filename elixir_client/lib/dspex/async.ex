defmodule DSPex.Async do
  @moduledoc """
  A call that runs beside its caller: made by `DSPex.async/3`, taken by `DSPex.await/2` or stopped by `DSPex.cancel/1`.

      async = DSPex.async(program, %{question: "Why?"}, instance: MyApp.DSPex)
      {:ok, prediction} = DSPex.await(async, 5_000)

  It belongs to the process that made it, and ends with that.
  """

  alias DSPex.Error

  @enforce_keys [:task]
  defstruct [:task]

  @opaque t :: %__MODULE__{task: Task.t()}

  @doc "Runs `function` in a task that ends with the calling process; it gets that process."
  @spec start(atom, (pid -> {:ok, term} | {:error, Error.t()})) :: t
  def start(supervisor, function) do
    owner = self()
    %__MODULE__{task: Task.Supervisor.async_nolink(supervisor, fn -> function.(owner) end)}
  end

  @doc "Waits for the outcome; after `timeout` the call is cancelled."
  @spec await(t, timeout) :: {:ok, term} | {:error, Error.t()}
  def await(async, timeout) do
    with :ok <- DSPex.Check.all(async: async, timeout: timeout), do: taken_within(async, timeout)
  end

  defp taken_within(%__MODULE__{task: task}, timeout) do
    # The outcome of one that ended is here already or about to be, or never comes. Numbers are less than `:infinity`.
    left = if Process.alive?(task.pid), do: timeout, else: min(timeout, 100)

    case Task.yield(task, left) || Task.shutdown(task, :brutal_kill) do
      {:ok, outcome} -> outcome
      {:exit, :noproc} -> {:error, taken()}
      {:exit, reason} -> {:error, Error.new(:internal, "the call's process ended: #{inspect(reason, limit: 5)}")}
      nil -> {:error, Error.new(:timeout, "the call was not done within the #{timeout} ms of await; it was cancelled")}
    end
  end

  # Its answer was taken out of the mailbox before.
  defp taken do
    text = "the outcome of this call was taken already, by an earlier await; call await once, and keep what it gives"
    Error.new(:invalid_request, text)
  end

  @doc "Stops the call. `await` then gives `:cancelled`, or the outcome if there was one already."
  @spec cancel(t) :: :ok | {:error, Error.t()}
  def cancel(async) do
    with :ok <- DSPex.Check.all(async: async), do: stopped(async)
  end

  defp stopped(%__MODULE__{task: task}) do
    outcome =
      case Task.shutdown(task, :brutal_kill) do
        {:ok, outcome} -> outcome
        _stopped -> {:error, Error.new(:cancelled, "the call was cancelled by its caller")}
      end

    send(self(), {task.ref, outcome})
    :ok
  end
end
