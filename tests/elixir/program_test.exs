defmodule DSPex.ProgramTest do
  use ExUnit.Case, async: true
  doctest DSPex.Ordered
  doctest DSPex.Bytes
  doctest DSPex.Table
  doctest DSPex.Tensor
  doctest DSPex.Refine
  doctest DSPex.Parallel
  doctest DSPex.ProgramOfThought
  doctest DSPex.CodeAct
  doctest DSPex.MultiChainComparison
  doctest DSPex.RLM
  doctest DSPex.KNN
  doctest DSPex.Wire.Json

  alias DSPex.Error
  alias DSPex.Ordered
  alias DSPex.Prediction
  alias DSPex.Program
  alias DSPex.Tool

  @tag req: ["FR1.1.2", "FR1.1.3", "BC2"]
  test "a program is its JSON: written, read back, and the same" do
    tool = Tool.new("search", & &1, desc: "Searches.")

    inner =
      DSPex.Predict.new("question -> answer", demos: [%{"question" => "a", "answer" => "b"}], n: 3, adapter: :json)

    for program <- [
          inner,
          DSPex.ReAct.new("question -> answer", tools: [tool], max_iters: 4, lm: "small", name: "agent"),
          DSPex.Chain.new([inner, DSPex.ChainOfThought.new("answer -> title")], metadata: %{"owner" => "me"}),
          DSPex.BestOfN.new(inner, N: 3, threshold: 0.5),
          DSPex.Predict.new("question -> answer", instructions: "Be short."),
          DSPex.Predict.new(%{"fields" => [%{"name" => "q", "role" => "input"}]}, instructions: "x"),
          DSPex.Custom.new("package.module:Class", config: [depth: 2])
        ] do
      json = Program.to_json(program)
      assert {:ok, back} = Program.from_json(json, tools: [tool])
      assert Program.to_json(back) == json
      {:ok, text, []} = DSPex.Wire.Json.encode(json)
      {:ok, decoded} = DSPex.Wire.Json.decode(IO.iodata_to_binary(text))
      assert {:ok, again} = Program.from_json(decoded, tools: [tool])
      assert Ordered.plain(Program.to_json(again)) == Ordered.plain(json)
    end
  end

  for {vector, index} <- Enum.with_index(DSPex.Test.Vectors.ordered("programs.json")["valid"]) do
    @vector vector
    @tag req: "FR1.1.1"
    test "vector #{index} is read, and written as it was: #{vector["name"]}" do
      json = @vector["program"]
      assert {:ok, program} = Program.from_json(json)
      written = Program.to_json(program)
      assert Ordered.plain(written) == Ordered.plain(json)
      assert written["demos"] == json["demos"]
    end
  end

  for {vector, index} <- Enum.with_index(DSPex.Test.Vectors.ordered("programs.json")["invalid"]), vector["client"] do
    @vector vector
    @tag req: "FR1.1.1"
    test "invalid vector #{index} is no program for a client either: #{vector["name"]}" do
      assert {:error, %Error{reason: :invalid_input}} = Program.from_json(@vector["program"])
    end
  end

  test "the members stand in the order of the schema and the empty ones are left out" do
    program = DSPex.ReAct.new("q -> a", tools: [Tool.new("t", & &1)], max_iters: 2, name: "x")
    assert Ordered.keys(Program.to_json(program)) == ["format", "kind", "name", "signature", "config", "tools"]
    assert Program.to_json(program)["config"] == %{"max_iters" => 2}
    assert Program.tools(DSPex.Chain.new([program])) |> Map.keys() == ["t"]
  end

  test "a program's key tells programs apart, and not the functions of its tools" do
    one = DSPex.ReAct.new("q -> a", tools: [Tool.new("t", fn _arguments -> 1 end)])
    two = DSPex.ReAct.new("q -> a", tools: [Tool.new("t", fn _arguments -> 2 end)])
    other = DSPex.ReAct.new("q -> a", tools: [Tool.new("u", fn _arguments -> 2 end)])
    assert Program.key(one) == Program.key(two)
    assert Program.key(one) != Program.key(other)
    assert Program.key(DSPex.Chain.new([one])) != Program.key(DSPex.Chain.new([other]))
  end

  test "JSON that is no program says what is wrong" do
    for {json, text} <- [
          {%{"format" => 2, "kind" => "predict"}, "format 1"},
          {%{"format" => 1, "kind" => "prophet"}, "known are predict"},
          {%{"format" => 1, "kind" => "predict", "pickle" => 1}, "pickle is no member"},
          {%{"format" => 1, "kind" => "chain", "steps" => [%{"format" => 3}]}, "format 1"},
          {%{"format" => 1, "kind" => "refine", "children" => %{"module" => %{}}}, "format 1"}
        ] do
      assert {:error, %Error{reason: :invalid_input, message: message}} = Program.from_json(json)
      assert message =~ text
    end
  end

  test "a tool that was loaded without its function says so when it is called" do
    json = Program.to_json(DSPex.ReAct.new("q -> a", tools: [Tool.new("t", & &1)]))
    {:ok, %{tools: [tool]}} = Program.from_json(json)
    assert {:error, %Error{reason: :tool_error, message: message}} = Tool.run(tool, %{})
    assert message =~ "without its function"
  end

  test "wrong options raise, naming what is allowed" do
    assert_raise ArgumentError, ~r/adapter is :yaml; it must be one of :chat, :json, :xml/, fn ->
      DSPex.Predict.new("q -> a", adapter: :yaml)
    end

    assert_raise ArgumentError, ~r/unknown option max_iter; known are .*max_iters/, fn ->
      DSPex.ReAct.new("q -> a", max_iter: 1)
    end

    assert DSPex.Predict.new("q -> a", adapter: "xml").adapter == "xml"
    assert "react" in Program.kinds()
  end

  test "Inspect hides demos and instructions" do
    program = DSPex.Predict.new("question -> answer", instructions: "the secret plan", demos: [%{"a" => "secret"}])
    refute inspect(program) =~ "secret"
    assert inspect(DSPex.Predict.new("q -> a")) == ~s(#DSPex.Program<predict "q -> a">)
  end

  test "a prediction reads its outputs by name, and can be changed like a map" do
    {:ok, prediction} = Prediction.from_wire(%{"outputs" => %{"b" => 1, "a" => 2}, "completions" => nil})
    assert prediction.fields == ["a", "b"]
    assert {1, changed} = Access.get_and_update(prediction, :b, fn value -> {value, 3} end)
    assert changed["b"] == 3
    assert {2, popped} = Access.pop(prediction, "a")
    assert popped["a"] == nil
    assert {:error, %Error{reason: :protocol_error}} = Prediction.from_wire(%{"outputs" => 1})
    assert {:error, %Error{reason: :protocol_error}} = Prediction.from_wire([])
  end

  test "an ordered map is an Access and an Enumerable that keeps its order" do
    ordered = Ordered.new([{"b", 1}, {"a", 2}])
    assert Enum.to_list(ordered) == [{"b", 1}, {"a", 2}]
    assert Enum.count(ordered) == 2
    assert {"a", 2} in ordered
    assert Enum.at(ordered, 1) == {"a", 2}
    assert {2, %Ordered{pairs: [{"b", 1}]}} = Access.pop(ordered, "a")
    assert {nil, ^ordered} = Access.pop(ordered, "c")
    assert put_in(ordered["b"], 5).pairs == [{"b", 5}, {"a", 2}]

    assert {1, %Ordered{pairs: [{"a", 2}]}} =
             Access.get_and_update(ordered, "b", fn _value -> :pop end) |> then(fn {_got, rest} -> {1, rest} end)

    assert Ordered.to_map(ordered) == %{"a" => 2, "b" => 1}

    assert Ordered.plain({ordered, %{"x" => ordered}, ~D[2026-01-02]}) ==
             {%{"a" => 2, "b" => 1}, %{"x" => %{"a" => 2, "b" => 1}}, ~D[2026-01-02]}
  end

  @tag req: "FR1.2.4"
  test "what Elixir has beside the value model goes out by documented rules, or is refused" do
    encode = fn term ->
      case DSPex.Wire.Json.encode(term) do
        {:ok, json, []} -> IO.iodata_to_binary(json)
        {:error, error} -> error.reason
      end
    end

    assert encode.(:some_atom) == ~s("some_atom")
    assert encode.(~T[10:20:30]) == ~s("10:20:30")
    assert encode.(%URI{host: "h"} |> Map.from_struct() |> Map.take([:host])) == ~s({"host":"h"})
    assert encode.(%DSPex.Wire.Limits{}) =~ ~s("maps":"plain")
    assert encode.(<<255>>) == ~s({"$type":"bytes","base64":"/w=="})
    assert encode.(<<"\"", 255>>) =~ "bytes"
    assert encode.("a\b\f\r\e\"é") == ~S("a\b\f\r\u001b\"é")

    for term <- [self(), make_ref(), & &1, <<1::3>>, %{1 => 2}, %{<<255>> => 1}, [1 | 2], %{:a => 1, "a" => 2}] do
      assert encode.(term) == :invalid_input
    end

    assert encode.(%DSPex.Tensor{dtype: "c64", shape: [], data: ""}) == :invalid_input
    assert encode.(%DSPex.Tensor{dtype: "u8", shape: :x, data: ""}) == :invalid_input
    assert_raise ArgumentError, fn -> DSPex.Tensor.from_list("u8", [3], [1]) end
    assert inspect(DSPex.Tensor.from_list("s16", [10], Enum.to_list(1..10))) == "#DSPex.Tensor<s16 [10]>"
    assert inspect(DSPex.Table.new("abc")) == "#DSPex.Table<3 bytes>"
  end

  test "the readers of JSON agree with each other on texts of every kind" do
    alias DSPex.Wire.Json
    :rand.seed(:exsss, {1, 1, 1})

    texts =
      [~s({"a":[1,-0.5,1e3,1E-2,true,false,null,"\\u00e9\\ud83d\\ude00\\n\\/"],"b":{}}), " [ ] ", "12", "-0", "1.5e300"] ++
        [
          ~s("\\ud800"),
          ~s("\\udc00\\ud800"),
          ~s("\\x"),
          "[1,]",
          "{\"a\"}",
          "{1:2}",
          "nul",
          "01",
          "1.",
          "\"\n\"",
          "[1 2]",
          "",
          "{\"a\":1}}"
        ]

    mutations =
      for text <- texts, byte_size(text) > 1, _round <- 1..50, do: binary_part(text, 0, :rand.uniform(byte_size(text)))

    for text <- texts ++ mutations, library <- Enum.filter(Json.libraries(), & &1.available?()) do
      case {library.decode(text), Json.Plain.decode(text)} do
        {{:ok, one}, {:ok, two}} -> assert one === two
        {{:error, _problem}, {:error, problem}} -> assert problem =~ "byte"
        other -> flunk("#{inspect(library)} and the plain reader differ on #{inspect(text)}: #{inspect(other)}")
      end
    end

    assert Json.Plain.decode("5e-324") == {:ok, 5.0e-324}
    assert {:ok, [5.0e-324]} = Json.library().decode("[5e-324]")
    assert {:error, _problem} = Json.Plain.decode("1e999")
  end
end
