defmodule DSPex.OptionsTest do
  use ExUnit.Case, async: true

  alias DSPex.Options

  @moduletag req: ["NFR4.1.4", "NFR2.2.2"]

  defp refused(options) do
    assert_raise(ArgumentError, fn -> Options.instance!(options) end).message
  end

  test "every problem of an instance is told at once, with its path and what is allowed" do
    text = refused(name: nil, pools: [a: [workers: 0, wrkers: 1], b: 5], chache: [])
    assert text =~ "chache is no option; known are"
    assert text =~ "name is nil; it must be a module name"
    assert text =~ "pools.a.workers is 0; it must be a whole number from 1 to 128"
    assert text =~ "pools.a.wrkers is no option (did you mean workers?)"
    assert text =~ "pools.b is 5; it must be a keyword list of options"
    assert refused(name: X, pools: [a: [], a: []]) =~ "pools.a stands there twice"
    assert refused(name: X, pools: []) =~ "pools is []"
    assert refused([1, 2]) =~ "the options are a keyword list"
  end

  test "keys that stand where none may are in no message" do
    lm = [model: "openai/gpt-4o-mini", api_key: "sk-secret"]

    for pool <- [[lms: [small: lm]], [embedders: [small: lm]], [env: [{"KEY", "sk-secret"}, 1]]] do
      text = refused(name: X, pools: [a: pool])
      assert text =~ ~r/pools\.a\.\w+ is something else/
      refute text =~ "sk-secret"
    end

    for wrong <- [lm, Map.new(lm)], do: refute(refused(name: X, native: [lms: [default: wrong]]) =~ "sk-secret")
    error = assert_raise ArgumentError, fn -> DSPex.Native.LM.new("openai/x", api_key: "sk-secret") end
    assert error.message =~ "unknown option api_key; known are base_url"
    refute error.message =~ "sk-secret"
  end

  test "whatever is given for an option is taken, or refused by the option's path" do
    names = for [name] <- Regex.scan(~r/^  \* `:(\w+)`/m, Options.pool_docs(), capture: :all_but_first), do: name
    assert length(names) > 30

    garbage =
      [nil, true, -1, 0, 1.5, :x, "", "x", [], [1], [1 | 2], [a: 1], [a: [1 | 2]], [{"a", 1}], [{1, "b"}], %{}, %{a: 1}] ++
        [{}, {1, 2}, {:a, []}, self(), make_ref(), fn -> 1 end, <<255>>, 1..3, ~D[2026-01-02], Integer.pow(2, 200)]

    for name <- names, value <- garbage do
      pool = [{String.to_existing_atom(name), value}]

      try do
        options = Options.instance!(name: X, pools: [default: pool])
        assert Keyword.keyword?(options[:pools][:default])
      rescue
        error in ArgumentError -> assert error.message =~ "pools.default.#{name} is "
      end
    end
  end
end
