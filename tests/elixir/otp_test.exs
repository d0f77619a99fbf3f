defmodule DSPex.OtpTest do
  # What OTP expects of a library: a child spec, one tree under one name, processes that system messages reach, an orderly end.
  use ExUnit.Case, async: true

  alias DSPex.Test.Peer
  alias DSPex.Test.Wait

  @moduletag req: "NFR5.2.1"

  defp start(name, options \\ []) do
    pools = [default: Peer.pool(%{}, [workers: 2] ++ options), other: Peer.pool()]
    {:ok, supervisor} = Supervisor.start_link([{DSPex, name: name, pools: pools}], strategy: :one_for_one)
    Wait.ready(name)
    supervisor
  end

  defp tree(supervisor) do
    for {_id, pid, type, _modules} <- Supervisor.which_children(supervisor), is_pid(pid), reduce: [] do
      pids -> [pid | if(type == :supervisor, do: tree(pid), else: [])] ++ pids
    end
  end

  test "an instance is one child of its user's tree, under its name" do
    assert %{type: :supervisor, id: id, start: {DSPex, :start_link, [_options]}} =
             DSPex.child_spec(name: __MODULE__.One)

    assert id == DSPex.child_spec(name: __MODULE__.One).id
    assert id != DSPex.child_spec(name: __MODULE__.Two).id
    supervisor = start(__MODULE__.One)
    assert [{^id, pid, :supervisor, _modules}] = Supervisor.which_children(supervisor)
    assert Process.whereis(__MODULE__.One) == pid
    assert {:error, {:already_started, ^pid}} = DSPex.start_link(name: __MODULE__.One, pools: [default: Peer.pool()])
  end

  test "every process of the tree answers system messages and knows its ancestors" do
    supervisor = start(__MODULE__.System)
    pids = tree(supervisor)
    assert length(pids) > 8

    for pid <- pids do
      assert {:status, ^pid, {:module, _module}, _items} = :sys.get_status(pid)
      {:dictionary, dictionary} = Process.info(pid, :dictionary)
      assert supervisor in dictionary[:"$ancestors"]
    end
  end

  test "the end of the user's supervisor ends all of it, and the name can be taken again" do
    supervisor = start(__MODULE__.Ending)
    monitors = for pid <- tree(supervisor), do: {Process.monitor(pid), pid}
    :ok = Supervisor.stop(supervisor)
    for {monitor, pid} <- monitors, do: assert_receive({:DOWN, ^monitor, :process, ^pid, _reason}, 10_000)
    assert {:error, %DSPex.Error{reason: :unavailable}} = DSPex.info(__MODULE__.Ending)
    start(__MODULE__.Ending)
    assert {:ok, %{"value" => 1}} = DSPex.request("echo", %{"value" => 1}, instance: __MODULE__.Ending)
  end

  @tag :capture_log
  test "what crashes is started again by its supervisor, and the rest of the tree stays" do
    supervisor = start(__MODULE__.Crash)
    [{_id, instance, _type, _modules}] = Supervisor.which_children(supervisor)
    {:ok, %{default: %{workers: [%{owner: owner} | _rest]}}} = DSPex.info(__MODULE__.Crash)
    monitor = Process.monitor(owner)
    Process.exit(owner, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^owner, :killed}
    Wait.eventually(fn -> owner not in owners(__MODULE__.Crash) and length(owners(__MODULE__.Crash)) == 2 end)
    assert Process.whereis(__MODULE__.Crash) == instance
    assert {:ok, %{"value" => 1}} = DSPex.request("echo", %{"value" => 1}, instance: __MODULE__.Crash)
  end

  defp owners(name) do
    {:ok, %{default: %{workers: workers}}} = DSPex.info(name)
    for %{owner: owner, state: :ready} <- workers, do: owner
  end
end
