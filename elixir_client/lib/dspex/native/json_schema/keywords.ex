defmodule DSPex.Native.JsonSchema.Keywords do
  @moduledoc """
  The keywords of one subschema as checks. Their order matters: `unevaluated*` come last, since they ask what the others
  have looked at.
  """

  alias DSPex.Native.JsonSchema.Index
  alias DSPex.Native.JsonSchema.Pattern

  @plain ~w(type enum const minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minLength maxLength format
            minItems maxItems uniqueItems minProperties maxProperties required dependentRequired)
  @compiled ~w(pattern allOf anyOf oneOf not if dependentSchemas properties patternProperties additionalProperties
               propertyNames prefixItems items contains unevaluatedItems unevaluatedProperties)

  @doc "Compiles the keywords of `schema`, but for references. Gives the checks, and the locations that they reach."
  @spec compile(map, Index.location()) :: {:ok, [tuple], [Index.location()]} | {:error, DSPex.Error.t()}
  def compile(schema, location) do
    plain = for keyword <- @plain, is_map_key(schema, keyword), do: {:assert, keyword, schema[keyword]}

    Enum.reduce_while(@compiled, {:ok, plain, []}, fn keyword, {:ok, checks, reached} ->
      case is_map_key(schema, keyword) && compile(keyword, schema[keyword], schema, location) do
        false -> {:cont, {:ok, checks, reached}}
        {:ok, check, more} -> {:cont, {:ok, checks ++ [check], more ++ reached}}
        {:error, error} -> {:halt, {:error, error}}
      end
    end)
  end

  @doc "Whether a node asks what has been evaluated."
  @spec unevaluated?(term) :: boolean
  def unevaluated?({_base, checks}),
    do: Enum.any?(checks, &(elem(&1, 0) in [:unevaluated_items, :unevaluated_properties]))

  def unevaluated?(_boolean), do: false

  defp compile("pattern", source, _schema, _location) do
    with {:ok, pattern} <- Pattern.compile(source), do: {:ok, {:pattern, source, pattern}, []}
  end

  defp compile(keyword, schemas, _schema, location) when keyword in ~w(allOf anyOf oneOf) do
    children = for {_child, place} <- Enum.with_index(schemas), do: below(location, [keyword, place])
    {:ok, {kind(keyword), children}, children}
  end

  defp compile("not", _child, _schema, location), do: one(:not, location, ["not"])

  defp compile("if", _child, schema, location) do
    [condition, yes, no] =
      for keyword <- ~w(if then else), do: if(is_map_key(schema, keyword), do: below(location, [keyword]))

    {:ok, {:if, condition, yes, no}, Enum.reject([condition, yes, no], &is_nil/1)}
  end

  defp compile("dependentSchemas", schemas, _schema, location),
    do: named(:dependent, "dependentSchemas", schemas, location)

  defp compile("properties", schemas, _schema, location), do: named(:properties, "properties", schemas, location)
  defp compile("propertyNames", _child, _schema, location), do: one(:property_names, location, ["propertyNames"])

  defp compile("patternProperties", schemas, _schema, location) do
    with {:ok, patterns} <- patterns(Map.keys(schemas)) do
      children =
        for {source, pattern} <- patterns, do: {source, pattern, below(location, ["patternProperties", source])}

      {:ok, {:pattern_properties, children}, Enum.map(children, &elem(&1, 2))}
    end
  end

  defp compile("additionalProperties", _child, schema, location) do
    with {:ok, patterns} <- patterns(Map.keys(Map.get(schema, "patternProperties", %{}))) do
      child = below(location, ["additionalProperties"])
      {:ok, {:additional, child, Map.get(schema, "properties", %{}), Enum.map(patterns, &elem(&1, 1))}, [child]}
    end
  end

  defp compile("prefixItems", schemas, _schema, location) do
    children = for {_child, place} <- Enum.with_index(schemas), do: below(location, ["prefixItems", place])
    {:ok, {:prefix_items, children}, children}
  end

  defp compile("items", _child, schema, location) do
    child = below(location, ["items"])
    {:ok, {:items, child, length(Map.get(schema, "prefixItems", []))}, [child]}
  end

  defp compile("contains", _child, schema, location) do
    child = below(location, ["contains"])
    {:ok, {:contains, child, Map.get(schema, "minContains", 1), schema["maxContains"]}, [child]}
  end

  defp compile("unevaluatedItems", _child, _schema, location),
    do: one(:unevaluated_items, location, ["unevaluatedItems"])

  defp compile("unevaluatedProperties", _child, _schema, location) do
    one(:unevaluated_properties, location, ["unevaluatedProperties"])
  end

  defp kind("allOf"), do: :all_of
  defp kind("anyOf"), do: :any_of
  defp kind("oneOf"), do: :one_of

  defp one(kind, location, path) do
    child = below(location, path)
    {:ok, {kind, child}, [child]}
  end

  defp named(kind, keyword, schemas, location) do
    children = Map.new(schemas, fn {name, _child} -> {name, below(location, [keyword, name])} end)
    {:ok, {kind, children}, Map.values(children)}
  end

  defp patterns(sources) do
    Enum.reduce_while(sources, {:ok, []}, fn source, {:ok, done} ->
      case Pattern.compile(source) do
        {:ok, pattern} -> {:cont, {:ok, [{source, pattern} | done]}}
        {:error, error} -> {:halt, {:error, error}}
      end
    end)
  end

  defp below({document, tokens}, path), do: {document, tokens ++ path}
end
