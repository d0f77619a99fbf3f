defmodule DSPex.Interop.LearningTest do
  # Evaluation and optimisers with the real worker and DSPy.
  use ExUnit.Case, async: true

  alias DSPex.Error
  alias DSPex.Native
  alias DSPex.Test.OpenAI

  doctest DSPex.LM

  @moduletag timeout: 180_000
  @facts "Paris is the capital of France. Berlin is the capital of Germany. Rome is the capital of Italy."
  @program DSPex.Predict.new("context, question -> answer")

  setup_all do
    start_supervised!({DSPex, name: __MODULE__, pools: [default: [workers: 1, lm: "offline/extractive"]]})
    :ok = DSPex.await_ready(__MODULE__, 120_000)
    :ok
  end

  defp asked(country, answer), do: {%{context: @facts, question: "capital of #{country}?"}, %{answer: answer}}

  @tag req: "FR1.1.4"
  test "the LMs of a worker are listed and tested" do
    assert {:ok, lms} = DSPex.LM.list(instance: __MODULE__)
    assert Enum.any?(lms, &match?(%{"name" => "default", "model" => "offline/extractive", "default" => true}, &1))

    assert {:ok, %{"ok" => true, "model" => "offline/extractive", "latency_ms" => ms}} =
             DSPex.LM.test(nil, instance: __MODULE__)

    assert ms > 0
    assert {:error, %Error{reason: :not_found}} = DSPex.LM.test("nope", instance: __MODULE__)
  end

  test "a program is given another LM by its name" do
    program = DSPex.LM.with(@program, "offline/extractive")
    assert {:ok, _prediction} = DSPex.call(program, elem(asked("France", ""), 0), instance: __MODULE__)
    program = DSPex.LM.with(@program, "nope")

    assert {:error, %Error{reason: :not_found}} =
             DSPex.call(program, elem(asked("France", ""), 0), instance: __MODULE__)
  end

  @tag req: "FR1.1.4"
  test "a worker dumps a program with the state of its predictors, and it loads as a program that runs" do
    assert {:ok, text} = DSPex.dump(@program, instance: __MODULE__)
    assert {:ok, %DSPex.Program{kind: "predict", state: state} = loaded} = DSPex.load(text)
    assert map_size(DSPex.Ordered.plain(state)) > 0
    assert {:ok, _prediction} = DSPex.call(loaded, elem(asked("France", ""), 0), instance: __MODULE__)
    assert {:error, %Error{reason: :not_found}} = DSPex.dump(@program, instance: __MODULE__, pool: :none)
  end

  @tag req: "OWN-10"
  test "a program is scored by a named metric, and its progress is told" do
    test = self()
    examples = [asked("France", "Paris"), asked("Germany", "Berlin"), asked("Italy", "Atlantis")]

    options = [
      instance: __MODULE__,
      metric: :contains,
      concurrency: 1,
      on_progress: &send(test, {:progress, &1})
    ]

    assert {:ok, %{"score" => score, "total" => 3, "failed" => 0, "results" => results}} =
             DSPex.evaluate(@program, examples, options)

    assert [0, 1, 2] = Enum.map(results, & &1["index"])
    assert List.last(results)["score"] == 0.0
    assert_in_delta score, Enum.sum(Enum.map(results, & &1["score"])) / 3, 1.0e-9
    for done <- 1..3, do: assert_received({:progress, %{done: ^done, total: 3, score: _score}})
  end

  @tag req: ["OWN-6", "OWN-10"]
  test "an Elixir function is the metric; where it raises, its example fails" do
    metric = fn example, outputs ->
      if example.outputs["answer"] == "?", do: raise("nobody knows")
      outputs["answer"] =~ example.outputs["answer"]
    end

    examples = [asked("France", "Paris"), asked("Germany", "?"), asked("Italy", "Atlantis")]

    assert {:ok, %{"results" => [right, failed, wrong], "failed" => 1}} =
             DSPex.evaluate(@program, examples, instance: __MODULE__, metric: metric)

    assert right["score"] == 1.0
    assert wrong["score"] == 0.0
    assert %{"score" => 0.0, "error" => %Error{reason: :tool_error, message: message}} = failed
    assert message =~ "nobody knows"
  end

  @tag req: "NFR4.1.4"
  test "wrong metrics, examples and optimizers are named" do
    examples = [asked("France", "Paris")]

    for {examples, options, words} <- [
          {examples, [metric: :nope], "exact_match"},
          {examples, [metric: 5], "metric is 5"},
          {[5], [metric: :f1], "not 5"},
          {5, [metric: :f1], "the examples are a list"},
          {[], [metric: :f1], "is empty"},
          {examples, [metric: :f1, concurrency: 0], "1 to 256"}
        ] do
      assert {:error, %Error{message: message}} =
               DSPex.evaluate(@program, examples, [{:instance, __MODULE__} | options])

      assert message =~ words
    end

    assert {:error, %Error{reason: :invalid_input, message: message}} =
             DSPex.optimize(@program, examples, instance: __MODULE__, metric: :f1, optimizer: :gepa)

    assert message =~ "bootstrap_few_shot"
  end

  test "what the function of the progress raises is the caller's, and the work ends" do
    options = [instance: __MODULE__, metric: :f1, on_progress: fn _progress -> raise "enough" end]
    assert_raise RuntimeError, "enough", fn -> DSPex.evaluate(@program, [asked("France", "Paris")], options) end
    assert {:ok, _prediction} = DSPex.call(@program, elem(asked("France", ""), 0), instance: __MODULE__)
  end

  @tag req: ["OWN-5", "OWN-10"]
  test "an optimised program runs in Python and natively, with the demos that it made in the prompt" do
    trainset = [asked("France", "Paris"), asked("Germany", "Berlin"), asked("Italy", "Rome")]

    metric = fn example, outputs -> outputs["answer"] =~ example.outputs["answer"] end
    optimizer = {:bootstrap_few_shot, max_bootstrapped_demos: 1, max_labeled_demos: 2}
    options = [instance: __MODULE__, metric: metric, optimizer: optimizer]
    assert {:ok, %{program: better, bootstrapped: 1, failed: 0}} = DSPex.optimize(@program, trainset, options)

    {inputs, _expected} = asked("Spain", "?")
    assert {:ok, %{outputs: %{"answer" => _answer}}} = DSPex.call(better, inputs, instance: __MODULE__)
    assert {:ok, messages} = Native.Program.messages(better, inputs)
    assert {:ok, bare} = Native.Program.messages(@program, inputs)
    assert length(messages) == length(bare) + 4
    assert inspect(messages, limit: :infinity, printable_limit: :infinity) =~ "capital of Germany?"

    assert {:ok, text} = DSPex.dump(better)
    assert {:ok, loaded} = DSPex.load(text)
    assert Native.Program.messages(loaded, inputs) == {:ok, messages}
  end

  @tag req: "OWN-5"
  test "Python and Elixir send the LM the very same prompts of an optimised program" do
    base_url = OpenAI.start()
    name = Module.concat(__MODULE__, Prompts)
    env = [{"OPENAI_BASE_URL", base_url}, {"OPENAI_API_KEY", "sk-test-secret"}]
    start_supervised!({DSPex, name: name, pools: [default: [workers: 1, lm: "openai/any", env: env]]})
    :ok = DSPex.await_ready(name, 120_000)
    trainset = [{[question: "1 + 1?"], [answer: 2]}, {[question: "2 + 2?"], [answer: 4]}]
    program = DSPex.ChainOfThought.new("question -> answer: int", instructions: "Count well.")
    OpenAI.push(base_url, for(n <- [2, 5], do: %{"fields" => %{"reasoning" => "I add.", "answer" => "#{n}"}}))

    assert {:ok, %{program: better, tried: 2, bootstrapped: 1}} =
             DSPex.optimize(program, trainset, instance: name, metric: :exact_match)

    OpenAI.push(base_url, [%{"fields" => %{"reasoning" => "I add.", "answer" => "6"}}])
    assert {:ok, %{outputs: %{"answer" => 6}}} = DSPex.call(better, [question: "3 + 3?"], instance: name)
    {200, %{"requests" => requests}} = OpenAI.await(base_url, "requests=3")
    assert {:ok, messages} = Native.Program.messages(better, question: "3 + 3?")
    assert List.last(requests)["body"]["messages"] == messages
    assert length(messages) == 6
  end
end
