defmodule DSPex.CallTest do
  use ExUnit.Case, async: true
  doctest DSPex.Program
  doctest DSPex.Pool.Slots
  doctest DSPex.Signature.Field
  doctest DSPex.Wire.Values
  doctest DSPex.Event
  doctest DSPex.Router
  doctest DSPex.Predict
  doctest DSPex.ChainOfThought
  doctest DSPex.ReAct
  doctest DSPex.Chain
  doctest DSPex.BestOfN
  doctest DSPex.Custom
  doctest DSPex.Tool
  doctest DSPex.Options
  doctest DSPex.Telemetry
  doctest DSPex.Policy.Backoff

  alias DSPex.Error
  alias DSPex.Test.Peer
  alias DSPex.Test.Wait

  @program DSPex.Predict.new("question -> answer")
  @inputs %{question: "What is the capital of France?"}

  @tag req: ["FR1.3.1", "FR1.3.2", "FR1.3.4", "NFR4.1.1"]
  test "a call gives a prediction with its outputs, route and timing" do
    instance = Peer.start_instance(__MODULE__.Call, %{})
    assert {:ok, prediction} = DSPex.call(@program, @inputs, instance: instance)
    assert prediction["answer"] == "Paris"
    assert prediction[:answer] == "Paris"
    assert prediction.fields == ["answer"]
    assert %{"route" => "python", "pool" => "default", "worker" => "w1", "duration_ms" => duration} = prediction.meta
    assert is_float(duration)
    assert DSPex.call!(@program, [question: "?"], instance: instance).outputs == %{"answer" => "Paris"}
  end

  @tag req: "FR1.3.4"
  test "options travel in params and _meta" do
    test = self()

    script = %{
      "module.call" => fn link, id, params ->
        send(test, {:params, params})
        Peer.result(link, id, Peer.prediction(%{"answer" => "x"}))
      end
    }

    instance = Peer.start_instance(__MODULE__.Options, script)
    options = [timeout: 5_000, lm: "small", adapter: :json, config: [temperature: 0.5], tenant: "t", session: "s"]

    {:ok, _prediction} =
      DSPex.call(@program, @inputs, [instance: instance, traceparent: "00-a", idempotency_key: "k"] ++ options)

    assert_receive {:params, params}
    assert params["inputs"] == %{"question" => "What is the capital of France?"}
    assert params["options"] == %{"lm" => "small", "adapter" => "json", "config" => %{"temperature" => 0.5}}

    assert %{
             "tenant" => "t",
             "session" => "s",
             "traceparent" => "00-a",
             "idempotency_key" => "k",
             "deadline_ms" => left
           } = params["_meta"]

    assert left in 1..5_000
  end

  @tag req: ["FR2.3.3", "OWN-3"]
  test "a worker that lacks the program gets it, and the call is repeated" do
    known = :counters.new(1, [])

    script = %{
      "program.put" => fn link, id, _params ->
        :counters.add(known, 1, 1)
        Peer.result(link, id, %{"module" => "abc"})
      end,
      "module.call" => fn link, id, %{"module" => "abc"} ->
        if :counters.get(known, 1) >= 2,
          do: Peer.result(link, id, Peer.prediction(%{"answer" => "here"})),
          else: Peer.error(link, id, Error.new(:not_found, "no program abc", need: "program"))
      end
    }

    instance = Peer.start_instance(__MODULE__.Need, script)
    assert {:ok, %{outputs: %{"answer" => "here"}}} = DSPex.call(@program, @inputs, instance: instance)
    assert {:ok, _prediction} = DSPex.call(@program, @inputs, instance: instance)
    assert :counters.get(known, 1) == 2
  end

  test "a worker that never keeps the program does not loop for ever" do
    script = %{
      "module.call" => fn link, id, _params ->
        Peer.error(link, id, Error.new(:not_found, "no program", need: "program"))
      end
    }

    instance = Peer.start_instance(__MODULE__.NeedEver, script)
    assert {:error, %Error{reason: :not_found}} = DSPex.call(@program, @inputs, instance: instance)
  end

  @tag req: ["OWN-1", "NFR2.2.1"]
  test "a call above its timeout ends at once and is cancelled in the worker" do
    test = self()

    script = %{
      "module.call" => fn _link, id, _params -> send(test, {:called, id}) end,
      "$/cancelRequest" => fn _link, nil, %{"id" => id} -> send(test, {:cancelled, id}) end
    }

    instance = Peer.start_instance(__MODULE__.Timeout, script)
    assert {:error, %Error{reason: :timeout} = error} = DSPex.call(@program, @inputs, instance: instance, timeout: 500)
    assert error.message =~ "option timeout"
    assert_receive {:called, id}
    assert_receive {:cancelled, ^id}
    Wait.in_flight(instance, 0)
  end

  @tag req: "OWN-1"
  test "the death of the caller cancels its call" do
    test = self()

    script = %{
      "module.call" => fn _link, id, _params -> send(test, {:called, id}) end,
      "$/cancelRequest" => fn _link, nil, %{"id" => id} -> send(test, {:cancelled, id}) end
    }

    instance = Peer.start_instance(__MODULE__.Death, script)
    caller = spawn(fn -> DSPex.call(@program, @inputs, instance: instance) end)
    assert_receive {:called, id}
    Process.exit(caller, :kill)
    assert_receive {:cancelled, ^id}
    Wait.in_flight(instance, 0)
  end

  @tag req: "FR1.3.2"
  test "async calls run beside the caller; await gives their outcome" do
    instance = Peer.start_instance(__MODULE__.Async, %{})
    calls = for _call <- 1..10, do: DSPex.async(@program, @inputs, instance: instance)
    assert Enum.all?(calls, &match?({:ok, %{outputs: %{"answer" => "Paris"}}}, DSPex.await(&1, 5_000)))
  end

  @tag req: ["FR1.3.2", "OWN-1"]
  test "cancel stops an async call in the worker, and await says so" do
    test = self()

    script = %{
      "module.call" => fn _link, id, _params -> send(test, {:called, id}) end,
      "$/cancelRequest" => fn _link, nil, %{"id" => id} -> send(test, {:cancelled, id}) end
    }

    instance = Peer.start_instance(__MODULE__.Cancel, script)
    call = DSPex.async(@program, @inputs, instance: instance)
    assert_receive {:called, id}
    assert :ok = DSPex.cancel(call)
    assert {:error, %Error{reason: :cancelled}} = DSPex.await(call)
    assert_receive {:cancelled, ^id}

    late = DSPex.async(@program, @inputs, instance: instance)
    assert_receive {:called, id}
    assert {:error, %Error{reason: :timeout}} = DSPex.await(late, 20)
    assert_receive {:cancelled, ^id}
  end

  @tag req: "OWN-1"
  test "the death of the owner of an async call cancels it, a normal end too" do
    test = self()

    script = %{
      "module.call" => fn _link, id, _params -> send(test, {:called, id}) end,
      "$/cancelRequest" => fn _link, nil, %{"id" => id} -> send(test, {:cancelled, id}) end
    }

    instance = Peer.start_instance(__MODULE__.AsyncDeath, script)

    spawn(fn ->
      DSPex.async(@program, @inputs, instance: instance)
      receive do: (:end -> :ok)
    end)
    |> tap(fn owner ->
      assert_receive {:called, _id}
      send(owner, :end)
    end)

    assert_receive {:cancelled, _id}
  end

  @tag req: "FR1.3.2"
  test "batch keeps the order and gives each item its own outcome" do
    script = %{
      "module.call" => fn link, id, %{"inputs" => %{"n" => n}} ->
        if rem(n, 3) == 0,
          do: Peer.error(link, id, Error.new(:invalid_input, "no #{n}")),
          else: Peer.result(link, id, Peer.prediction(%{"answer" => n}))
      end
    }

    instance = Peer.start_instance(__MODULE__.Batch, script)
    outcomes = DSPex.batch(@program, for(n <- 1..20, do: %{n: n}), instance: instance, max_concurrency: 4)

    for {outcome, n} <- Enum.with_index(outcomes, 1) do
      if rem(n, 3) == 0,
        do: assert({:error, %Error{reason: :invalid_input}} = outcome),
        else: assert({:ok, %{outputs: %{"answer" => ^n}}} = outcome)
    end
  end

  @tag req: "FR1.1.4"
  test "describe, request, info, health_check and await_ready" do
    script = %{
      "module.describe" => fn link, id, _params -> Peer.result(link, id, %{"kind" => "predict", "inputs" => []}) end
    }

    instance = Peer.start_instance(__MODULE__.Info, script, workers: 2)
    assert :ok = DSPex.await_ready(instance)
    assert {:ok, %{"kind" => "predict"}} = DSPex.describe(@program, instance: instance)

    assert {:ok, %{"value" => %{"a" => [1]}}} =
             DSPex.request("echo", %{value: %{a: [1]}} |> text_keys(), instance: instance)

    assert {:ok, %DSPex.Ordered{}} = DSPex.request("echo", [{"value", 1}], instance: instance, maps: :ordered)
    assert {:error, %Error{reason: :not_found}} = DSPex.request("nonsense", [], instance: instance)
    assert {:ok, %{default: %{workers: [first, second], queued: 0, cause: nil}}} = DSPex.info(instance)
    assert %{index: 1, state: :ready, in_flight: 0} = first
    assert second.index == 2
    assert :ok = DSPex.health_check(instance)
  end

  @tag req: ["NFR4.1.4", "NFR2.2.2"]
  test "mistakes of the caller are errors that name them" do
    instance = Peer.start_instance(__MODULE__.Mistakes, %{})
    assert {:error, %Error{reason: :unavailable, message: message}} = DSPex.call(@program, @inputs, instance: Nowhere)
    assert message =~ "{DSPex, name: Nowhere}"

    assert {:error, %Error{reason: :not_found, message: message}} =
             DSPex.call(@program, @inputs, instance: instance, pool: :gpu)

    assert message =~ ":default"

    assert {:error, %Error{reason: :invalid_input, message: message}} =
             DSPex.call(@program, @inputs, instance: instance, tiemout: 1)

    assert message =~ "tiemout"
    assert {:error, %Error{reason: :invalid_input}} = DSPex.call(@program, @inputs, instance: instance, timeout: -1)
    assert {:error, %Error{reason: :invalid_input}} = DSPex.call(@program, %{question: self()}, instance: instance)

    assert {:error, %Error{reason: :invalid_input}} =
             DSPex.call(@program, @inputs, instance: instance, implementation: :native)

    assert_raise Error, fn -> DSPex.call!(@program, @inputs, instance: Nowhere) end
    assert_raise Error, fn -> DSPex.async(@program, @inputs, instance: Nowhere) end
    assert {:error, %Error{reason: :unavailable}} = DSPex.info(Nowhere)
    assert {:ok, _prediction} = DSPex.call(@program, @inputs, instance: instance)
  end

  @tag req: ["NFR4.1.4", "NFR4.1.1"]
  test "wrong options of an instance are named with their path and what is allowed" do
    for {options, text} <- [
          {[pools: [default: [wokers: 2]]], "pools.default.wokers is no option (did you mean workers?)"},
          {[pools: [default: [encoding: :xml]]], "must be one of :json, :msgpack"},
          {[pools: [default: [env: [1]]]], "pools.default.env"},
          {[pools: [default: [backoff: [first: 0]]]], "[first: ms, most: ms]"},
          {[pools: [default: [queue_timeout: -1]]], "milliseconds or :infinity"},
          {[pools: [default: [transport: 1]]], "{module, options}"},
          {[pools: [default: [lm: ""]]], "a text that is not empty"},
          {[pools: [default: [args: "x"]]], "a list of texts"},
          {[pools: [default: [settings: 1]]], "a map or keyword list"},
          {[pools: [default: 1]], "must be a keyword list of options"},
          {[pools: []], "must be a keyword list of pools"},
          {[pools: [a: [], a: []]], "stands there twice"},
          {[pool: []], "pool is no option"},
          {[name: "x"], "it must be a module name"},
          {"x", "keyword list"}
        ] do
      assert_raise ArgumentError, ~r/#{Regex.escape(text)}/, fn -> DSPex.start_link(options) end
    end

    assert DSPex.Options.pool_docs() =~ "* `:workers` – Python processes"
  end

  @tag req: "NFR5.2.4"
  test "a call is a span of telemetry with its outcome" do
    test = self()
    instance = Peer.start_instance(__MODULE__.Span, %{})

    handler = fn [:dspex, :call, name], measurements, metadata, :config ->
      if metadata.instance == instance, do: send(test, {name, measurements, metadata})
    end

    for name <- [:start, :stop, :exception] do
      :ok = DSPex.Telemetry.attach({__MODULE__, name}, [:dspex, :call, name], handler, :config)
    end

    assert {:error, :already_exists} =
             DSPex.Telemetry.attach({__MODULE__, :start}, [:dspex, :call, :start], handler, nil)

    {:ok, _prediction} = DSPex.call(@program, @inputs, instance: instance)
    assert_receive {:start, %{system_time: _}, %{pool: :default, operation: "module.call"}}
    assert_receive {:stop, %{duration: _}, %{result: :ok, worker: "w1", route: :python}}

    assert_raise RuntimeError, fn ->
      DSPex.Telemetry.span([:dspex, :call], %{instance: instance}, fn -> raise "no" end)
    end

    assert_receive {:exception, %{duration: _}, %{kind: :error}}
    for name <- [:start, :stop, :exception], do: :ok = DSPex.Telemetry.detach({__MODULE__, name})
    assert {:error, :not_found} = DSPex.Telemetry.detach({__MODULE__, :start})
  end

  test "nothing stays in the caller's mailbox" do
    instance = Peer.start_instance(__MODULE__.Mailbox, %{})
    for _call <- 1..20, do: {:ok, _prediction} = DSPex.call(@program, @inputs, instance: instance)
    assert {:error, _timeout} = DSPex.call(@program, @inputs, instance: instance, timeout: 0)
    assert {:messages, []} = Process.info(self(), :messages)
  end

  defp text_keys(map), do: Map.new(map, fn {key, value} -> {to_string(key), value} end)
end
