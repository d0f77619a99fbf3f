defmodule DSPex.Conformance.JsonSchema do
  # The official suite of draft 2020-12: each test names whether its data fits its group's schema.

  alias DSPex.Native.JsonSchema

  def checks(document) do
    for group <- document["groups"], {test, index} <- Enum.with_index(group["tests"]) do
      {"#{group["file"]} #{group["description"]} #{index} #{test["description"]}", fn -> check(group, test) end}
    end
  end

  defp check(group, test) do
    with {:ok, schema} <- JsonSchema.compile(group["schema"]) do
      verdict = JsonSchema.valid?(schema, test["data"])
      if verdict == test["valid"], do: :ok, else: {:error, "says #{verdict}"}
    else
      {:error, error} -> {:error, error.message}
    end
  end
end
