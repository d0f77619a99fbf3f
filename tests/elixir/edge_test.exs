defmodule DSPex.EdgeTest do
  # What rarely happens on the way of a call.
  use ExUnit.Case, async: true

  alias DSPex.Error
  alias DSPex.Test.Peer
  alias DSPex.Test.Wait

  doctest DSPex.Pool.Status

  @program DSPex.Predict.new("question -> answer")
  @inputs %{question: "?"}

  test "a program.put that fails, or is answered without a handle, is the call's error" do
    test = self()

    for {name, answer, reason} <- [
          {:Refused, &Peer.error(&1, &2, Error.new(:signature_error, "no such type")), :signature_error},
          {:Odd, &Peer.result(&1, &2, %{"handle" => 1}), :protocol_error}
        ] do
      script = %{"program.put" => fn link, id, _params -> send(test, :put) && answer.(link, id) end}
      instance = Peer.start_instance(Module.concat(__MODULE__, name), script)
      assert {:error, %Error{reason: ^reason}} = DSPex.call(@program, @inputs, instance: instance)
      assert {:error, %Error{reason: ^reason}} = DSPex.describe(@program, instance: instance)
      assert_receive :put
    end
  end

  test "a worker that is lost between its need and the program does not lose the call" do
    steps = :counters.new(1, [])

    script = %{
      "program.put" => fn link, id, _params ->
        :counters.add(steps, 1, 1)

        # The second put is the one for the worker that lacked the program.
        if :counters.get(steps, 1) == 2,
          do: DSPex.Transport.Memory.hang_up(link, "gone"),
          else: Peer.result(link, id, %{"module" => "abc"})
      end,
      "module.call" => fn link, id, _params ->
        if :counters.get(steps, 1) == 1,
          do: Peer.error(link, id, Error.new(:not_found, "none", need: "program")),
          else: Peer.result(link, id, Peer.prediction(%{"answer" => "in the end"}))
      end
    }

    instance = Peer.start_instance(__MODULE__.Between, script)

    assert {:ok, %{outputs: %{"answer" => "in the end"}}} =
             DSPex.call(@program, @inputs, instance: instance, timeout: 20_000)
  end

  test "an async call whose process is killed is an internal error, and one that is done can still be cancelled" do
    test = self()
    script = %{"module.call" => fn link, id, _params -> send(test, {:called, link, id}) end}
    instance = Peer.start_instance(__MODULE__.Async, script)
    call = DSPex.async(@program, @inputs, instance: instance)
    assert_receive {:called, _link, _id}
    Process.exit(call.task.pid, :kill)
    assert {:error, %Error{reason: :internal}} = DSPex.await(call)

    done = DSPex.async(@program, @inputs, instance: instance)
    monitor = Process.monitor(done.task.pid)
    assert_receive {:called, link, id}
    Peer.result(link, id, Peer.prediction(%{"answer" => "x"}))
    assert_receive {:DOWN, ^monitor, :process, _pid, _reason}
    assert :ok = DSPex.cancel(done)
    assert {:ok, %{outputs: %{"answer" => "x"}}} = DSPex.await(done)
  end

  test "a request bound to a worker that is not there is unavailable" do
    instance = Peer.start_instance(__MODULE__.Bound, %{})
    assert :ok = DSPex.await_ready(instance)
    assert {:ok, %{}} = DSPex.request("ping", [], instance: instance, worker: 1)

    assert {:error, %Error{reason: :unavailable, message: message}} =
             DSPex.request("ping", [], instance: instance, worker: 7)

    assert message =~ "no worker 7"
  end

  @tag req: "NFR2.2.4"
  test "a crash of a worker's owner is logged without the terms that it held" do
    instance = Peer.start_instance(__MODULE__.Crash, %{})
    assert :ok = DSPex.await_ready(instance)
    {:ok, %{default: %{workers: [%{owner: owner}]}}} = DSPex.info(instance)
    monitor = Process.monitor(owner)

    log =
      ExUnit.CaptureLog.capture_log(fn ->
        send(owner, {:request, 1, {self(), make_ref()}, :no_frame, %{question: String.duplicate("secret", 100)}})
        assert_receive {:DOWN, ^monitor, :process, ^owner, _reason}
      end)

    assert log =~ "the owner of a worker crashed"
    refute log =~ "secret"
    assert {:ok, _prediction} = DSPex.call(@program, @inputs, instance: instance, idempotency_key: "k", timeout: 10_000)
  end

  @tag req: "FR2.3.3"
  test "a conflict that may be repeated is repeated, one that may not is told" do
    tries = :counters.new(1, [])

    script = %{
      "module.call" => fn link, id, %{"inputs" => %{"question" => question}} ->
        :counters.add(tries, 1, 1)

        cond do
          question == "never" -> Peer.error(link, id, Error.new(:conflict, "taken", retryable?: false))
          :counters.get(tries, 1) < 3 -> Peer.error(link, id, Error.new(:conflict, "another owner"))
          true -> Peer.result(link, id, Peer.prediction(%{"answer" => "third time"}))
        end
      end
    }

    instance = Peer.start_instance(__MODULE__.Conflict, script)

    assert {:ok, %{outputs: %{"answer" => "third time"}}} =
             DSPex.call(@program, @inputs, instance: instance, session: "s")

    assert {:error, %Error{reason: :conflict}} = DSPex.call(@program, %{question: "never"}, instance: instance)
    assert :counters.get(tries, 1) == 4
  end

  @tag req: ["FR2.3.2", "OWN-6"]
  test "a call from inside a tool says which sessions wait for it" do
    test = self()

    script = %{
      "module.call" => fn link, id, params ->
        send(test, {:within, params["_meta"]["session"], params["_meta"]["within"]})

        if params["inputs"]["question"] == "outer" do
          meta = %{"within" => ["s1"]}
          params = [{"tool", "nested"}, {"arguments", %{}}, {"call_id", "c"}, {"request_id", id}, {"_meta", meta}]
          Peer.request(link, 1_000_000 + id, "tool/call", params)
        else
          Peer.result(link, id, Peer.prediction(%{"answer" => "inner"}))
        end
      end,
      "response" => fn link, id, {:ok, %{"value" => value}} ->
        Peer.result(link, id - 1_000_000, Peer.prediction(%{"answer" => value}))
      end
    }

    instance = Peer.start_instance(__MODULE__.Within, script)

    nested =
      DSPex.Tool.new("nested", fn _arguments ->
        task = Task.async(fn -> DSPex.call!(@program, @inputs, instance: instance, session: "s2")["answer"] end)
        Task.await(task)
      end)

    program = DSPex.ReAct.new("question -> answer", tools: [nested])

    assert {:ok, %{outputs: %{"answer" => "inner"}}} =
             DSPex.call(program, %{question: "outer"}, instance: instance, session: "s1")

    assert_receive {:within, "s1", []}
    assert_receive {:within, "s2", ["s1"]}
  end

  @tag req: "NFR2.1.2"
  test "the status of pools tells whether they are ready, drained or cannot start" do
    broken = [workers: 1, command: ["/nonexistent/python"]]
    pools = [default: Peer.pool(%{}, workers: 2), broken: broken]
    start_supervised!({DSPex, name: __MODULE__.Status, pools: pools})
    assert {:error, %Error{}} = DSPex.await_ready(__MODULE__.Status)
    Wait.eventually(fn -> match?({:ok, %{state: :ready}}, DSPex.status(__MODULE__.Status, :default)) end)

    assert {:ok,
            %{default: %{state: :ready, workers: 2, ready: 2, in_flight: 0, queued: 0, breaker: :closed, cause: nil}}} =
             DSPex.status(__MODULE__.Status)

    Wait.eventually(fn -> match?({:ok, %{state: :down, cause: %Error{}}}, DSPex.status(__MODULE__.Status, :broken)) end)
    :ok = DSPex.drain(__MODULE__.Status, :default)
    assert {:ok, %{state: :drained, workers: 0}} = DSPex.status(__MODULE__.Status, :default)
    assert {:error, %Error{reason: :not_found, message: message}} = DSPex.status(__MODULE__.Status, :nope)
    assert message =~ ":broken, :default"
  end
end
