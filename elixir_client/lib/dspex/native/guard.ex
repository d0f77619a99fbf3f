defmodule DSPex.Native.Guard do
  @moduledoc """
  Work for another process: when that one dies, the process that works for it is killed, and its requests end with it.
  """

  @doc "Starts to guard the calling process for `owner`; nothing happens when it is the owner itself, or `nil`."
  @spec start(pid | nil) :: pid | nil
  def start(owner) when owner in [nil, self()], do: nil

  def start(owner) do
    worker = self()

    spawn(fn ->
      {owned, working} = {Process.monitor(owner), Process.monitor(worker)}

      receive do
        {:DOWN, ^owned, :process, _pid, _reason} -> Process.exit(worker, :kill)
        {:DOWN, ^working, :process, _pid, _reason} -> :ok
        :stop -> :ok
      end
    end)
  end

  @doc "Ends the guard."
  @spec stop(pid | nil) :: :ok
  def stop(nil), do: :ok

  def stop(guard) do
    send(guard, :stop)
    :ok
  end
end
