defmodule DSPex.Native.JsonSchema.SuiteTest do
  use ExUnit.Case, async: true

  alias DSPex.Native.JsonSchema

  @suite Path.expand("../../../vectors/suites/json_schema_draft2020_12.json", __DIR__)

  @tag req: ["FR3.2.2", "OWN-7"]
  test "every test of the official suite gives the verdict that it names" do
    {:ok, read} = @suite |> File.read!() |> DSPex.Wire.Json.library().decode()

    groups = plain(read)["groups"]
    assert Enum.sum(Enum.map(groups, &length(&1["tests"]))) > 800

    failures =
      for group <- groups, test <- group["tests"], verdict(group, test) != test["valid"] do
        {group["file"], group["description"], test["description"]}
      end

    assert failures == []
  end

  defp verdict(group, test), do: group["schema"] |> JsonSchema.compile!() |> JsonSchema.valid?(test["data"])

  defp plain({pairs}), do: Map.new(pairs, fn {key, value} -> {key, plain(value)} end)
  defp plain(list) when is_list(list), do: Enum.map(list, &plain/1)
  defp plain(value), do: value
end
