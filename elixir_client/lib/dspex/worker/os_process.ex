defmodule DSPex.Worker.OsProcess do
  @moduledoc false
  # Ends processes of the operating system.

  @doc "Kills a process, without waiting for it; `nil` is nobody."
  def kill(_supervisor, nil), do: :ok

  def kill(supervisor, os_pid) do
    Task.Supervisor.start_child(supervisor, fn -> kill_now(os_pid) end)
    :ok
  end

  @doc "Kills a process in the caller's own process."
  def kill_now(nil), do: :ok

  def kill_now(os_pid) do
    # The shell's own: a slim container has no kill program.
    System.cmd("/bin/sh", ["-c", ~S(kill -KILL "$1"), "sh", Integer.to_string(os_pid)], stderr_to_stdout: true)
    :ok
  end
end
