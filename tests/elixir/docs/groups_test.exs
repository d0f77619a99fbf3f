defmodule DSPex.Docs.GroupsTest do
  use ExUnit.Case, async: true

  @tag req: "NFR4.1.2"
  test "every module with docs has a group of its kind, and every guide is among the pages" do
    docs = Mix.Project.config()[:docs]
    groups = Enum.flat_map(docs[:groups_for_modules], fn {_group, members} -> List.wrap(members) end)
    {:ok, modules} = :application.get_key(:dspex, :modules)

    alone =
      for module <- modules -- [DSPex],
          {:docs_v1, _line, _language, _format, %{}, _metadata, _members} <- [Code.fetch_docs(module)],
          inspect(module) =~ ~r"^DSPex\.(?!Test\.)",
          not Enum.any?(groups, &member?(&1, module)),
          do: module

    assert alone == []
    assert Enum.all?(Path.wildcard("docs/*.md"), &(&1 in docs[:extras]))
  end

  defp member?(%Regex{} = pattern, module), do: inspect(module) =~ pattern
  defp member?(module, module), do: true
  defp member?(_other, _module), do: false
end
