defmodule DSPex.Interop.ManySessionsTest do
  # Sessions that come and go leave nothing behind, on either side.
  use ExUnit.Case, async: false

  alias DSPex.Session
  alias DSPex.Test.Leaks
  alias DSPex.Test.Wait

  @moduletag timeout: 300_000

  setup do
    store = Path.join(System.tmp_dir!(), "dspex-many-#{System.unique_integer([:positive])}.db")
    on_exit(fn -> for file <- Path.wildcard(store <> "*"), do: File.rm!(file) end)
    pool = [workers: 2, lm: "offline/extractive", settings: %{store: "sqlite:///" <> store}]
    start_supervised!({DSPex, name: __MODULE__, pools: [default: pool]})
    :ok = Wait.ready(__MODULE__)
  end

  @tag req: ["FR2.3.4", "FR2.3.1"]
  test "10,000 sessions opened and closed leave no process, row, atom or session" do
    Leaks.none(__MODULE__, fn -> Leaks.whole(__MODULE__) end, fn -> open_and_close(5_000) end)
    assert {:ok, %{"sessions" => []}} = Session.list(instance: __MODULE__)
  end

  defp open_and_close(count) do
    outcomes =
      1..count
      |> Task.async_stream(&one/1, max_concurrency: 32, ordered: false, timeout: 60_000)
      |> Enum.frequencies_by(fn {:ok, outcome} -> outcome end)

    assert outcomes == %{{:ok, %{"closed" => true}} => count}
  end

  defp one(number) do
    with {:ok, session} <- Session.open(instance: __MODULE__, variables: %{"n" => number}), do: Session.close(session)
  end
end
