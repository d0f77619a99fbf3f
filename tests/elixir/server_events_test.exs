defmodule DSPex.ServerEventsTest do
  use ExUnit.Case, async: true
  doctest DSPex.ServerEvents
  doctest DSPex.Trace

  alias DSPex.Error
  alias DSPex.Event
  alias DSPex.ServerEvents
  alias DSPex.Test.Peer

  @program DSPex.Predict.new("question -> answer")
  @inputs %{question: "?"}

  defp collect(stream, pause \\ :infinity),
    do: stream |> ServerEvents.reduce(pause, [], &{:cont, [ServerEvents.encode(&1) | &2]}) |> Enum.reverse()

  @tag req: ["FR1.3.3", "NFR5.2.2"]
  test "the events of a stream come in order, with their numbers, and the result last" do
    script = %{
      "module.call" => fn link, id, _params ->
        Peer.event(link, id, 0, %{"type" => "tool_end", "tool" => "t", "call_id" => "c", "ok" => true, "result" => [1]})
        Peer.event(link, id, 1, Peer.token("line\nbreak", true))
        Peer.result(link, id, Peer.prediction(%{"answer" => "x\ny"}))
      end
    }

    instance = Peer.start_instance(__MODULE__.Order, script)

    assert [tool, token, result] = collect(DSPex.stream(@program, @inputs, instance: instance))
    assert tool =~ ~r/\Aid: 0\nevent: tool_end\ndata: \{[^\n]*"ok":true[^\n]*\}\n\n\z/
    assert token =~ ~r/\Aid: 1\nevent: token\ndata: \{[^\n]*"text":"line\\nbreak"[^\n]*\}\n\n\z/
    assert result =~ ~r/\Aevent: result\ndata: \{[^\n]*"outputs":\{"answer":"x\\ny"\}[^\n]*\}\n\n\z/
    assert {:messages, []} = Process.info(self(), :messages)
  end

  test "an error is the last event, and its problem details have the HTTP status" do
    error = Error.new(:lm_error, "429 from the provider", retry_after: 3, details: %{"status" => 429})

    instance =
      Peer.start_instance(__MODULE__.Failure, %{"module.call" => fn link, id, _ -> Peer.error(link, id, error) end})

    assert [text] = collect(DSPex.stream(@program, @inputs, instance: instance))
    assert text =~ ~r/\Aevent: error\ndata: \{[^\n]*"kind":"lm_error"[^\n]*\}\n\n\z/
    assert text =~ ~s("retry_after":3)
    {:ok, problem} = error |> ServerEvents.problem() |> IO.iodata_to_binary() |> DSPex.Wire.Json.decode()
    assert %{"title" => "lm_error", "status" => status, "detail" => "429 from the provider", "retryable" => _} = problem
    assert status == Error.http_status(error)
  end

  @tag req: "OWN-1"
  test "heartbeats come while nothing else does; halting cancels the call" do
    test = self()

    script = %{
      "module.call" => fn _link, id, _params -> send(test, {:called, id}) end,
      "$/cancelRequest" => fn _link, nil, %{"id" => id} -> send(test, {:cancelled, id}) end
    }

    instance = Peer.start_instance(__MODULE__.Heartbeat, script)
    stream = DSPex.stream(@program, @inputs, instance: instance)
    # The first heartbeat waits until the worker has the call.
    count = fn
      :heartbeat, 0 -> {:cont, assert_receive({:called, _id}, 5_000)}
      :heartbeat, {:called, id} -> {:halt, id}
    end

    id = ServerEvents.reduce(stream, 5, 0, count)
    assert_receive {:cancelled, ^id}, 5_000
    assert {:messages, []} = Process.info(self(), :messages)
  end

  @tag req: ["OWN-1", "OWN-4"]
  test "the stream is read one event at a time, and the end of the reducing process cancels it" do
    test = self()

    script = %{
      "module.call" => fn link, id, _params ->
        for seq <- 0..31, do: Peer.event(link, id, seq, Peer.token("#{seq}"))
        send(test, {:called, id})
      end,
      "stream/credit" => fn _link, nil, _params -> send(test, :granted) end,
      "$/cancelRequest" => fn _link, nil, %{"id" => id} -> send(test, {:cancelled, id}) end
    }

    instance = Peer.start_instance(__MODULE__.Demand, script)

    reducer =
      spawn(fn ->
        stream = DSPex.stream(@program, @inputs, instance: instance, owner: self())

        ServerEvents.reduce(stream, :infinity, 0, fn %Event{}, count ->
          if(count < 8, do: {:cont, count + 1}, else: hold(test))
        end)
      end)

    assert_receive :holding, 5_000
    assert_receive {:called, id}, 5_000
    refute_received :granted
    Process.exit(reducer, :kill)
    assert_receive {:cancelled, ^id}, 5_000
  end

  defp hold(test) do
    send(test, :holding)
    Process.sleep(:infinity)
  end
end
