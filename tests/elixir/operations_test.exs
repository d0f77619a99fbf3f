defmodule DSPex.OperationsTest do
  # What is done to an instance at run time, and the short ways to call.
  use ExUnit.Case, async: true

  alias DSPex.Error
  alias DSPex.Test.Peer
  alias DSPex.Test.Wait

  @program DSPex.Predict.new("question -> answer")
  @inputs %{question: "?"}

  defp states(instance) do
    {:ok, %{default: %{workers: workers}}} = DSPex.info(instance)
    Enum.map(workers, &{&1.index, &1.state})
  end

  @tag req: "NFR3.1.2"
  test "a pool grows and shrinks under load, and no call is lost" do
    instance = Peer.start_instance(__MODULE__.Resize, %{}, workers: 2)
    assert :ok = DSPex.await_ready(instance)

    callers =
      for _caller <- 1..8 do
        Task.async(fn -> for _call <- 1..100, do: DSPex.call(@program, @inputs, instance: instance) end)
      end

    for count <- [4, 1, 3, 2] do
      assert :ok = DSPex.resize(instance, :default, count)
      Wait.eventually(fn -> states(instance) == for(index <- 1..count, do: {index, :ready}) end)
    end

    outcomes = callers |> Enum.map(&Task.await(&1, 30_000)) |> List.flatten()
    assert length(outcomes) == 800
    assert Enum.all?(outcomes, &match?({:ok, _prediction}, &1))
  end

  @tag req: "NFR3.1.2"
  test "a drained pool finishes its calls, refuses others, and can be filled again" do
    test = self()
    script = %{"module.call" => fn link, id, _params -> send(test, {:called, link, id}) end}
    script = Map.put(script, "shutdown", fn link, id, _params -> Peer.result(link, id, %{}) end)
    instance = Peer.start_instance(__MODULE__.Drain, script)
    call = Task.async(fn -> DSPex.call(@program, @inputs, instance: instance) end)
    assert_receive {:called, link, id}
    assert :ok = DSPex.drain(instance, :default)
    assert {:error, %Error{reason: :unavailable, message: message}} = DSPex.call(@program, @inputs, instance: instance)
    assert message =~ "drained"
    Peer.result(link, id, Peer.prediction(%{"answer" => "in time"}))
    assert {:ok, %{outputs: %{"answer" => "in time"}}} = Task.await(call)
    DSPex.Transport.Memory.hang_up(link, "the process ended with exit status 0")
    Wait.eventually(fn -> states(instance) == [] end)
    assert :ok = DSPex.resize(instance, :default, 1)
    again = Task.async(fn -> DSPex.call(@program, @inputs, instance: instance) end)
    assert_receive {:called, link, id}
    Peer.result(link, id, Peer.prediction(%{"answer" => "again"}))
    assert {:ok, _prediction} = Task.await(again)
  end

  @tag req: "NFR3.1.2"
  test "restart replaces one worker after the other while calls go on" do
    starts = :counters.new(1, [])

    script = %{
      "initialize" => fn link, id, params ->
        :counters.add(starts, 1, 1)
        Peer.default("initialize", link, id, params)
      end
    }

    instance = Peer.start_instance(__MODULE__.Restart, script, workers: 2)
    assert :ok = DSPex.await_ready(instance)
    caller = Task.async(fn -> for _call <- 1..200, do: DSPex.call(@program, @inputs, instance: instance) end)
    assert :ok = DSPex.restart(instance, :default)
    assert Enum.all?(Task.await(caller, 30_000), &match?({:ok, _prediction}, &1))
    assert :counters.get(starts, 1) == 4
    assert :ok = DSPex.health_check(instance)
  end

  @tag req: "NFR4.1.4"
  test "wrong sizes, pools and instances are errors that say so" do
    instance = Peer.start_instance(__MODULE__.Wrong, %{})
    assert {:error, %Error{reason: :invalid_input, message: message}} = DSPex.resize(instance, :default, 500)
    assert message =~ "0 to 128"
    assert {:error, %Error{reason: :not_found}} = DSPex.resize(instance, :gpu, 1)
    assert {:error, %Error{reason: :not_found}} = DSPex.restart(instance, :gpu)
    assert {:error, %Error{reason: :unavailable}} = DSPex.resize(Nowhere, :default, 1)
    assert {:error, %Error{reason: :unavailable}} = DSPex.stream_to(self(), @program, @inputs, instance: Nowhere)
  end

  test "a restart that takes too long is a timeout" do
    script = %{"shutdown" => fn _link, _id, _params -> :ok end}
    instance = Peer.start_instance(__MODULE__.Slow, script, drain_ms: 1_000)
    assert :ok = DSPex.await_ready(instance)
    assert {:error, %Error{reason: :timeout}} = DSPex.restart(instance, :default, 30)
  end

  @tag req: ["FR1.3.3", "NFR5.2.2", "OWN-4"]
  test "stream_to sends chunks, and at the end the prediction or the error" do
    script = %{
      "module.call" => fn link, id, %{"inputs" => %{"question" => question}} ->
        Peer.event(link, id, 0, Peer.token("Pa"))

        if question == "fail",
          do: Peer.error(link, id, Error.new(:lm_error, "no")),
          else: Peer.result(link, id, Peer.prediction(%{"answer" => "Paris"}))
      end
    }

    instance = Peer.start_instance(__MODULE__.StreamTo, script)
    {:ok, ref} = DSPex.stream_to(self(), @program, @inputs, instance: instance)
    assert_receive {^ref, {:chunk, %DSPex.Event{type: :token, text: "Pa"}}}
    assert_receive {^ref, {:done, %DSPex.Prediction{outputs: %{"answer" => "Paris"}}}}
    {:ok, ref} = DSPex.stream_to(self(), @program, %{question: "fail"}, instance: instance)
    assert_receive {^ref, {:chunk, _event}}
    assert_receive {^ref, {:error, %Error{reason: :lm_error}}}
  end

  @tag req: "OWN-1"
  test "the death of the receiver cancels a stream that is sent to it" do
    test = self()

    script = %{
      "module.call" => fn link, id, _params ->
        Peer.event(link, id, 0, Peer.token("a"))
        send(test, :called)
      end,
      "$/cancelRequest" => fn _link, nil, _params -> send(test, :cancelled) end
    }

    instance = Peer.start_instance(__MODULE__.Receiver, script)
    receiver = spawn(fn -> Process.sleep(:infinity) end)
    {:ok, _ref} = DSPex.stream_to(receiver, @program, @inputs, instance: instance)
    assert_receive :called
    Process.exit(receiver, :kill)
    assert_receive :cancelled
  end

  @tag req: "NFR4.1.1"
  test "one-liners make the program and call it" do
    instance = Peer.start_instance(__MODULE__.Short, %{})
    assert {:ok, %{outputs: %{"answer" => "Paris"}}} = DSPex.predict("question -> answer", @inputs, instance: instance)
    assert {:ok, _prediction} = DSPex.chain_of_thought("question -> answer", @inputs, instance: instance)
    tool = DSPex.Tool.new("t", & &1)
    assert {:ok, _prediction} = DSPex.react("question -> answer", [tool], @inputs, instance: instance)
  end

  @tag req: "BC2"
  test "programs are dumped and loaded as JSON text" do
    program = DSPex.Chain.new([DSPex.Predict.new("q -> a", instructions: "Grüße"), DSPex.ChainOfThought.new("a -> b")])
    {:ok, text} = DSPex.dump(program)
    {:ok, loaded} = DSPex.load(text)
    assert DSPex.dump(loaded) == {:ok, text}
    assert {:error, %Error{reason: :protocol_error}} = DSPex.load("{")
    assert {:error, %Error{reason: :invalid_input}} = DSPex.load("[]")
  end
end
