defmodule DSPex.Worker.Crash do
  @moduledoc false
  # Logger of Elixir 1.14 is silent about crashes of state machines.

  require Logger

  @doc "Logs the reason of a termination when it is a crash. Its terms may hold prompts: only its kind is shown."
  def log(reason) when reason in [:normal, :shutdown], do: :ok
  def log({:shutdown, _reason}), do: :ok
  def log(reason), do: Logger.error("the owner of a worker crashed with #{kind(reason)}; it is started again")

  defp kind(%module{__exception__: true}), do: inspect(module)
  defp kind(reason) when is_atom(reason), do: inspect(reason)
  defp kind(reason) when is_tuple(reason) and tuple_size(reason) > 0, do: reason |> elem(0) |> kind()
  defp kind(_reason), do: "an unknown reason"
end
