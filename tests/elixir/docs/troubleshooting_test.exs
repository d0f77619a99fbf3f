defmodule DSPex.Docs.TroubleshootingTest do
  # The headings are what people search for: each text in them is one that the code really says.
  use ExUnit.Case, async: true

  @root Path.expand("../../..", __DIR__)
  @page Path.join(@root, "docs/troubleshooting.md")
  @external_resource @page

  # What differs from case to case, and what others say: Python, and the details of an error.
  @varying [" is …", "…", "MyApp.DSPex", "No module named 'python_bridge'", "3.2.1", "'dspy>=3.4,<4'", ~s("status" =>)]

  setup_all do
    sources =
      Enum.flat_map(["elixir_client/lib/**/*.ex", "python_bridge/**/*.py"], &Path.wildcard(Path.join(@root, &1)))

    # Texts go over several lines of code, and have names of variables where the page has its own.
    code = sources |> Enum.map_join("\n", &File.read!/1) |> String.replace(~r/"\s*(<>|\n)\s*f?"/, "")
    {:ok, code: code}
  end

  for heading <- Regex.scan(~r/^## (.*`.*)$/m, File.read!(@page), capture: :all_but_first) |> List.flatten(),
      not String.starts_with?(heading, "`make`") do
    @tag req: ["NFR4.1.2", "NFR4.1.4"]
    test "it says #{heading}", %{code: code} do
      for [text] <- Regex.scan(~r/`([^`]+)`/, unquote(heading), capture: :all_but_first),
          part <- String.split(text, @varying),
          part = String.trim(part),
          String.contains?(part, " ") do
        assert code =~ part, "nothing says #{inspect(part)}"
      end
    end
  end
end
