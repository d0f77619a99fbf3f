defmodule DSPex.Native.JsonSchema.Compiler do
  @moduledoc """
  Turns schema documents into nodes: for each subschema that can be reached, its checks in the order in which they must
  run, with every reference resolved to the node it means.
  """

  alias DSPex.Error
  alias DSPex.Native.JsonSchema.Index
  alias DSPex.Native.JsonSchema.Keywords
  alias DSPex.Native.JsonSchema.Meta

  @typedoc "A subschema: always true, always false, or its resource's URI with its checks."
  @type schema_node :: boolean | {String.t(), [tuple]}

  @doc "Compiles the first document; the others are what it may refer to."
  @spec compile(map | boolean, [map]) :: {:ok, map} | {:error, Error.t()}
  def compile(schema, others) do
    index = Index.build([schema | others])
    root = {0, []}

    with :ok <- check_dialect(schema, index), {:ok, nodes} <- nodes([root], index, %{}) do
      track? = Enum.any?(nodes, fn {_location, compiled} -> Keywords.unevaluated?(compiled) end)
      {:ok, %{nodes: nodes, root: root, dynamic: index.dynamic, track?: track?}}
    end
  end

  defp nodes([], _index, nodes), do: {:ok, nodes}
  defp nodes([location | rest], index, nodes) when is_map_key(nodes, location), do: nodes(rest, index, nodes)

  defp nodes([location | rest], index, nodes) do
    {:ok, schema} = Index.fetch(index, location)

    with {:ok, compiled, reached} <- node_of(schema, location, index) do
      nodes(reached ++ rest, index, Map.put(nodes, location, compiled))
    end
  end

  defp node_of(schema, _location, _index) when is_boolean(schema), do: {:ok, schema, []}

  defp node_of(schema, location, index) when is_map(schema) do
    base = Index.base(index, location)

    with {:ok, references} <- references(schema, base, index),
         {:ok, checks, reached} <- Keywords.compile(schema, location) do
      {:ok, {base, Enum.map(references, &elem(&1, 0)) ++ checks}, Enum.flat_map(references, &elem(&1, 1)) ++ reached}
    end
  end

  defp node_of(other, location, _index) do
    {:error,
     Error.new(:invalid_input, "#{place(location)} of the JSON Schema is #{inspect(other, limit: 5)}, not a schema")}
  end

  defp references(schema, base, index) do
    with {:ok, static} <- reference(schema["$ref"], base, index),
         {:ok, dynamic} <- reference(schema["$dynamicRef"], base, index) do
      {:ok, static_check(static) ++ dynamic_check(dynamic, schema["$dynamicRef"], index)}
    end
  end

  defp reference(nil, _base, _index), do: {:ok, nil}

  defp reference(reference, base, index) do
    with {:ok, uri, fragment} <- Index.resolve_uri(base, reference),
         {:ok, resource} <- Map.fetch(index.resources, uri),
         {:ok, location} <- target(fragment, uri, resource, index) do
      {:ok, location}
    else
      :error -> {:error, unresolved(reference, base)}
    end
  end

  defp target(nil, _uri, resource, _index), do: {:ok, resource}
  defp target("/" <> _rest = pointer, _uri, resource, index), do: Index.pointer(index, resource, pointer)
  defp target(name, uri, _resource, index), do: Map.fetch(index.anchors, {uri, name})

  defp static_check(nil), do: []
  defp static_check(location), do: [{{:ref, "$ref", location}, [location]}]

  defp dynamic_check(nil, _reference, _index), do: []

  # Only a reference that lands on a `$dynamicAnchor` by its name looks through the dynamic scope.
  defp dynamic_check(location, reference, index) do
    [_uri, fragment] = String.split(reference <> "#", "#", parts: 2)
    name = String.trim_trailing(fragment, "#")

    if Map.get(index.dynamic, {Index.base(index, location), name}) == location do
      others = for {{_base, ^name}, other} <- index.dynamic, do: other
      [{{:dynamic, name, location}, [location | others]}]
    else
      [{{:ref, "$dynamicRef", location}, [location]}]
    end
  end

  defp unresolved(reference, base) do
    Error.new(
      :not_found,
      "the JSON Schema refers to #{inspect(reference)} (from #{base}), which is not in the document; " <>
        "nothing is fetched: put the schema it means under $defs"
    )
  end

  defp check_dialect(%{"$schema" => uri}, index) do
    uri = String.trim_trailing(uri, "#")

    cond do
      uri == Meta.dialect() -> :ok
      location = index.resources[uri] -> check_vocabularies(index, location)
      true -> {:error, Error.new(:invalid_input, "$schema is #{inspect(uri)}; only #{Meta.dialect()} is known")}
    end
  end

  defp check_dialect(_schema, _index), do: :ok

  defp check_vocabularies(index, location) do
    {:ok, meta} = Index.fetch(index, location)
    required = for {uri, true} <- Map.get(meta, "$vocabulary", %{}), uri not in Meta.vocabularies(), do: uri

    case required do
      [] -> :ok
      [uri | _rest] -> {:error, Error.new(:invalid_input, "$vocabulary requires #{inspect(uri)}, which is not known")}
    end
  end

  defp place({_document, []}), do: "the root"
  defp place({_document, tokens}), do: "/" <> Enum.join(tokens, "/")
end
