defmodule DSPex.RecycleTest do
  # Workers that are replaced because of a limit, of their own or of the pool's.
  use ExUnit.Case, async: true

  doctest DSPex.Pool.LmFile

  alias DSPex.Error
  alias DSPex.Pool.LmFile
  alias DSPex.Test.Os
  alias DSPex.Test.Peer
  alias DSPex.Transport.Memory
  alias DSPex.Worker.OsProcess

  @program DSPex.Predict.new("question -> answer")
  @inputs %{question: "?"}

  # Every worker tells the test when it is asked; the answer is the test's.
  defp held(test), do: %{"module.call" => fn link, id, params -> send(test, {:called, link, id, params["inputs"]}) end}

  defp finish(link, id, answer), do: Peer.result(link, id, Peer.prediction(%{"answer" => answer}))
  defp drain(link, reason), do: Peer.notify(link, "worker/draining", [{"reason", reason}, {"grace_ms", 30_000}])

  defp call(instance), do: Task.async(fn -> DSPex.call(@program, @inputs, instance: instance, timeout: 30_000) end)

  defp owners(instance) do
    {:ok, %{default: %{workers: workers}}} = DSPex.info(instance)
    for worker <- workers, do: worker.owner
  end

  @tag req: ["FR2.1.3", "NFR2.1.1"]
  test "a worker that drains finishes its calls while its successor takes the new ones" do
    test = self()
    DSPex.Telemetry.attach(__MODULE__, [:dspex, :worker, :draining], &__MODULE__.tell/4, test)
    on_exit(fn -> DSPex.Telemetry.detach(__MODULE__) end)
    instance = Peer.start_instance(__MODULE__.Drains, held(test))
    first = call(instance)
    assert_receive {:called, old, old_id, _inputs}
    [old_owner] = owners(instance)
    drain(old, "memory")
    assert_receive {:draining, "memory", 1}
    second = call(instance)
    assert_receive {:called, new, new_id, _inputs}
    assert elem(new, 0) != elem(old, 0)
    assert [new_owner] = owners(instance)
    assert new_owner != old_owner
    finish(new, new_id, "new")
    assert {:ok, %{outputs: %{"answer" => "new"}}} = Task.await(second)
    finish(old, old_id, "old")
    assert {:ok, %{outputs: %{"answer" => "old"}}} = Task.await(first)

    monitor = Process.monitor(old_owner)
    Memory.hang_up(old, "the process ended with exit status 75")
    assert_receive {:DOWN, ^monitor, :process, _pid, reason} when reason in [:normal, :noproc]
    assert owners(instance) == [new_owner]
    third = call(instance)
    assert_receive {:called, ^new, id, _inputs}
    finish(new, id, "still")
    assert {:ok, _prediction} = Task.await(third)
    {:ok, %{default: %{workers: [%{in_flight: 0, state: :ready}]}}} = DSPex.info(instance)
  end

  def tell(_event, %{in_flight: count}, %{reason: reason, instance: __MODULE__.Drains}, test),
    do: send(test, {:draining, reason, count})

  def tell(_event, _measurements, _metadata, _test), do: :ok

  @tag req: ["NFR2.1.1", "NFR2.1.2"]
  test "what a draining worker refuses, or has not read when it ends, goes to its successor" do
    instance = Peer.start_instance(__MODULE__.Unread, held(self()))
    first = call(instance)
    assert_receive {:called, old, first_id, _inputs}
    second = call(instance)
    assert_receive {:called, ^old, _second_id, _inputs}
    drain(old, "calls")
    Peer.error(old, first_id, Error.new(:overloaded, "this worker drains"))
    assert_receive {:called, new, id, _inputs}
    finish(new, id, "x")
    assert {:ok, _prediction} = Task.await(first)
    Memory.hang_up(old, "the process ended with exit status 75")
    assert_receive {:called, ^new, id, _inputs}
    finish(new, id, "y")
    assert {:ok, %{outputs: %{"answer" => "y"}}} = Task.await(second)
  end

  @tag req: "NFR2.1.1"
  test "calls in flight when a draining worker dies are worker_lost, and nobody else's place is touched" do
    instance = Peer.start_instance(__MODULE__.Dies, held(self()))
    first = call(instance)
    assert_receive {:called, old, _id, _inputs}
    drain(old, "calls")
    second = call(instance)
    assert_receive {:called, new, id, _inputs}
    Memory.hang_up(old, "the process ended with signal 9")
    assert {:error, %Error{reason: :worker_lost}} = Task.await(first)
    finish(new, id, "x")
    assert {:ok, _prediction} = Task.await(second)
    {:ok, %{default: %{workers: [%{in_flight: 0}]}}} = DSPex.info(instance)
  end

  @tag req: "NFR2.1.2"
  test "a pool of draining workers can be resized, restarted and stopped" do
    instance = Peer.start_instance(__MODULE__.Resize, held(self()), workers: 2)
    assert :ok = DSPex.await_ready(instance)
    first = call(instance)
    assert_receive {:called, link, id, _inputs}
    drain(link, "age")
    assert :ok = DSPex.resize(instance, :default, 1)
    finish(link, id, "x")
    assert {:ok, _prediction} = Task.await(first)
    assert :ok = DSPex.await_ready(instance)
    assert :ok = DSPex.restart(instance, :default, 20_000)
    assert :ok = stop_supervised(instance)
  end

  @tag req: ["FR2.1.3", "NFR3.2.1"]
  test "the resident memory of a process is read, and judged by the limit" do
    rss = OsProcess.rss(System.pid())
    assert rss > 1_000_000
    assert OsProcess.excess(System.pid(), rss * 10) == nil
    assert OsProcess.excess(System.pid(), nil) == nil
    assert OsProcess.excess(nil, 1) == nil
    assert OsProcess.rss(0) == 0
    assert %Error{message: message} = OsProcess.excess(System.pid(), 1_000)
    assert message =~ "max_rss"
  end

  @tag req: ["FR2.1.3", "NFR2.1.2", "NFR3.2.1"]
  test "a process above max_rss is killed and replaced" do
    pool = [workers: 1, settings: [engine: "scripted"], ping_interval: 50, max_rss: 1_048_576]
    start_supervised!({DSPex, name: __MODULE__.Rss, pools: [default: pool]})
    test = self()
    DSPex.Telemetry.attach(__MODULE__.Rss, [:dspex, :worker, :down], &__MODULE__.down/4, test)
    on_exit(fn -> DSPex.Telemetry.detach(__MODULE__.Rss) end)
    assert_receive {:down, reason}, 60_000
    assert reason =~ "max_rss"
    assert_receive {:down, _another}, 60_000
  end

  def down(_event, _measurements, %{instance: __MODULE__.Rss, reason: reason}, test), do: send(test, {:down, reason})
  def down(_event, _measurements, _metadata, _test), do: :ok

  for start <- [:fresh, :fork_server] do
    @tag req: ["FR2.1.3", "NFR2.1.1", "NFR2.1.2"], timeout: 120_000
    test "a real worker (#{start}) that reaches its number of calls drains, ends with 75, and no call is lost" do
      instance = Module.concat(__MODULE__, "Calls#{unquote(start)}")
      pool = [workers: 1, start: unquote(start), lm: "offline/extractive", settings: [monitor_ms: 50], max_calls: 5]
      start_supervised!({DSPex, name: instance, pools: [default: pool]})
      :ok = DSPex.await_ready(instance)

      for event <- [:draining, :down],
          do:
            DSPex.Telemetry.attach({instance, event}, [:dspex, :worker, event], &__MODULE__.told/4, {self(), instance})

      on_exit(fn -> for event <- [:draining, :down], do: DSPex.Telemetry.detach({instance, event}) end)

      # The first call is three requests: the program has to be put.
      assert until_recycled(instance, 0) >= 3
      assert {:ok, _prediction} = DSPex.call(@program, @inputs, instance: instance, timeout: 60_000)
      assert_receive {:down, "the worker was lost: the process ended with exit status 75"}, 60_000
    end
  end

  defp until_recycled(instance, count) do
    assert {:ok, _prediction} = DSPex.call(@program, @inputs, instance: instance, timeout: 60_000)
    receive(do: ({:draining, "calls"} -> count + 1), after: (20 -> until_recycled(instance, count + 1)))
  end

  def told([:dspex, :worker, event], _measurements, %{instance: instance, reason: reason}, {test, instance}),
    do: send(test, {event, reason})

  def told(_event, _measurements, _metadata, _config), do: :ok

  @tag req: ["FR2.1.1", "FR2.1.2", "FR2.1.3", "OWN-11"], timeout: 120_000
  test "nice, the LMs and the embedders of a pool reach its worker; the file goes with the pool" do
    lms = [default: [model: "offline/extractive"], spare: [model: "offline/extractive", api_key_env: "NO_SUCH_KEY"]]
    pool = [workers: 1, lms: lms, embedders: [near: [model: "offline/hashed", dimensions: 64]], nice: 3]
    instance = __MODULE__.Lms
    start_supervised!({DSPex, name: instance, pools: [default: pool]})
    :ok = DSPex.await_ready(instance, 120_000)
    path = LmFile.path(instance, :default)
    assert {:ok, %{mode: mode}} = File.stat(path)
    assert Bitwise.band(mode, 0o777) == 0o600

    {:ok, %{default: %{workers: [%{os_pid: os_pid}]}}} = DSPex.info(instance)
    assert Os.nice(os_pid) == 3
    inputs = %{context: "Paris is the capital of France.", question: "What is the capital of France?"}
    program = DSPex.Predict.new("context, question -> answer")

    assert {:ok, %{outputs: %{"answer" => "Paris" <> _rest}}} =
             DSPex.call(program, inputs, instance: instance, lm: "spare")

    demos = for text <- ["red apples", "old cars"], do: %{question: text, answer: "yes"}
    search = DSPex.KNN.new("question -> answer", demos: demos, k: 1, embedder: "near")

    assert {:ok, %{outputs: %{"examples" => [%{"question" => "old cars"}]}}} =
             DSPex.call(search, %{question: "cars"}, instance: instance)

    unknown = DSPex.KNN.new("question -> answer", demos: demos, embedder: "far")

    assert {:error, %DSPex.Error{reason: :not_found, message: message}} =
             DSPex.call(unknown, %{question: "cars"}, instance: instance)

    assert message =~ "[embedders.far]"

    :ok = stop_supervised(instance)
    refute File.exists?(path)
  end

  @tag req: "NFR2.2.2"
  test "limits and LMs that are wrong are named with their path and what is allowed" do
    for {option, text} <- [
          {[lms: [x: [key: "sk-1"]]], ~r/pools.default.lms is .* it must be a keyword list of LMs, each with model:/},
          {[embedders: [x: [model: "m", cache: true]]],
           ~r/pools.default.embedders is .* each with model: and of model/},
          {[nice: 40], ~r/pools.default.nice is 40; it must be a whole number from -20 to 19/},
          {[breaker: [limit: 1]], ~r/pools.default.breaker is .* it must be \[failures: count, open_ms: ms\] or false/},
          {[max_rss: 1], ~r/pools.default.max_rss is 1; it must be/}
        ] do
      assert_raise ArgumentError, text, fn -> DSPex.start_link(name: __MODULE__.Wrong, pools: [default: option]) end
    end
  end
end
