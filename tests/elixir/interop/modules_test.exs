defmodule DSPex.Interop.ModulesTest do
  # The kinds of programs beyond Predict, made in Elixir and run by DSPy.
  use ExUnit.Case, async: true

  alias DSPex.Error
  alias DSPex.Tool

  @moduletag timeout: 180_000
  @signature "context, question -> answer"
  @inputs %{context: "The mill is red. The barn is green.", question: "How is the barn?"}
  @answer "The barn is green."

  setup_all do
    start_supervised!({DSPex, name: __MODULE__, pools: [default: [workers: 1, lm: "offline/extractive"]]})
    :ok = DSPex.await_ready(__MODULE__, 120_000)
    :ok
  end

  defp outputs(program, inputs \\ @inputs) do
    assert {:ok, prediction} = DSPex.call(program, inputs, instance: __MODULE__, timeout: 60_000)
    prediction.outputs
  end

  @tag req: ["FR1.1.1", "FR1.1.2"]
  test "BestOfN and Refine ask an Elixir function how good an attempt is" do
    test = self()

    reward =
      Tool.new("reward", fn %{"outputs" => outputs} ->
        send(test, {:attempt, outputs["answer"]})
        0.5
      end)

    for module <- [DSPex.BestOfN, DSPex.Refine] do
      program = module.new(DSPex.Predict.new(@signature), N: 2, threshold: 1.0, reward: "reward", tools: [reward])
      assert outputs(program)["answer"] == @answer
      for _attempt <- 1..2, do: assert_receive({:attempt, @answer})
      refute_received {:attempt, _third}
    end
  end

  @tag req: ["FR1.1.1", "FR1.1.2"]
  test "Parallel runs its program over items" do
    program = DSPex.Parallel.new(DSPex.Predict.new(@signature), num_threads: 2, max_errors: 1)

    assert %{"results" => [%{"answer" => @answer}, %{"answer" => @answer}]} =
             outputs(program, %{items: [@inputs, @inputs]})
  end

  @tag req: ["FR1.1.1", "FR1.1.2"]
  test "MultiChainComparison compares attempts" do
    attempts = for _ <- 1..2, do: %{"reasoning" => "It is said there.", "answer" => @answer}
    program = DSPex.MultiChainComparison.new(@signature, M: 2)
    assert %{"answer" => answer} = outputs(program, Map.put(@inputs, :completions, attempts))
    assert is_binary(answer)
  end

  @tag req: ["FR1.1.1", "FR1.1.2"]
  test "KNN finds the nearest of its demos" do
    demos = [
      %{"question" => "How is the barn?", "answer" => @answer},
      %{"question" => "Who won the cup in 1966?", "answer" => "England."}
    ]

    program = DSPex.KNN.new("question -> answer", k: 1, demos: demos)
    assert %{"examples" => [%{"answer" => @answer}]} = outputs(program, %{question: "How is the barn now?"})
  end

  @tag req: "FR1.1.2"
  test "an option that a kind does not have is named before the call" do
    assert_raise ArgumentError, ~r/best_of_n: unknown option attempts/, fn ->
      DSPex.BestOfN.new(DSPex.Predict.new(@signature), attempts: 3)
    end

    program = DSPex.BestOfN.new(DSPex.Predict.new(@signature), N: 2)

    assert {:error, %Error{reason: :invalid_request, message: message}} =
             DSPex.call(program, @inputs, instance: __MODULE__)

    assert message =~ "config.reward"
  end
end
