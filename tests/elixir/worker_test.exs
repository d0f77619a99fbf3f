defmodule DSPex.WorkerTest do
  use ExUnit.Case, async: true

  alias DSPex.Error
  alias DSPex.Test.Peer
  alias DSPex.Test.Wait
  alias DSPex.Transport.Memory

  @program DSPex.Predict.new("question -> answer")
  @inputs %{question: "?"}

  # Runs the first connection by a script of faults; every later one is healthy.
  defp once(faults) do
    seen = :counters.new(1, [])

    fn method, default ->
      fn link, id, params ->
        if :counters.get(seen, 1) == 0 and Map.has_key?(faults, method) do
          :counters.add(seen, 1, 1)
          faults[method].(link, id, params)
        else
          default.(link, id, params)
        end
      end
    end
  end

  defp script(faults) do
    wrap = once(faults)

    for method <- ["initialize", "ping", "module.call"], into: %{} do
      {method, wrap.(method, fn link, id, params -> Peer.default(method, link, id, params) end)}
    end
  end

  defp recovers(instance) do
    assert {:ok, %{outputs: %{"answer" => "Paris"}}} =
             DSPex.call(@program, @inputs, instance: instance, timeout: 10_000)
  end

  @tag req: ["NFR2.1.1", "NFR2.1.2"]
  test "a worker that ends in mid-call gives worker_lost, and the next call works" do
    script =
      script(%{"module.call" => fn link, _id, _params -> Memory.hang_up(link, "the process ended with signal 9") end})

    instance = Peer.start_instance(__MODULE__.Dies, script)
    assert {:error, %Error{reason: :worker_lost} = error} = DSPex.call(@program, @inputs, instance: instance)
    assert error.message =~ "signal 9"
    assert error.retryable?
    recovers(instance)
  end

  @tag req: "NFR2.1.2"
  test "a call with an idempotency key is repeated on the next worker" do
    script = script(%{"module.call" => fn link, _id, _params -> Memory.hang_up(link, "gone") end})
    instance = Peer.start_instance(__MODULE__.Repeat, script)
    assert {:ok, _prediction} = DSPex.call(@program, @inputs, instance: instance, idempotency_key: "k1")
  end

  @tag req: "NFR2.1.1"
  test "garbage on the wire ends the worker, and the error says what came" do
    script =
      script(%{"module.call" => fn link, _id, _params -> Peer.raw(link, "Traceback (most recent call last):") end})

    instance = Peer.start_instance(__MODULE__.Garbage, script)
    assert {:error, %Error{reason: :worker_lost, message: message}} = DSPex.call(@program, @inputs, instance: instance)
    assert message =~ ~s(begins with "Trac")
    recovers(instance)
  end

  test "a frame above the cap is skipped and reported, and the call goes on" do
    test = self()

    script = %{
      "module.call" => fn link, id, _params ->
        Peer.raw(link, <<5_000::32, 0::size(40_000), 0::32>>)
        Peer.result(link, id, Peer.prediction(%{"answer" => "after it"}))
      end,
      "response" => fn _link, id, {:error, error} -> send(test, {id, error.reason}) end
    }

    instance = Peer.start_instance(__MODULE__.Oversized, script, max_frame_bytes: 4_096)
    assert {:ok, %{outputs: %{"answer" => "after it"}}} = DSPex.call(@program, @inputs, instance: instance)
    assert_receive {nil, :limit_exceeded}
    assert_receive {nil, :protocol_error}
  end

  test "a request above the worker's cap is refused before it is sent" do
    instance = Peer.start_instance(__MODULE__.TooLarge, %{})
    inputs = %{question: String.duplicate("x", 1_100_000)}

    assert {:error, %Error{reason: :limit_exceeded, message: message}} =
             DSPex.call(@program, inputs, instance: instance)

    assert message =~ "1000000"
    recovers(instance)
  end

  test "answers that nobody waits for, twice or never asked for, are ignored and counted" do
    test = self()

    script = %{
      "module.call" => fn link, id, _params ->
        Peer.result(link, id, Peer.prediction(%{"answer" => "once"}))
        Peer.result(link, id, Peer.prediction(%{"answer" => "twice"}))
        Peer.result(link, 77_777_777, %{})
        Peer.event(link, 77_777_777, 0, Peer.token("x"))
        Peer.notify(link, "of/the-future", [{"a", 1}])
        Peer.notify(link, "log/message", [{"level", "info"}, {"logger", "l"}, {"message", "m"}])
        Peer.notify(link, "telemetry/event", [{"name", "n"}, {"measurements", %{"x" => 1}}, {"metadata", %{}}])
        Peer.error(link, nil, Error.new(:protocol_error, "what was that?"))
      end
    }

    instance = Peer.start_instance(__MODULE__.Twice, script)

    handler = fn _event, measurements, metadata, nil ->
      send(test, {metadata[:instance] || metadata[:name], measurements})
    end

    :ok = DSPex.Telemetry.attach({__MODULE__, :stray}, [:dspex, :worker, :stray], handler, nil)
    :ok = DSPex.Telemetry.attach({__MODULE__, :python}, [:dspex, :python, :event], handler, nil)
    assert {:ok, %{outputs: %{"answer" => "once"}}} = DSPex.call(@program, @inputs, instance: instance)
    assert_receive {^instance, %{count: 3}}
    assert_receive {"n", %{"x" => 1}}
    for name <- [:stray, :python], do: DSPex.Telemetry.detach({__MODULE__, name})
    assert {:ok, %{outputs: %{"answer" => "once"}}} = DSPex.call(@program, @inputs, instance: instance)
  end

  test "answers with other orders of members and broken answers are told apart" do
    script = %{
      "module.call" => fn link, id, %{"inputs" => %{"question" => question}} ->
        body =
          case question do
            "order" -> ~s({"result":{"outputs":{"answer":"any order"}},"id":#{id},"jsonrpc":"2.0"})
            "broken" -> ~s({"jsonrpc":"2.0","id":#{id},"result":{"outputs":)
            "no prediction" -> ~s({"jsonrpc":"2.0","id":#{id},"result":{}})
            "null" -> ~s({"jsonrpc":"2.0","id":#{id},"result":null})
          end

        Peer.raw(link, DSPex.Wire.Frame.encode(body))
      end
    }

    instance = Peer.start_instance(__MODULE__.Shapes, script)

    assert {:ok, %{outputs: %{"answer" => "any order"}}} =
             DSPex.call(@program, %{question: "order"}, instance: instance)

    for question <- ["broken", "no prediction", "null"] do
      assert {:error, %Error{reason: :protocol_error}} = DSPex.call(@program, %{question: question}, instance: instance)
    end
  end

  @tag req: ["NFR2.1.2", "NFR2.1.1"]
  test "a worker that stops answering pings is replaced" do
    script = script(%{"module.call" => fn _link, _id, _params -> Process.sleep(:infinity) end})
    instance = Peer.start_instance(__MODULE__.Silent, script, ping_interval: 30, ping_misses: 3)
    assert {:error, %Error{reason: :worker_lost, message: message}} = DSPex.call(@program, @inputs, instance: instance)
    assert message =~ "pings in a row"
    recovers(instance)
  end

  @tag req: ["NFR2.1.1", "NFR2.1.3"]
  test "a place that a killed caller left taken is found, and given to one who waits" do
    instance = Peer.start_instance(__MODULE__.Leaked, %{}, max_in_flight: 1, ping_interval: 30)
    assert :ok = DSPex.await_ready(instance)
    {:ok, table} = DSPex.Instance.table(instance)
    {:ok, %{slots: slots}} = DSPex.Pool.fetch(table, hd(:ets.lookup_element(table, :pools, 2)))
    DSPex.Pool.Slots.take(slots, 1)
    recovers(instance)
  end

  @tag req: ["NFR2.1.1", "NFR2.2.2"]
  test "a worker that never answers initialize, or never gets ready, is tried again, and the cause is told" do
    for {name, fault, limit, text} <- [
          {:Mute, fn _link, _id, _params -> :ok end, :handshake_timeout, "initialize in time"},
          {:Unready, fn link, id, _params -> Peer.initialized(link, id) end, :ready_timeout, "become ready in time"}
        ] do
      name = Module.concat(__MODULE__, name)
      instance = Peer.start_instance(name, %{"initialize" => fault}, [{limit, 30}])

      assert {:error, %Error{reason: :unavailable, message: message}} =
               DSPex.call(@program, @inputs, instance: instance)

      assert message =~ text
      assert {:error, %Error{reason: :unavailable}} = DSPex.health_check(instance)
    end
  end

  @tag req: ["NFR2.1.1", "NFR5.1.4"]
  test "a worker that refuses the handshake says why, and recovers when it can" do
    refused = fn link, id, _params -> Peer.error(link, id, Error.new(:unauthorized, "wrong token")) end
    version = fn link, id, _params -> Peer.initialized(link, id, 2) end

    failed = fn link, id, _params ->
      Peer.initialized(link, id)
      error = Error.to_object(Error.new(:unavailable, "dspy is missing: pip install dspy"))
      Peer.notify(link, "worker/failed", [{"error", error}])
    end

    broken = fn link, id, _params ->
      Peer.raw(link, DSPex.Wire.Frame.encode(~s({"jsonrpc":"2.0","id":#{id},"result":[]})))
    end

    hang_up = fn link, _id, _params -> Memory.hang_up(link, "the process ended with exit status 1") end

    for {name, fault, reason, text} <- [
          {:Token, refused, :unauthorized, "wrong token"},
          {:Version, version, :unavailable, "protocol 2, this client speaks [1]"},
          {:Failed, failed, :unavailable, "pip install dspy"},
          {:Broken, broken, :unavailable, "protocol none"},
          {:HangUp, hang_up, :unavailable, "exit status 1"}
        ] do
      broken? = :counters.new(1, [])

      script = %{
        "initialize" => fn link, id, params ->
          if :counters.get(broken?, 1) == 0,
            do: fault.(link, id, params),
            else: Peer.default("initialize", link, id, params)
        end
      }

      instance = Peer.start_instance(Module.concat(__MODULE__, name), script)
      assert {:error, %Error{reason: ^reason, message: message}} = DSPex.await_ready(instance)
      assert message =~ text
      assert {:error, %Error{reason: ^reason}} = DSPex.call(@program, @inputs, instance: instance)
      :counters.add(broken?, 1, 1)
      assert :ok = Wait.ready(instance)
      recovers(instance)
    end
  end

  @tag req: ["NFR3.1.2", "NFR3.2.4"]
  test "a restarted worker finishes its calls first and is replaced" do
    test = self()
    script = %{"module.call" => fn link, id, _params -> send(test, {:called, link, id}) end}

    instance =
      Peer.start_instance(
        __MODULE__.Restart,
        Map.put(script, "shutdown", fn link, id, _params -> Peer.result(link, id, %{}) end)
      )

    call = Task.async(fn -> DSPex.call(@program, @inputs, instance: instance) end)
    assert_receive {:called, link, id}
    {:ok, %{default: %{workers: [%{owner: owner}]}}} = DSPex.info(instance)
    DSPex.Worker.restart(owner)
    Peer.result(link, id, Peer.prediction(%{"answer" => "in time"}))
    assert {:ok, %{outputs: %{"answer" => "in time"}}} = Task.await(call)
    Memory.hang_up(link, "the process ended with exit status 0")
    again = Task.async(fn -> DSPex.call(@program, @inputs, instance: instance) end)
    assert_receive {:called, other, id} when other != link
    Peer.result(other, id, Peer.prediction(%{"answer" => "new"}))
    assert {:ok, %{outputs: %{"answer" => "new"}}} = Task.await(again)
  end

  test "an instance ends its workers in order, and calls in flight are told" do
    test = self()
    script = %{"module.call" => fn _link, id, _params -> send(test, {:called, id}) end}
    instance = Peer.start_instance(__MODULE__.Stop, script)
    call = Task.async(fn -> DSPex.call(@program, @inputs, instance: instance) end)
    assert_receive {:called, _id}
    stop_supervised!(instance)
    assert {:error, %Error{reason: :worker_lost}} = Task.await(call)
  end
end
