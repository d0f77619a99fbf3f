defmodule DSPex.Integrations.SnakepitPoolTest do
  # A pool over scripted workers that a stand-in for Snakepit starts, watches and replaces.
  use ExUnit.Case, async: false

  alias DSPex.Error
  alias DSPex.Test.Os
  alias DSPex.Test.Snakepit
  alias DSPex.Test.Wait

  @moduletag :capture_log
  @moduletag :tmp_dir
  @moduletag req: "TC1"

  setup_all do: Snakepit.compile()

  setup context do
    # A socket's path is short.
    folder = Path.join(System.tmp_dir!(), "dspex-#{System.unique_integer([:positive])}")
    File.mkdir_p!(folder)
    on_exit(fn -> File.rm_rf!(folder) end)
    {:ok, folder: folder, name: Module.concat(__MODULE__, "T#{context.line}")}
  end

  defp start(name, options \\ []) do
    pool = Keyword.merge([start: :snakepit, backoff: [first: 1, most: 20]], options)
    start_supervised!({DSPex, name: name, pools: [default: pool]}, id: name)
  end

  defp workers(name) do
    {:ok, %{default: %{workers: workers}}} = DSPex.info(name)
    workers
  end

  defp ready(name, count) do
    {:ok, workers} =
      Wait.eventually(fn ->
        workers = workers(name)
        if length(workers) == count and Enum.all?(workers, &(&1.state == :ready)), do: {:ok, workers}, else: workers
      end)

    Enum.map(workers, & &1.os_pid)
  end

  defp echo(name), do: DSPex.request("echo", %{"value" => 1}, instance: name)

  # Whoever asks `call` waits for ever, having told the test.
  defp holds(test), do: %{"call" => fn _link, id, _params -> send(test, {:held, id}) end}

  test "a pool has as many workers as Snakepit's, also of those that come later", %{name: name, folder: folder} do
    Snakepit.start()
    for id <- ["one", "two"], do: Snakepit.worker(id, Snakepit.scripted(folder))
    start(name)
    assert [one, two] = ready(name, 2)
    assert one != two
    assert {:ok, %{"value" => 1}} = echo(name)
    assert {:ok, %{default: %{start: :snakepit}}} = DSPex.info(name)
    Snakepit.worker("three", Snakepit.scripted(folder))
    assert length(ready(name, 3)) == 3
  end

  test "a process that Snakepit replaces is replaced in the pool", %{name: name, folder: folder} do
    Snakepit.start()
    Snakepit.worker("one", Snakepit.scripted(folder, holds(self())))
    start(name)
    [old] = ready(name, 1)
    call = Task.async(fn -> DSPex.request("call", %{}, instance: name, timeout: 60_000) end)
    assert_receive {:held, _id}, 30_000
    Os.signal("KILL", old)
    assert {:error, %Error{reason: :worker_lost}} = Task.await(call, 30_000)
    assert {:ok, new} = Wait.eventually(fn -> with [pid] when pid != old <- ready(name, 1), do: {:ok, pid} end)
    assert Os.state(new) != nil
    assert {:ok, %{"value" => 1}} = echo(name)
  end

  test "a worker that answers no ping is killed, and so replaced", %{name: name, folder: folder} do
    Snakepit.start()
    Snakepit.worker("one", Snakepit.scripted(folder, %{"ping" => fn _link, _id, _params -> :nothing end}))
    start(name, ping_interval: 100, ping_misses: 2)
    [old] = ready(name, 1)
    Wait.eventually(fn -> Os.gone?(old) end)
    assert {:ok, _new} = Wait.eventually(fn -> with [pid] when pid != old <- ready(name, 1), do: {:ok, pid} end)
  end

  test "the end of a pool leaves the processes to Snakepit, for the next pool", %{name: name, folder: folder} do
    test = self()
    shutdown = fn _link, _id, _params -> send(test, :shut_down) end
    Snakepit.start()
    Snakepit.worker("one", Snakepit.scripted(folder, %{"shutdown" => shutdown}))
    start(name)
    [pid] = ready(name, 1)
    stop_supervised!(name)
    assert Os.state(pid) != nil
    start(name)
    assert [^pid] = ready(name, 1)
    refute_received :shut_down
  end

  test "the process of an owner that crashed goes to its successor", %{name: name, folder: folder} do
    Snakepit.start()
    Snakepit.worker("one", Snakepit.scripted(folder))
    start(name)
    [pid] = ready(name, 1)
    [%{owner: owner}] = workers(name)
    Process.exit(owner, :kill)
    Wait.eventually(fn -> match?([%{owner: new, state: :ready}] when new != owner, workers(name)) end)
    assert [^pid] = ready(name, 1)
  end

  test "a pool takes the workers of the named pool alone", %{name: name, folder: folder} do
    Snakepit.start()
    Snakepit.worker("one", Snakepit.scripted(folder))
    Snakepit.worker("two", Snakepit.scripted(folder, %{"echo" => &DSPex.Test.Peer.result(&1, &2, %{"got" => &3})}), :ml)
    start(name, snakepit_pool: :ml)
    assert length(ready(name, 1)) == 1
    assert {:ok, %{"got" => %{"value" => 1}}} = echo(name)
  end

  test "a Snakepit that does not run is told as the cause until it does", %{name: name, folder: folder} do
    start(name)
    assert {:error, %Error{reason: :unavailable, message: message}} = DSPex.await_ready(name)
    assert message =~ "Snakepit does not run"
    Snakepit.start()
    Snakepit.worker("one", Snakepit.scripted(folder))
    ready(name, 1)
    assert {:ok, %{"value" => 1}} = echo(name)
  end

  test "a Snakepit without a worker is told as the cause", %{name: name} do
    Snakepit.start()
    start(name, handshake_timeout: 50)
    assert {:error, %Error{reason: :unavailable, message: message}} = DSPex.await_ready(name)
    assert message =~ "0 workers"
  end

  test "workers of another adapter are told as such", %{name: name, folder: folder} do
    Snakepit.start()
    {port, _ask} = Snakepit.scripted(folder).()
    Snakepit.worker("one", fn -> {port, fn -> {:ok, %{"what" => "no endpoint"}} end} end)
    Snakepit.worker("two", fn -> {port, fn -> {:error, :no_such_tool} end} end)
    Snakepit.worker("three", fn -> {port, fn -> raise "it broke" end} end)
    start(name, handshake_timeout: 50)
    assert {:error, %Error{reason: :unavailable}} = DSPex.await_ready(name)
    assert Wait.eventually(fn -> Enum.any?(workers(name), &(&1.cause && &1.cause.message =~ "adapter_module")) end)
  end

  test "options of processes that the pool does not start are refused" do
    Process.flag(:trap_exit, true)

    for {option, value} <- [workers: 2, lm: "offline/extractive", python: "python3"] do
      assert_raise ArgumentError, ~r/pools.default.#{option} has no effect/, fn ->
        DSPex.start_link(name: __MODULE__, pools: [default: [{:start, :snakepit}, {option, value}]])
      end
    end

    assert_raise ArgumentError, ~r/snakepit_pool is an option with start: :snakepit only/, fn ->
      DSPex.start_link(name: __MODULE__, pools: [default: [snakepit_pool: :ml]])
    end
  end
end
