defmodule DSPex.ToolTest do
  use ExUnit.Case, async: true

  alias DSPex.Error
  alias DSPex.Test.Peer
  alias DSPex.Tool

  # A worker that calls the tool which the question names, and answers with what it got.
  defp script(test) do
    %{
      "module.call" => fn link, id, %{"inputs" => %{"question" => tool}} ->
        params = [{"tool", tool}, {"arguments", %{"x" => 20}}, {"call_id", "c1"}, {"request_id", id}]
        Peer.request(link, 1_000_000 + id, "tool/call", params)
        send(test, {:called, link, 1_000_000 + id})
      end,
      "response" => fn link, id, outcome ->
        answer =
          case outcome do
            {:ok, %{"value" => value}} -> %{"value" => value}
            {:error, error} -> %{"error" => Atom.to_string(error.reason), "message" => error.message}
          end

        send(test, {:answered, answer})
        Peer.result(link, id - 1_000_000, Peer.prediction(%{"answer" => answer}))
      end,
      "$/cancelRequest" => fn _link, nil, %{"id" => id} -> send(test, {:cancelled, id}) end
    }
  end

  defp run(instance, tool, question \\ nil) do
    program = DSPex.ReAct.new("question -> answer", tools: List.wrap(tool), max_iters: 3)
    DSPex.call(program, %{question: question || tool.name}, instance: instance)
  end

  @tag req: "OWN-6"
  test "an Elixir function is run for the worker, and its value or error goes back" do
    instance = Peer.start_instance(__MODULE__.Run, script(self()))

    for {function, expected} <- [
          {fn %{"x" => x} -> x * 2 end, %{"value" => 40}},
          {fn _arguments -> {:ok, %{a: {1, "b"}}} end, %{"value" => %{"a" => {1, "b"}}}},
          {fn _arguments -> {:error, "no luck"} end, {"tool_error", "no luck"}},
          {fn _arguments -> {:error, Error.new(:limit_exceeded, "too much")} end, {"limit_exceeded", "too much"}},
          {fn _arguments -> {:error, %ArgumentError{message: "odd"}} end, {"tool_error", "odd"}},
          {fn _arguments -> {:error, :enoent} end, {"tool_error", ":enoent"}},
          {fn _arguments -> raise "boom" end, {"tool_error", "boom"}},
          {fn _arguments -> throw(:ball) end, {"tool_error", ":ball"}},
          {fn _arguments -> exit(:gone) end, {"tool_error", ":gone"}},
          {fn _arguments -> Process.exit(self(), :kill) end, {"tool_error", "killed"}},
          {fn _arguments -> self() end, {"invalid_input", "a pid"}},
          {fn _arguments -> String.duplicate("x", 1_100_000) end, {"limit_exceeded", "1000000 bytes"}}
        ] do
      assert {:ok, %{outputs: %{"answer" => answer}}} = run(instance, Tool.new("work", function))

      case expected do
        {kind, text} ->
          assert answer["error"] == kind
          assert answer["message"] =~ text

        value ->
          assert answer == value
      end
    end
  end

  @tag req: "OWN-6"
  test "a tool that is not there is a tool error" do
    instance = Peer.start_instance(__MODULE__.Unknown, script(self()))
    assert {:ok, %{outputs: %{"answer" => answer}}} = run(instance, Tool.new("work", & &1), "other")
    assert %{"error" => "tool_error", "message" => "no tool is named other"} = answer
  end

  @tag req: "OWN-6"
  test "a tool is stopped at its timeout" do
    instance = Peer.start_instance(__MODULE__.Timeout, script(self()))
    tool = Tool.new("work", fn _arguments -> Process.sleep(:infinity) end, timeout: 20)
    assert {:ok, %{outputs: %{"answer" => %{"error" => "tool_error", "message" => message}}}} = run(instance, tool)
    assert message =~ "longer than it may"
  end

  @tag req: ["OWN-6", "OWN-1"]
  test "a tool dies with the call that it runs for" do
    test = self()
    instance = Peer.start_instance(__MODULE__.Death, script(test))

    tool =
      Tool.new("work", fn _arguments ->
        send(test, {:tool, self()})
        Process.sleep(:infinity)
      end)

    caller = spawn(fn -> run(instance, tool) end)
    assert_receive {:tool, pid}
    monitor = Process.monitor(pid)
    Process.exit(caller, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^pid, _reason}
    assert_receive {:cancelled, _id}
  end

  @tag req: ["OWN-6", "OWN-1"]
  test "a tool call that the worker cancels is killed and answered as cancelled" do
    test = self()
    instance = Peer.start_instance(__MODULE__.Cancel, script(test))

    tool =
      Tool.new("work", fn _arguments ->
        send(test, {:tool, self()})
        Process.sleep(:infinity)
      end)

    call = Task.async(fn -> run(instance, tool) end)
    assert_receive {:called, link, id}
    assert_receive {:tool, pid}
    monitor = Process.monitor(pid)
    Peer.notify(link, "$/cancelRequest", [{"id", id}])
    assert_receive {:DOWN, ^monitor, :process, ^pid, _reason}
    assert_receive {:answered, %{"error" => "cancelled"}}
    assert {:ok, _prediction} = Task.await(call)
  end

  test "a call of a tool for a request that is over, or in the wrong shape, is refused" do
    test = self()

    script = %{
      "echo" => fn link, id, _params ->
        Peer.request(link, 1, "tool/call", [{"tool", "t"}, {"arguments", %{}}, {"request_id", 12_345}])
        Peer.request(link, 2, "tool/call", [{"tool", "t"}])
        Peer.request(link, 3, "other/method", [])
        Peer.result(link, id, %{"value" => 1})
      end,
      "response" => fn _link, id, {:error, error} -> send(test, {id, error.reason}) end
    }

    instance = Peer.start_instance(__MODULE__.Stale, script)
    assert {:ok, _value} = DSPex.request("echo", [{"value", 1}], instance: instance)
    assert_receive {1, :cancelled}
    assert_receive {2, :invalid_request}
    assert_receive {3, :not_found}
  end

  test "a tool is checked when it is made" do
    assert_raise ArgumentError, ~r/the name of a tool/, fn -> Tool.new("no name", & &1) end
    assert_raise ArgumentError, ~r/one argument/, fn -> Tool.new("name", fn -> 1 end) end
    assert_raise ArgumentError, ~r/unknown options \[:dsc\]/, fn -> Tool.new("name", & &1, dsc: "x") end

    assert Tool.to_json(Tool.new("name", & &1, desc: "d", schema: %{"type" => "object"}, timeout: 5)) ==
             %{"name" => "name", "desc" => "d", "schema" => %{"type" => "object"}, "timeout_ms" => 5}

    assert_raise ArgumentError, ~r/DSPex.Tool.new/, fn -> DSPex.ReAct.new("q -> a", tools: [1]) end
  end
end
