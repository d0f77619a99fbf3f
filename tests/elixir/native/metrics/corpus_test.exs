defmodule DSPex.Native.Metrics.CorpusTest do
  use ExUnit.Case, async: true

  @corpora ["tests/vectors/corpora/metrics.json", "tests/vectors/corpora/metrics_more.json"]
  @kind Path.expand("../../../conformance/kinds/metrics.exs", __DIR__)

  @tag req: ["FR3.2.3", "OWN-7"]
  test "every metric gives what DSPy gives over the whole corpus" do
    Code.require_file(@kind)
    checks = Enum.flat_map(@corpora, &apply(DSPex.Conformance.Metrics, :checks, [document(&1)]))

    assert length(checks) > 150
    assert for({id, check} <- checks, problem = check.(), problem != :ok, do: {id, problem}) == []
  end

  defp document(path) do
    {:ok, raw} = path |> File.read!() |> DSPex.Wire.Json.library().decode()
    ordered(raw)
  end

  defp ordered({pairs}), do: DSPex.Ordered.new(for {key, value} <- pairs, do: {key, ordered(value)})
  defp ordered(list) when is_list(list), do: Enum.map(list, &ordered/1)
  defp ordered(value), do: value
end
