defmodule DSPex.Worker.ToolProcesses do
  @moduledoc false
  # Which processes run a tool, and which sessions wait for it: a call from inside a tool on such a session would wait for
  # itself, and must say where it comes from (`_meta.within`).

  @doc "Notes that the calling process runs a tool."
  def enter(table, within), do: :ets.insert(table, {{:tool, self()}, within})

  @doc "Forgets a tool's process."
  def leave(table, pid), do: :ets.delete(table, {:tool, pid})

  @doc "The sessions that wait for the calling process, or for the one that started it as a task."
  def within(table) do
    Enum.find_value([self() | callers()], [], fn pid ->
      case :ets.lookup(table, {:tool, pid}) do
        [{_key, within}] -> within
        [] -> nil
      end
    end)
  end

  # Kept there by Task for this very purpose.
  defp callers, do: :"$callers" |> Process.get([]) |> Enum.filter(&is_pid/1)
end
