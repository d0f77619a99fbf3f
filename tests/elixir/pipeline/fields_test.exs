defmodule DSPex.Pipeline.FieldsTest do
  use ExUnit.Case, async: true

  alias DSPex.Pipeline.Fields
  alias DSPex.Program

  doctest DSPex.Pipeline.Fields

  @moduletag req: "FR4.2.1"

  test "a chain needs what its steps do not give each other" do
    chain = DSPex.Chain.new([DSPex.Predict.new("a, b -> c"), DSPex.ChainOfThought.new("c, d -> e")])
    assert Fields.of(chain) == {["a", "b", "d"], ["c", "reasoning", "e"]}
  end

  test "signatures as maps say it by their fields or their text" do
    fields = [%{"name" => "a", "role" => "input"}, %{"name" => "b", "role" => "output"}]
    program = DSPex.Predict.new("x -> y")
    assert Fields.of(%{program | signature: %{"fields" => fields}}) == {["a"], ["b"]}
    assert Fields.of(%{program | signature: %{"text" => "p, q -> r"}}) == {["p", "q"], ["r"]}
    assert Fields.of(%{program | signature: %{}}) == {[], :unknown}
    assert Fields.of(%{program | signature: nil}) == {[], :unknown}
  end

  test "of a chain with an unknown step what it gives is unknown, and a wrong signature is told" do
    unknown = %{DSPex.Predict.new("x -> y") | signature: nil}
    known = DSPex.Predict.new("a -> b")
    assert {["a"], :unknown} = Fields.of(DSPex.Chain.new([known, unknown]))
    # What an unknown step gives may be just what the next one needs.
    assert {[], :unknown} = Fields.of(DSPex.Chain.new([unknown, known]))
    assert_raise ArgumentError, fn -> Fields.of(%Program{known | signature: "no arrow"}) end
  end
end
