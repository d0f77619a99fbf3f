defmodule DSPex.WatchTest do
  # Waiting for workers without looking again and again.
  use ExUnit.Case, async: true

  alias DSPex.Error
  alias DSPex.Pool.Watch
  alias DSPex.Test.Peer

  @moduletag req: "NFR2.1.2"

  defp table(instance), do: elem(DSPex.Instance.table(instance), 1)
  defp watchers(instance), do: :ets.tab2list(:ets.lookup_element(table(instance), :watchers, 2))

  # A worker that becomes ready when the test says so.
  defp held(test) do
    %{
      "initialize" => fn link, id, params ->
        send(test, {:asked, self()})
        receive(do: (:go -> Peer.default("initialize", link, id, params)))
      end
    }
  end

  defp waiter(test, function) do
    spawn_monitor(fn ->
      outcome = function.()
      send(test, {:outcome, outcome, Process.info(self(), :message_queue_len)})
    end)
  end

  test "who waits is told of the change, and leaves no trace in the instance and in its own mailbox" do
    test = self()
    instance = Peer.start_instance(__MODULE__.Told, held(test), drain_ms: 20)
    assert_receive {:asked, peer}
    waiter(test, fn -> DSPex.await_ready(instance, :infinity) end)
    await_watcher(instance)
    send(peer, :go)
    assert_receive {:outcome, :ok, {:message_queue_len, 0}}, 45_000
    assert watchers(instance) == []
  end

  test "the time that passes is a timeout that tells the states" do
    instance = Peer.start_instance(__MODULE__.Late, held(self()), drain_ms: 20)
    assert {:error, %Error{reason: :timeout, message: message}} = DSPex.await_ready(instance, 1)
    assert message =~ "after the time given"
    assert watchers(instance) == []
  end

  test "a waiting process that is killed is forgotten at the next change" do
    test = self()
    instance = Peer.start_instance(__MODULE__.Killed, held(test), drain_ms: 20)
    assert_receive {:asked, peer}
    {pid, monitor} = waiter(test, fn -> DSPex.await_ready(instance) end)
    await_watcher(instance)
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}
    send(peer, :go)
    assert :ok = DSPex.await_ready(instance)
    # The row of a worker changes before those who wait are told.
    DSPex.Test.Wait.eventually(fn -> watchers(instance) == [] end)
  end

  test "the end of the instance ends the waiting" do
    test = self()
    instance = Peer.start_instance(__MODULE__.Ended, held(test), drain_ms: 20)
    assert_receive {:asked, _peer}
    waiter(test, fn -> DSPex.await_ready(instance, :infinity) end)
    await_watcher(instance)
    :ok = stop_supervised(instance)
    assert_receive {:outcome, {:error, %Error{reason: :unavailable}}, _queue}, 45_000
    assert Watch.until(:no_such_table, :infinity, fn -> :again end) == :gone
  end

  test "a restart is done when the owner of the process crashed meanwhile, too, and when the pool shrank" do
    test = self()

    script = %{
      "shutdown" => fn _link, _id, _params -> send(test, :leaving) end
    }

    instance = Peer.start_instance(__MODULE__.Crashed, script, drain_ms: 60_000)
    assert :ok = DSPex.await_ready(instance)
    {:ok, %{default: %{workers: [%{owner: owner}]}}} = DSPex.info(instance)
    waiter(test, fn -> DSPex.restart(instance, :default, :infinity) end)
    assert_receive :leaving, 45_000
    Process.exit(owner, :kill)
    assert_receive {:outcome, :ok, _queue}, 45_000

    waiter(test, fn -> DSPex.restart(instance, :default, :infinity) end)
    assert_receive :leaving, 45_000
    {:ok, %{default: %{workers: [%{owner: owner}]}}} = DSPex.info(instance)
    assert :ok = DSPex.resize(instance, :default, 0)
    Process.exit(owner, :kill)
    assert_receive {:outcome, :ok, _queue}, 45_000
  end

  test "what is known of a pool that is about to start is that it starts" do
    instance = Peer.start_instance(__MODULE__.Begun, %{})
    :ets.delete(table(instance), {:pool, :default})
    assert {:ok, %{default: %{state: :starting, ready: 0}}} = DSPex.status(instance)
  end

  defp await_watcher(instance), do: DSPex.Test.Wait.eventually(fn -> watchers(instance) != [] end)
end
