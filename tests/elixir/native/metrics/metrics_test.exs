defmodule DSPex.Native.MetricsTest do
  use ExUnit.Case, async: true

  alias DSPex.Native.Metrics

  doctest DSPex.Native.Metrics
  doctest DSPex.Native.Text

  @moduletag req: "FR3.2.3"

  test "the bags of tokens are counted: a word said twice matches once" do
    assert Metrics.f1("a1 a1", ["a1"]) == 2 / 3
    assert Metrics.recall("x x", "x y") == 0.5
  end

  test "nothing in common, or nothing at all, scores 0" do
    assert Metrics.f1("x", ["y"]) == 0.0
    assert Metrics.precision("", "") == 0.0
    assert Metrics.semantic_f1(0, 0) == 0.0
  end

  test "wrong types raise and say what was given" do
    assert_raise ArgumentError, ~r/list of answers is empty/, fn -> Metrics.exact_match("x", []) end
    assert_raise ArgumentError, ~r/must be a list, not "x"/, fn -> Metrics.f1("x", "x") end
    assert_raise ArgumentError, ~r/compares text, not 5/, fn -> Metrics.exact_match(5, ["x"]) end
    assert_raise ArgumentError, ~r/`answer` must be text or a list/, fn -> Metrics.answer_exact_match(%{}, %{}) end

    assert_raise ArgumentError, ~r/`context` must be a list/, fn ->
      Metrics.answer_passage_match(%{"answer" => "a"}, %{"context" => 1})
    end
  end

  test "percentages are rounded as Python rounds: exactly, ties to even" do
    assert Metrics.accuracy([0.00125]) == 0.12
    assert Metrics.accuracy([0.12345]) == 12.35
    assert Metrics.accuracy([1, nil], 0.5) == 75.0
  end

  test "of equally frequent answers the earliest wins, and empty ones count only when there is nothing else" do
    answers = fn texts -> Enum.map(texts, &%{"answer" => &1}) end
    assert Metrics.majority(answers.(["x", "y"]), "answer") == %{"answer" => "x"}
    assert Metrics.majority(answers.(["the", "a", "y"]), "answer") == %{"answer" => "y"}
    assert Metrics.majority(answers.(["a", "the"]), "answer") == %{"answer" => "a"}
  end

  test "an answer is found in a passage only as a run of whole tokens" do
    refute Metrics.answer_passage_match(%{"answer" => "tower eiffel"}, %{"context" => ["the eiffel tower"]})
    assert Metrics.answer_passage_match(%{"answer" => ["p", "q"]}, %{"context" => ["r", "s q"]})
  end
end
