defmodule DSPex.Interop.HeldInterpreterTest do
  # C code that holds the lock of Python's interpreter: no line of Python runs, and no signal of the worker's own helps.
  use ExUnit.Case, async: true

  alias DSPex.Error
  alias DSPex.Test.Os
  alias DSPex.Test.Wait

  @moduletag timeout: 180_000

  defp call(instance, script) do
    params = [{"program", %{"kind" => "scripted"}}, {"inputs", %{"script" => script}}]
    DSPex.request("call", params, instance: instance, timeout: 120_000)
  end

  for start <- [:fresh, :fork_server] do
    @tag req: ["NFR2.1.1", "NFR2.1.2", "FR2.1.4"]
    test "a worker (#{start}) whose interpreter is held is seen by its missed pings, killed and replaced" do
      instance = Module.concat(__MODULE__, "Held#{unquote(start)}")
      pool = [workers: 1, start: unquote(start), settings: [engine: "scripted"], ping_interval: 500, ping_misses: 4]
      start_supervised!({DSPex, name: instance, pools: [default: pool]})
      :ok = DSPex.await_ready(instance, 120_000)
      {:ok, %{default: %{workers: [%{os_pid: held}]}}} = DSPex.info(instance)

      assert {:error, %Error{reason: :worker_lost, message: message}} = call(instance, [%{"hold_gil_ms" => 3_600_000}])
      assert message =~ "pings in a row"
      assert {:ok, %{"outputs" => %{"answer" => 1}}} = call(instance, [%{"answer" => 1}])
      {:ok, %{default: %{workers: [%{os_pid: other}]}}} = DSPex.info(instance)
      assert other != held
      Wait.eventually(fn -> Os.gone?(held) end)
    end
  end
end
