defmodule DSPex.StreamTest do
  use ExUnit.Case, async: true

  alias DSPex.Error
  alias DSPex.Event
  alias DSPex.Test.Peer

  @program DSPex.Predict.new("question -> answer")
  @inputs %{question: "?"}

  @tag req: ["FR1.3.3", "FR2.2.4", "OWN-4"]
  test "events come in order and the prediction is the last one" do
    script = %{
      "module.call" => fn link, id, %{"_meta" => %{"stream" => true, "credit" => 32}} ->
        Peer.event(link, id, 0, %{"type" => "status", "message" => "thinking"})
        Peer.event(link, id, 1, Peer.token("Pa"))
        Peer.event(link, id, 2, %{"type" => "from the future"})
        Peer.event(link, id, 3, Peer.token("ris", true))
        Peer.result(link, id, Peer.prediction(%{"answer" => "Paris"}))
      end
    }

    instance = Peer.start_instance(__MODULE__.Order, script)

    assert [
             %Event{type: :status, message: "thinking", seq: 0},
             %Event{type: :token, field: "answer", text: "Pa", last?: false},
             %Event{type: :token, text: "ris", last?: true, seq: 3},
             %Event{type: :done, prediction: %{outputs: %{"answer" => "Paris"}, meta: %{"route" => "python"}}}
           ] = Enum.to_list(DSPex.stream(@program, @inputs, instance: instance))

    assert {:messages, []} = Process.info(self(), :messages)
  end

  test "a stream starts when it is enumerated, and anew each time" do
    test = self()

    script = %{
      "module.call" => fn link, id, _params ->
        send(test, :started)
        Peer.result(link, id, Peer.prediction(%{"answer" => "x"}))
      end
    }

    instance = Peer.start_instance(__MODULE__.Lazy, script)
    stream = DSPex.stream(@program, @inputs, instance: instance)
    refute_received :started
    assert [%Event{type: :done}] = Enum.to_list(stream)
    assert [%Event{type: :done}] = Enum.to_list(stream)
    assert_received :started
    assert_received :started
  end

  @tag req: ["FR2.2.4", "OWN-4"]
  test "the worker gets credit only as fast as the stream is read" do
    test = self()

    script = %{
      "module.call" => fn link, id, _params ->
        for seq <- 0..31, do: Peer.event(link, id, seq, Peer.token("#{seq}"))
        send(test, {:waiting, id})
      end,
      "stream/credit" => fn link, nil, %{"id" => id, "n" => n} ->
        send(test, {:credit, n})
        Peer.event(link, id, 32, Peer.token("32", true))
        Peer.result(link, id, Peer.prediction(%{"answer" => "x"}))
      end
    }

    instance = Peer.start_instance(__MODULE__.Credit, script)

    reader = fn event, count ->
      if count == 10, do: refute_received({:credit, _n})
      {event, count + 1}
    end

    {events, 34} = Enum.map_reduce(DSPex.stream(@program, @inputs, instance: instance), 0, reader)
    assert_received {:credit, 16}
    assert %Event{type: :done} = List.last(events)
  end

  @tag req: ["OWN-1", "FR2.2.4"]
  test "a halted stream is cancelled in the worker and leaves nothing in the mailbox" do
    test = self()

    script = %{
      "module.call" => fn link, id, _params ->
        for seq <- 0..31, do: Peer.event(link, id, seq, Peer.token("#{seq}"))
      end,
      "$/cancelRequest" => fn _link, nil, %{"id" => id} -> send(test, {:cancelled, id}) end
    }

    instance = Peer.start_instance(__MODULE__.Halt, script)
    assert [%Event{text: "0"}, %Event{text: "1"}] = Enum.take(DSPex.stream(@program, @inputs, instance: instance), 2)
    assert_receive {:cancelled, _id}
    assert {:messages, []} = Process.info(self(), :messages)
  end

  @tag req: "OWN-1"
  test "the death of the reader cancels the stream" do
    test = self()

    script = %{
      "module.call" => fn link, id, _params ->
        Peer.event(link, id, 0, Peer.token("a"))
        send(test, {:called, id})
      end,
      "$/cancelRequest" => fn _link, nil, %{"id" => id} -> send(test, {:cancelled, id}) end
    }

    instance = Peer.start_instance(__MODULE__.Death, script)
    reader = spawn(fn -> Stream.run(DSPex.stream(@program, @inputs, instance: instance)) end)
    assert_receive {:called, id}
    Process.exit(reader, :kill)
    assert_receive {:cancelled, ^id}
  end

  test "an error is raised, before the first event and in the middle" do
    script = %{
      "module.call" => fn link, id, %{"inputs" => %{"question" => question}} ->
        if question == "late", do: Peer.event(link, id, 0, Peer.token("a"))
        Peer.error(link, id, Error.new(:lm_error, "429 from the provider", retry_after: 3))
      end
    }

    instance = Peer.start_instance(__MODULE__.Failure, script)

    for question <- ["early", "late"] do
      error =
        assert_raise Error, fn -> Stream.run(DSPex.stream(@program, %{question: question}, instance: instance)) end

      assert %{reason: :lm_error, retry_after: 3} = error
    end

    error = assert_raise Error, fn -> Stream.run(DSPex.stream(@program, @inputs, instance: Nowhere)) end
    assert error.reason == :unavailable
  end

  test "a worker that lacks the program gets it before the first event" do
    puts = :counters.new(1, [])

    script = %{
      "program.put" => fn link, id, _params ->
        :counters.add(puts, 1, 1)
        Peer.result(link, id, %{"module" => "abc"})
      end,
      "module.call" => fn link, id, _params ->
        if :counters.get(puts, 1) == 2 do
          Peer.event(link, id, 0, Peer.token("a", true))
          Peer.result(link, id, Peer.prediction(%{"answer" => "a"}))
        else
          Peer.error(link, id, Error.new(:not_found, "none", need: "program"))
        end
      end
    }

    instance = Peer.start_instance(__MODULE__.Need, script)

    assert [%Event{type: :token}, %Event{type: :done}] =
             Enum.to_list(DSPex.stream(@program, @inputs, instance: instance))
  end

  @tag req: "FR2.2.4"
  test "a worker that sends more events than it was granted loses the call, not the pool" do
    script = %{
      "module.call" => fn link, id, %{"inputs" => %{"question" => question}} ->
        if question == "flood",
          do: for(seq <- 0..100, do: Peer.event(link, id, seq, Peer.token("#{seq}"))),
          else: Peer.result(link, id, Peer.prediction(%{"answer" => "calm"}))
      end
    }

    instance = Peer.start_instance(__MODULE__.Flood, script)
    slow = fn _event -> assert {:ok, _calm} = DSPex.call(@program, %{question: "calm"}, instance: instance) end

    # The reader takes one event and then sleeps in a call, so that the worker outruns it.
    error =
      assert_raise Error, fn -> Enum.each(DSPex.stream(@program, %{question: "flood"}, instance: instance), slow) end

    assert error.reason in [:protocol_error]
    assert {:ok, _calm} = DSPex.call(@program, %{question: "calm"}, instance: instance)
  end

  @tag req: "NFR5.2.4"
  test "a stream tells telemetry how it ended" do
    test = self()
    script = %{"module.call" => fn link, id, _params -> Peer.event(link, id, 0, Peer.token("a")) end}
    instance = Peer.start_instance(__MODULE__.Telemetry, script)
    handler = fn _event, measurements, metadata, nil -> send(test, {metadata.instance, measurements, metadata}) end
    :ok = DSPex.Telemetry.attach(__MODULE__, [:dspex, :stream, :stop], handler, nil)
    Enum.take(DSPex.stream(@program, @inputs, instance: instance), 1)
    assert_receive {^instance, %{events: 1, duration: _}, %{result: :halted}}
    DSPex.Telemetry.detach(__MODULE__)
  end
end
