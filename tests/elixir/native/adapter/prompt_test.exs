defmodule DSPex.Native.AdapterPromptTest do
  use ExUnit.Case, async: true

  alias DSPex.Native.Adapter.Chat
  alias DSPex.Native.Adapter.JSON
  alias DSPex.Native.Adapter.Markers
  alias DSPex.Native.Adapter.XML
  alias DSPex.Ordered
  alias DSPex.Signature

  @adapters [Chat, JSON, XML]

  defp contents(messages), do: Enum.map(messages, &{&1["role"], &1["content"]})

  @tag req: ["FR3.2.1", "OWN-5"]
  test "incomplete demos come first with a remark, useless ones are left out" do
    signature = Signature.parse!("q, k: int -> a, s: float")
    demos = [%{q: "1", k: 1, a: "x", s: 0.5}, %{q: "2", a: "y"}, %{q: "only input"}, %{a: "only output"}]

    [_system, incomplete, partial, complete, _answer, request] =
      signature |> Chat.format(demos, q: "now", k: 2) |> contents()

    assert {"user", "This is an example of the task, though" <> _rest} = incomplete
    assert elem(partial, 1) =~ "[[ ## s ## ]]\nNot supplied for this particular example.\n"
    assert elem(complete, 1) == "[[ ## q ## ]]\n1\n\n[[ ## k ## ]]\n1"
    assert elem(request, 1) =~ "then `[[ ## s ## ]]` (must be formatted as a valid Python float)"
  end

  @tag req: "FR3.2.1"
  test "plain maps print with sorted keys, ordered ones in their order" do
    signature = Signature.parse!("m: dict[str, Any] -> a")
    [_system, sorted] = signature |> Chat.format([], m: %{"b" => 1, "a" => 2}) |> contents()
    assert elem(sorted, 1) =~ ~s({"a": 2, "b": 1})
    [_system, kept] = signature |> Chat.format([], m: Ordered.new([{"b", 1}, {"a", 2}])) |> contents()
    assert elem(kept, 1) =~ ~s({"b": 1, "a": 2})
  end

  @tag req: "FR3.2.1"
  test "Elixir's own values print as Python's" do
    signature = Signature.parse!("x: Any -> a")

    for {value, text} <- [
          {nil, "None"},
          {true, "True"},
          {1.0e22, "1e+22"},
          {~U[2024-01-02 03:04:05Z], "2024-01-02T03:04:05Z"},
          {~D[2024-01-02], "2024-01-02"},
          {{1, "a"}, ~s([1, "a"])},
          {MapSet.new([1]), "[1]"},
          {[:nan, 0.5], "[null, 0.5]"},
          {%DSPex.Bytes{data: "raw"}, "raw"},
          {:infinity, "inf"}
        ] do
      [_system, {"user", content}] = signature |> Chat.format([], x: value) |> contents()
      assert content =~ "[[ ## x ## ]]\n#{text}\n\nRespond"
    end
  end

  @tag req: ["FR3.2.1", "OWN-5"]
  test "a history becomes turns, and its field leaves the request" do
    signature = Signature.parse!("question, history: dspy.History -> answer")
    history = [%{question: "hi", answer: "hello"}, %{question: "only asked"}]

    for adapter <- @adapters do
      messages = signature |> adapter.format([], question: "now", history: history) |> contents()
      assert Enum.map(messages, &elem(&1, 0)) == ~w(system user assistant user assistant user)
      refute elem(List.last(messages), 1) =~ "history"
      assert [{"system", _text}, {"user", _request}] = signature |> adapter.format([], question: "now") |> contents()
    end
  end

  @tag req: "FR3.2.1"
  test "results of tools follow their turn" do
    signature = Signature.parse!("question, history: dspy.History -> tool_calls: dspy.ToolCalls")
    calls = [%{id: "c1", name: "search", args: %{q: "x"}}]
    results = [%{call_id: "c1", name: "search", value: "found"}]
    turn = %{question: "find", tool_calls: %{tool_calls: calls, tool_call_results: results}}
    messages = signature |> Chat.format([], question: "now", history: [turn]) |> contents()
    assert ["system", "user", "assistant", "user", "user"] = Enum.map(messages, &elem(&1, 0))

    assert {"assistant", ~s([[ ## tool_calls ## ]]\n{"tool_calls": [{"name": "search", "args": {"q": "x"}}]}) <> _rest} =
             Enum.at(messages, 2)

    assert elem(Enum.at(messages, 3), 1) ==
             ~s([[ ## tool_call_results ## ]]\n{"tool_call_results": [{"call_id": "c1", "name": "search", "value": "found", "is_error": false}]})
  end

  @tag req: "FR3.2.1"
  test "the JSON adapter sends calls and answers of tools as messages of their own" do
    signature = Signature.parse!("question, history: dspy.History -> tool_calls: dspy.ToolCalls")
    calls = [%{id: "c1", name: "search", args: %{q: "x"}}]
    results = [%{call_id: "c1", name: "search", value: %{"hits" => 2}}]
    turn = %{question: "find", tool_calls: %{tool_calls: calls, tool_call_results: results}}
    [_system, _user, assistant, tool, _request] = JSON.format(signature, [], question: "now", history: [turn])
    function = %{"name" => "search", "arguments" => ~s({"q": "x"})}

    assert assistant == %{
             "role" => "assistant",
             "content" => nil,
             "tool_calls" => [%{"id" => "c1", "type" => "function", "function" => function}]
           }

    assert tool == %{"role" => "tool", "tool_call_id" => "c1", "name" => "search", "content" => ~s({"hits": 2})}
    without = %{turn | tool_calls: %{tool_calls: calls}}
    assert [_system, _user, %{"role" => "user"}] = JSON.format(signature, [], question: "now", history: [without])
  end

  @tag req: "FR3.2.1"
  test "images become parts of the message" do
    signature = Signature.parse!("image: dspy.Image, question -> answer")
    image = {:dspy, "Image", [{"url", "https://example.com/a.png"}]}
    [_system, %{"content" => [before, part, rest]}] = Chat.format(signature, [], image: image, question: "what?")
    assert before == %{"type" => "text", "text" => "[[ ## image ## ]]\n"}
    assert part == %{"type" => "image_url", "image_url" => %{"url" => "https://example.com/a.png"}}
    assert rest["text"] =~ "what?"
  end

  @tag req: "FR3.2.1"
  test "marks typed by a user can be broken, and open marks stay text" do
    text = "<<CUSTOM-TYPE-START-IDENTIFIER>>[]<<CUSTOM-TYPE-END-IDENTIFIER>>"
    signature = Signature.parse!("q -> a")
    assert [_system, %{"content" => parts}] = Chat.format(signature, [], q: text)
    assert is_list(parts)
    assert [_system, %{"content" => safe}] = Chat.format(signature, [], q: Markers.neutralize(text))
    assert is_binary(safe)

    assert [_system, %{"content" => [%{"type" => "text"}]}] =
             Chat.format(signature, [], q: "<<CUSTOM-TYPE-START-IDENTIFIER>> open")
  end

  @tag req: "FR3.2.1"
  test "the constant part of a prompt is the same when it is built again" do
    text = "question_#{System.unique_integer([:positive])} -> answer: list[int]"
    signature = Signature.parse!(text)
    first = Chat.format(signature, [], %{})
    assert Chat.format(Signature.parse!(text), [], %{}) == first
    other = Signature.with_instructions(signature, "Other.")
    refute hd(Chat.format(other, [], %{})) == hd(first)
  end

  @tag req: "FR3.2.1"
  test "a structured output lists every property as required and names why it can't be made" do
    signature = Signature.parse!("q -> user_name: str, tags: list[str], calls: dspy.ToolCalls")
    assert {:ok, schema} = JSON.response_schema(signature)
    schema = Ordered.to_map(schema, deep: true)
    assert schema["required"] == ["user_name", "tags"]
    assert schema["properties"]["user_name"]["title"] == "User Name"
    assert {:ok, full} = JSON.response_schema(signature, native_tool_calls: false)
    assert full["$defs"]
    assert {:error, reason} = JSON.response_schema(Signature.parse!("q -> m: dict[str, int]"))
    assert reason =~ "`m`"
    assert {:error, _reason} = JSON.response_schema(Signature.parse!("q -> t: list[dspy.Tool]"))
  end
end
