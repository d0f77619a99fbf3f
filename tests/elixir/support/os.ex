defmodule DSPex.Test.Os do
  @moduledoc false
  # Processes of the operating system, by the shell's own kill and /proc: a bare machine has neither kill nor ps.

  def signal(name, os_pid) do
    System.cmd("/bin/sh", ["-c", ~S(kill -"$1" "$2"), "sh", name, "#{os_pid}"], stderr_to_stdout: true)
  end

  @doc "The letter of the state (`\"T\"` stopped, `\"Z\"` zombie), nil when there is no such process."
  def state(os_pid), do: field(os_pid, 0)

  def parent(os_pid), do: os_pid |> field(1) |> String.to_integer()

  def nice(os_pid), do: os_pid |> field(16) |> String.to_integer()

  def gone?(os_pid), do: state(os_pid) in [nil, "Z"]

  # The name in brackets may hold anything; what follows its last bracket is separated by blanks.
  defp field(os_pid, number) do
    case File.read("/proc/#{os_pid}/stat") do
      {:ok, line} -> line |> String.split(")") |> List.last() |> String.split() |> Enum.at(number)
      {:error, _reason} -> nil
    end
  end
end
