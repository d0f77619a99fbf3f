defmodule DSPex.Pipeline.JsonTest do
  use ExUnit.Case, async: true

  alias DSPex.Pipeline

  @moduletag req: "FR4.2.3"
  @moduletag :tmp_dir

  defp functions do
    %{
      "score" => fn %{"answer" => answer} -> %{"score" => byte_size(answer)} end,
      "long?" => &(byte_size(&1["topic"]) > 3)
    }
  end

  defp pipeline do
    functions = functions()

    Pipeline.new!(
      [
        {:conditional, functions["long?"], {:native, :template, template: "About {{topic}}", as: "answer"},
         {:native, :rename, field: "topic", as: "answer"}, name: "long?"},
        {:parallel, [{functions["score"], name: "score", inputs: ["answer"], outputs: ["score"], retries: 2}],
         max_concurrency: 3},
        {:native, :normalize,
         field: "answer", as: "plain", on_error: {:fallback, {:native, :rename, field: "answer", as: "plain"}}}
      ],
      name: "explain",
      inputs: ["topic"],
      timeout: 5_000
    )
  end

  test "a pipeline that was kept by its name runs as before", %{tmp_dir: folder} do
    assert {:ok, path} = Pipeline.save(pipeline(), folder)
    assert Path.basename(path) == "explain.json"
    assert {:ok, loaded} = Pipeline.load(folder, "explain", functions: functions())
    assert Pipeline.explain(loaded) == Pipeline.explain(pipeline())
    assert Pipeline.run!(loaded, %{topic: "Tides"}).fields == Pipeline.run!(pipeline(), %{topic: "Tides"}).fields
    assert Pipeline.to_json(loaded) == Pipeline.to_json(pipeline())
  end

  test "programs, maps, reductions and inner pipelines are kept whole" do
    program = DSPex.ChainOfThought.new("question -> answer", temperature: 0.5)
    sum = {fn f -> %{acc: f["acc"] + f["item"]} end, name: "sum", inputs: ["acc", "item"], outputs: ["acc"]}
    inner = Pipeline.new!([{:python, program, rename: %{"answer" => "reply"}, timeout: 100, lm: "fast"}], name: "inner")
    steps = [{:map, "questions", inner, as: "question", max_concurrency: 2}, {:reduce, "numbers", sum, 0, acc: "acc"}]
    built = Pipeline.new!(steps, inputs: ["questions", "numbers"])

    assert {:ok, json} = Pipeline.to_json(built)
    assert {:ok, read} = Pipeline.from_json(json, functions: %{"sum" => elem(sum, 0)})
    assert Pipeline.to_json(read) == {:ok, json}
    assert Pipeline.explain(read) == Pipeline.explain(built)
  end

  test "a function without a name cannot be kept, and one that is not given cannot be read" do
    assert {:error, error} = Pipeline.to_json(Pipeline.new!([fn f -> f end]))
    assert error.message =~ "give it one (name:"
    {:ok, json} = Pipeline.to_json(pipeline())
    assert {:error, error} = Pipeline.from_json(json)
    assert error.message =~ ~s(pass functions: %{"long?" => fun})
  end

  test "what is no pipeline is refused with the reason", %{tmp_dir: folder} do
    for {json, text} <- [
          {%{"format" => 2}, "its format is 2"},
          {%{"format" => 1}, "its steps are no list"},
          {%{"format" => 1, "steps" => [%{"step" => "dance"}]}, "no step \"dance\""},
          {%{"format" => 1, "steps" => [%{"step" => "native", "operation" => "dance"}]}, "no native operation"},
          {%{"format" => 1, "steps" => [%{"step" => "program", "program" => %{"kind" => "x"}}]}, "program"}
        ] do
      assert {:error, error} = Pipeline.from_json(json)
      assert error.message =~ text
    end

    assert {:error, %{reason: :not_found}} = Pipeline.load(folder, "absent")
    assert {:error, %{reason: :invalid_input}} = Pipeline.load(folder, "../secrets")
    File.write!(Path.join(folder, "broken.json"), "{")
    assert {:error, %{message: message}} = Pipeline.load(folder, "broken")
    assert message =~ "is no JSON"
  end

  test "the graph is drawn as text and as Mermaid" do
    text = Pipeline.explain(pipeline())
    assert text =~ "explain: topic -> "
    assert text =~ "2 retries"
    mermaid = Pipeline.explain(pipeline(), :mermaid)
    assert mermaid =~ ~s|inputs(["topic"])|
    assert mermaid =~ "inputs --> s1"
    assert mermaid =~ "s2 --> s2_1"
  end
end
