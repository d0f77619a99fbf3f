defmodule DSPex.Native.ResponseTest do
  use ExUnit.Case, async: true

  alias DSPex.Native.Response
  alias DSPex.Native.Response.Partial

  doctest DSPex.Native.Response
  doctest DSPex.Native.Response.Partial

  @tag req: "FR3.2.4"
  test "JSON is found as the whole text, in a fence, in prose, and mended where it is damaged" do
    for {text, value, how} <- [
          {~s( {"a": [1, 2.5, null]} ), %{"a" => [1, 2.5, nil]}, :exact},
          {~s([{"a": "}"}]), [%{"a" => "}"}], :exact},
          {"First:\n```\nnone\n```\nthen\n```json\n{\"a\": 1}\n```", %{"a" => 1}, :found},
          {"cut ```json\n{\"a\": 1}", %{"a" => 1}, :found},
          {~s(The answer is {"a": {"b": 1}}, and {"c": 2}.), %{"a" => %{"b" => 1}}, :found},
          {~s({"a": "x", b: [1, 2,), %{"a" => "x", "b" => [1, 2]}, :repaired},
          {~s({"a": "she said "hi" to me"}), %{"a" => "she said \"hi\" to me"}, :repaired}
        ],
        do: assert({text, Response.json(text)} == {text, {:ok, value, how}})
  end

  @tag req: "FR3.2.4"
  test "a text without JSON, invalid UTF-8 and texts beyond every limit are errors that say what to do" do
    for text <- ["", "Paris", "no braces, only words", <<"{", 0xFF, "}">>, String.duplicate("{'a': ", 50_000)] do
      assert {:error, %DSPex.Error{reason: :invalid_input} = error} = Response.json(text)
      assert error.message =~ "Ask the LM for JSON alone"
    end

    assert {:error, error} = Response.json(String.duplicate(" ", 16_777_217))
    assert error.message =~ "16777217 bytes"
  end

  test "a completion of 10 MB is read, and one of 10 MB that is damaged is refused" do
    long = String.duplicate("x", 10_000_000)
    assert {:ok, %{"a" => ^long}, :exact} = Response.json(~s({"a": "#{long}"}))
    assert {:error, _error} = Response.json(~s({"a": "#{long}))
    assert Response.sections("[[ ## a ## ]]\n" <> long) == %{"a" => long}
    assert Response.partial(~s({"a": "#{long})) == {:ok, %{"a" => long}}
  end

  defp fed(text, size) do
    chunks = for <<byte <- text>>, do: <<byte>>
    chunks |> Enum.chunk_every(size) |> Enum.map(&Enum.join/1) |> Enum.reduce(Partial.new(), &Partial.feed(&2, &1))
  end

  @text ~S(Sure: {"é": "a \"q\" \u00e9 \ud83d\ude00 日本 \\ \n", "n": -12.5e3, "t": [true, false, null, {}, []], "o": {"k": [[1], "x"]}, "é": "last"} bye {)

  @tag req: ["FR3.2.4", "FR1.3.3"]
  test "however a growing text is cut, even inside a character or an escape, its value is the same" do
    whole = %{"é" => "last", "n" => -12_500.0, "t" => [true, false, nil, %{}, []], "o" => %{"k" => [[1], "x"]}}

    for size <- [1, 2, 3, 5, 8, 1000] do
      partial = fed(@text, size)
      assert {Partial.value(partial), Partial.status(partial)} == {{:ok, whole}, :complete}
    end
  end

  @tag req: "FR3.2.4"
  test "every beginning of a text gives a value, and texts only grow" do
    text = ~S({"a": "one \"two\"", "b": [1, 23, "x"], "c": {"d": "e"}})

    values = for size <- 1..byte_size(text), {:ok, value} <- [Response.partial(binary_part(text, 0, size))], do: value

    assert length(values) == byte_size(text)
    assert List.last(values) == %{"a" => "one \"two\"", "b" => [1, 23, "x"], "c" => %{"d" => "e"}}
    texts = values |> Enum.map(&Map.get(&1, "a", "")) |> Enum.chunk_every(2, 1, :discard)
    assert Enum.all?(texts, fn [before, later] -> String.starts_with?(later, before) end)
    refute Enum.any?(values, &(&1["b"] == [2] or &1["b"] == [1, 2]))
  end

  test "what is no JSON is told, and keeps the value that was there" do
    for {text, value} <- [
          {~s({"a": 1, b), %{"a" => 1}},
          {~s({"a": "x" "b"), %{"a" => "x"}},
          {~s([1, nope]), [1]},
          {~s([1, "\\q"), [1]},
          {~s({"a"]), %{}}
        ] do
      partial = Partial.feed(Partial.new(), text)
      assert {text, Partial.status(partial), Partial.value(partial)} == {text, :broken, {:ok, value}}
      assert Partial.feed(partial, "more") == partial
    end

    assert Partial.status(Partial.feed(Partial.new(), "no json")) == :waiting
    assert Partial.value(Partial.feed(Partial.new(), "no json")) == :none
    assert Partial.status(Partial.feed(Partial.new(), String.duplicate("[", 5000))) == :broken
    assert Partial.status(Partial.feed(Partial.new(), <<"[\"", 0xFF, "x">>)) == :broken
    assert Response.partial("[1, 2,]") == {:ok, [1, 2]}
  end
end
