defmodule DSPex.Native.CorpusTest do
  use ExUnit.Case, async: true

  @root Path.expand("../../../..", __DIR__)

  for {kind, corpus, module} <- [
        {"signatures", "signatures", DSPex.Conformance.Signatures},
        {"signatures", "signatures_more", DSPex.Conformance.Signatures},
        {"adapters", "adapters", DSPex.Conformance.Adapters}
      ] do
    @tag req: ["OWN-7", "FR3.1.1", "FR3.2.1", "FR3.2.4"]
    test "the corpus of #{corpus} that both languages share holds" do
      unless Code.ensure_loaded?(unquote(module)),
        do: Code.require_file(Path.join(@root, "tests/conformance/kinds/#{unquote(kind)}.exs"))

      text = File.read!(Path.join(@root, "tests/vectors/corpora/#{unquote(corpus)}.json"))
      {:ok, raw} = DSPex.Wire.Json.library().decode(text)
      checks = raw |> ordered() |> then(&apply(unquote(module), :checks, [&1]))
      assert length(checks) > 130

      assert for(
               {id, check} <- checks,
               (result = check.()) not in [:ok, {:handed_over, "json_repair"}],
               do: {id, result}
             ) == []
    end
  end

  defp ordered({pairs}), do: DSPex.Ordered.new(for {key, value} <- pairs, do: {key, ordered(value)})
  defp ordered(list) when is_list(list), do: Enum.map(list, &ordered/1)
  defp ordered(scalar), do: scalar
end
