defmodule DSPex.Interop.ForkServerTest do
  # Workers as forks of one process that has loaded dspy: the same calls as with fresh ones, and quick to replace.
  use ExUnit.Case, async: true

  alias DSPex.Error
  alias DSPex.Test.Os
  alias DSPex.Event
  alias DSPex.Test.Wait

  @moduletag timeout: 180_000
  @inputs %{context: "Paris is the capital of France.", question: "What is the capital of France?"}
  @program DSPex.Predict.new("context, question -> answer")

  setup_all do
    pool = [workers: 2, start: :fork_server, lm: "offline/extractive", backoff: [first: 1, most: 50]]
    start_supervised!({DSPex, name: __MODULE__, pools: [default: pool]})
    :ok = DSPex.await_ready(__MODULE__, 120_000)
    :ok
  end

  defp works,
    do: assert({:ok, %{outputs: %{"answer" => "Paris" <> _rest}}} = DSPex.call(@program, @inputs, instance: __MODULE__))

  defp pids do
    {:ok, %{default: %{workers: workers}}} = DSPex.info(__MODULE__)
    Enum.map(workers, & &1.os_pid)
  end

  @tag req: ["FR1.3.1", "FR2.1.2"]
  test "calls and streams work, on two processes" do
    works()
    events = Enum.to_list(DSPex.stream(@program, @inputs, instance: __MODULE__))
    assert %Event{type: :done, prediction: %{outputs: %{"answer" => "Paris" <> _rest}}} = List.last(events)
    assert [one, two] = pids()
    assert one != two
    assert :ok = DSPex.health_check(__MODULE__)
  end

  @tag req: ["NFR2.1.1", "NFR2.1.2"]
  test "a worker that is killed is replaced by another fork" do
    [killed, other] = pids()
    {_output, 0} = Os.signal("KILL", killed)

    Wait.eventually(fn ->
      match?([new, ^other] when new != killed, pids()) and DSPex.await_ready(__MODULE__) == :ok
    end)

    works()
  end

  @tag req: ["NFR2.1.2", "FR2.1.4"]
  test "a fork that is stopped with 10 MB queued is found by its pings and replaced, and its owner never blocks" do
    name = Module.concat(__MODULE__, Stopped)

    pool = [
      workers: 1,
      settings: [engine: "scripted"],
      ping_interval: 100,
      ping_misses: 5,
      backoff: [first: 1, most: 50]
    ]

    start_supervised!({DSPex, name: name, pools: [default: pool]})
    :ok = DSPex.await_ready(name, 120_000)
    {:ok, %{default: %{workers: [%{os_pid: stopped}]}}} = DSPex.info(name)
    {_output, 0} = Os.signal("STOP", stopped)
    big = String.duplicate("x", 1_000_000)

    queued =
      for _n <- 1..10,
          do: Task.async(fn -> DSPex.request("echo", [{"value", big}], instance: name, timeout: 60_000) end)

    for task <- queued do
      case Task.await(task, 90_000) do
        {:ok, %{"value" => ^big}} -> :ok
        {:error, error} -> assert error.reason in [:worker_lost, :unavailable]
      end
    end

    Wait.eventually(fn -> Os.gone?(stopped) end)
    assert {:ok, %{"value" => 1}} = DSPex.request("echo", [{"value", 1}], instance: name, timeout: 60_000)
    stop_supervised!(name)
  end

  @tag req: ["NFR2.1.2", "OWN-1"]
  test "a fork whose owner dies is killed, and the owner gets another" do
    {:ok, %{default: %{workers: [%{owner: owner, os_pid: orphan} | _rest]}}} = DSPex.info(__MODULE__)
    Process.exit(owner, :kill)
    Wait.eventually(fn -> Os.gone?(orphan) end)
    Wait.eventually(fn -> orphan not in pids() and DSPex.await_ready(__MODULE__) == :ok end)
    works()
  end

  @tag req: ["NFR2.1.1", "NFR2.1.4"]
  test "when the fork server dies, it is replaced and its workers with it" do
    name = Module.concat(__MODULE__, Killed)
    pool = [workers: 1, start: :fork_server, lm: "offline/extractive", backoff: [first: 1, most: 50]]
    start_supervised!({DSPex, name: name, pools: [default: pool]})
    :ok = DSPex.await_ready(name, 120_000)
    {:ok, %{default: %{workers: [%{os_pid: worker}]}}} = DSPex.info(name)
    {_output, 0} = Os.signal("KILL", Os.parent(worker))
    Wait.eventually(fn -> Os.gone?(worker) end)
    # The owner hears of it a moment later; a call that is sent before then is lost with the worker.
    Wait.eventually(fn ->
      match?({:ok, %{default: %{workers: [%{os_pid: new}]}}} when new != worker, DSPex.info(name))
    end)

    assert {:ok, _prediction} = DSPex.call(@program, @inputs, instance: name, timeout: 120_000)
    stop_supervised!(name)
  end

  @tag req: "NFR2.1.2"
  test "an instance that has stopped has seen its fork server and its workers end" do
    name = Module.concat(__MODULE__, Stopped)

    start_supervised!(
      {DSPex, name: name, pools: [default: [workers: 1, start: :fork_server, lm: "offline/extractive"]]}
    )

    :ok = DSPex.await_ready(name, 120_000)
    {:ok, %{default: %{workers: [%{os_pid: worker}]}}} = DSPex.info(name)
    fork_server = Os.parent(worker)
    stop_supervised!(name)
    assert Os.gone?(fork_server)
    assert Os.gone?(worker)
  end

  @tag req: ["NFR2.1.1", "NFR2.2.2"]
  test "a fork server that cannot start says why" do
    for {name, options, text} <- [
          {:NoPython, [python: "/nowhere/python"], "/nowhere/python"},
          {:Ends, [command: ["/bin/sh", "-c", "exit 7"]], "exit status 7"},
          {:Garbage, [command: ["/bin/sh", "-c", "echo hello there; sleep 5"]], "begins with \"hell\""},
          {:Mute, [command: ["/bin/sh", "-c", "sleep 30"], handshake_timeout: 50, ready_timeout: 50], "in time"}
        ] do
      name = Module.concat(__MODULE__, name)
      pool = [workers: 1, start: :fork_server, backoff: [first: 500, most: 500]] ++ options
      start_supervised!({DSPex, name: name, pools: [default: pool]})
      assert {:error, %Error{reason: :unavailable, message: message}} = DSPex.await_ready(name)
      assert message =~ text
      assert {:error, %Error{reason: :unavailable}} = DSPex.call(@program, @inputs, instance: name)
      stop_supervised!(name)
    end
  end
end
