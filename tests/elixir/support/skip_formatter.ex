defmodule DSPex.Test.SkipFormatter do
  @moduledoc """
  Prints, when the suite is done, one line for each test that was skipped, with its reason. The gates of `make test`
  repeat these lines at their end.
  """
  use GenServer

  @impl true
  def init(_options), do: {:ok, []}

  @impl true
  def handle_cast({:test_finished, %ExUnit.Test{state: {:skipped, reason}} = test}, skipped) do
    {:noreply, ["skipped: #{inspect(test.module)} #{test.name}: #{reason}" | skipped]}
  end

  def handle_cast({:suite_finished, _times}, skipped) do
    skipped |> Enum.reverse() |> Enum.each(&IO.puts/1)
    {:noreply, skipped}
  end

  def handle_cast(_event, skipped), do: {:noreply, skipped}
end
