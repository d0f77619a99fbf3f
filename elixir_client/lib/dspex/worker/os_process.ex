defmodule DSPex.Worker.OsProcess do
  @moduledoc false
  # Ends and watches processes of the operating system.

  alias DSPex.Error

  # Python's worker ends so after a limit of its own: sysexits.h has it for "try again".
  @recycled "exit status 75"

  @doc "What the reason of an end means for the next start."
  def details(reason), do: if(String.ends_with?(reason, @recycled), do: %{"recycle" => true}, else: %{})

  @doc "The error of a process whose resident memory is above `limit` bytes; nil when it is not, or cannot be known."
  def excess(os_pid, limit) when os_pid == nil or limit == nil, do: nil

  def excess(os_pid, limit) do
    with rss when rss > limit <- rss(os_pid) do
      text = "the worker has #{rss} bytes of resident memory, of #{limit} that it may have (max_rss); it was killed"
      Error.new(:unavailable, text, details: %{"recycle" => true})
    else
      _within -> nil
    end
  end

  @doc "The resident memory of a process in bytes, 0 where that cannot be read."
  def rss(os_pid) do
    with {:ok, status} <- File.read("/proc/#{os_pid}/status"),
         [kilobytes] <- Regex.run(~r/^VmRSS:\s+(\d+) kB$/m, status, capture: :all_but_first) do
      String.to_integer(kilobytes) * 1024
    else
      _unknown -> 0
    end
  end

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
