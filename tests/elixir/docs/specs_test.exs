defmodule DSPex.Docs.SpecsTest do
  # What `h` and the generated pages show: every public module says what it is, every public function its types.
  use ExUnit.Case, async: true

  defp modules do
    {:ok, modules} = :application.get_key(:dspex, :modules)

    for module <- modules,
        text = Atom.to_string(module),
        text =~ "Elixir.DSPex",
        not (text =~ "DSPex.Test."),
        do: module
  end

  # Modules that are hidden say so by `@moduledoc false`; implementations of protocols are documented by these.
  defp shown(module) do
    with {:docs_v1, _line, _language, _format, doc, _metadata, members} when doc != :hidden <- Code.fetch_docs(module),
         {:module, _module} = Code.ensure_loaded(module),
         false <- function_exported?(module, :__impl__, 1),
         do: {doc, members},
         else: (_hidden -> nil)
  end

  defp specs(module) do
    with {:ok, specs} <- Code.Typespec.fetch_specs(module), do: Enum.map(specs, &elem(&1, 0)), else: (:error -> [])
  end

  @tag req: ["NFR4.1.2", "NFR4.1.3"]
  test "every public module has a text and every documented function a spec" do
    lacking =
      for module <- modules(),
          {doc, members} <- List.wrap(shown(module)),
          missing = missing(module, doc, members),
          missing != [],
          do: {module, missing}

    assert lacking == []
  end

  defp missing(_module, :none, _members), do: ["@moduledoc"]

  # A protocol's functions have the specs of its callbacks; `use GenServer` documents a child_spec of its own.
  defp missing(module, _doc, members) do
    documented =
      for {{:function, name, arity}, _line, _signature, %{"en" => _text}, _meta} <- members, do: {name, arity}

    protocol = if function_exported?(module, :__protocol__, 1), do: module.__protocol__(:functions), else: []
    (documented -- specs(module)) -- [{:child_spec, 1} | protocol]
  end
end
