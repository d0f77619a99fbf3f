defmodule DSPex.Native.Adapter.Validate.Models do
  @moduledoc false
  # Models that were registered as JSON Schema, as pydantic writes it: properties with types, defaults, references.

  alias DSPex.Native.Adapter.Validate.Outcome
  alias DSPex.Native.Python
  alias DSPex.Native.Signature.Type

  @formats %{
    "date-time" => {:class, "datetime.datetime"},
    "date" => {:class, "datetime.date"},
    "time" => {:class, "datetime.time"},
    "duration" => {:class, "datetime.timedelta"},
    "uuid" => {:class, "uuid.UUID"},
    "binary" => :bytes
  }
  @limits %{
    "minimum" => "ge",
    "exclusiveMinimum" => "gt",
    "maximum" => "le",
    "exclusiveMaximum" => "lt",
    "multipleOf" => "multiple_of",
    "minLength" => "min_length",
    "maxLength" => "max_length",
    "minItems" => "min_length",
    "maxItems" => "max_length",
    "minProperties" => "min_length",
    "maxProperties" => "max_length",
    "pattern" => "pattern"
  }

  # Checks a value against a type, at a depth: the layer above, which knows all types.
  @typep check :: (Python.value(), Type.t(), non_neg_integer -> Outcome.result())

  @doc "A value against a registered model."
  @spec run(Python.value(), map, non_neg_integer, check) :: Outcome.result()
  def run(value, %{schema: {pairs}} = definition, depth, check) do
    scope = %{defs: member(pairs, "$defs", {[]}), depth: depth, check: check}
    schema({pairs}, value, definition.name, scope)
  end

  @doc "A value against a schema inside a model."
  @spec resolve(Python.value(), {:ref, tuple, tuple}, non_neg_integer, check) :: Outcome.result()
  def resolve(value, {:ref, schema, defs}, depth, check),
    do: schema(schema, value, nil, %{defs: defs, depth: depth, check: check})

  # Schemas may point to themselves without reading anything of the value.
  defp schema(_schema, _value, _name, %{depth: depth}) when depth > 200,
    do: {:error, [{[], "the value or its schema is nested too deeply"}]}

  defp schema({pairs}, value, name, scope) do
    case {member(pairs, "$ref", nil), member(pairs, "properties", nil)} do
      {"#/$defs/" <> target, _properties} -> referred(target, value, scope)
      {nil, {properties}} -> object(pairs, properties, value, member(pairs, "title", name), scope)
      {_ref, _none} -> check(value, type({pairs}, scope.defs), scope)
    end
  end

  defp referred(target, value, %{defs: {defs}} = scope) do
    case List.keyfind(defs, target, 0) do
      {_name, schema} when is_tuple(schema) -> named(schema, value, target, scope)
      _none -> {:error, [{[], "the schema points to #{target}, which it does not define"}]}
    end
  end

  defp named({pairs} = schema, value, name, scope) do
    case member(pairs, "enum", nil) do
      values when is_list(values) ->
        check(value, {:enum, %{name: name, members: Enum.map(values, &{&1, &1})}}, scope)

      nil ->
        schema(schema, value, name, %{scope | depth: scope.depth + 1})
    end
  end

  defp object(pairs, properties, {given}, name, scope) when is_list(given) do
    required = member(pairs, "required", [])
    results = Enum.map(properties, fn {key, schema} -> {key, property(schema, key, given, required, scope)} end)
    extra = extra(pairs, properties, given)

    case for({_key, {:error, problems}} <- results, problem <- problems, do: problem) ++ extra do
      [] ->
        values = for {key, {:ok, value}} <- results, do: {key, value}
        {:ok, made(name, values), 0, Enum.count(given, fn {key, _value} -> List.keymember?(properties, key, 0) end)}

      problems ->
        {:error, problems}
    end
  end

  defp object(_pairs, _properties, {:model, name, _given} = value, name, _scope), do: {:ok, value, 2, nil}

  defp object(_pairs, _properties, value, name, _scope),
    do: Outcome.wrong("an object (#{name}) is expected", value)

  defp check(value, type, %{check: check, depth: depth}), do: check.(value, type, depth)

  defp made(nil, values), do: {values}
  defp made(name, values), do: {:model, name, values}

  defp property(schema, key, given, required, scope) do
    case List.keyfind(given, key, 0) do
      {_key, value} ->
        value |> check({:ref, schema, scope.defs}, scope) |> located(key)

      nil ->
        if key in required, do: {:error, [{[key], "this field is missing"}]}, else: {:ok, default(schema, scope)}
    end
  end

  defp located({:ok, value, _exact, _count}, _key), do: {:ok, value}
  defp located({:error, problems}, key), do: {:error, Enum.map(problems, fn {path, text} -> {[key | path], text} end)}

  # The schema holds defaults as JSON: an enum's member stands there as its value.
  defp default({pairs} = schema, scope) do
    value = member(pairs, "default", implied(pairs))

    case check(value, {:ref, {List.keydelete(pairs, "default", 0)}, scope.defs}, scope) do
      {:ok, value, _exact, _count} when is_tuple(schema) -> value
      {:error, _problems} -> value
    end
  end

  # A factory of defaults leaves no trace in a schema.
  defp implied(pairs) do
    case member(pairs, "type", nil) do
      "array" -> []
      "object" -> {[]}
      _other -> nil
    end
  end

  defp extra(pairs, properties, given) do
    if member(pairs, "additionalProperties", true) == false do
      for {key, _value} <- given, not List.keymember?(properties, key, 0), do: {[key], "this field is not known"}
    else
      []
    end
  end

  @doc false
  def type({pairs} = schema, defs) do
    plain = plain(schema, defs)
    limits = for {key, value} <- pairs, name = @limits[key], do: {name, value}
    if limits == [], do: plain, else: {:annotated, plain, [{:field, limits}]}
  end

  defp plain({pairs}, defs) do
    cond do
      choices = member(pairs, "anyOf", nil) || member(pairs, "oneOf", nil) ->
        {:union, Enum.map(choices, &inner(&1, defs))}

      parts = member(pairs, "allOf", nil) ->
        parts |> hd() |> inner(defs)

      List.keymember?(pairs, "const", 0) ->
        {:literal, [member(pairs, "const", nil)]}

      values = member(pairs, "enum", nil) ->
        {:literal, values}

      true ->
        by_type(member(pairs, "type", nil), pairs, defs)
    end
  end

  defp inner({pairs} = schema, defs) do
    if List.keymember?(pairs, "$ref", 0) or List.keymember?(pairs, "properties", 0),
      do: {:ref, schema, defs},
      else: type(schema, defs)
  end

  defp inner(_boolean, _defs), do: :any

  defp by_type("string", pairs, _defs), do: Map.get(@formats, member(pairs, "format", nil), :str)
  defp by_type("integer", _pairs, _defs), do: :int
  defp by_type("number", _pairs, _defs), do: :float
  defp by_type("boolean", _pairs, _defs), do: :bool
  defp by_type("null", _pairs, _defs), do: :none

  defp by_type("array", pairs, defs) do
    cond do
      items = member(pairs, "prefixItems", nil) -> {:tuple, Enum.map(items, &inner(&1, defs))}
      member(pairs, "uniqueItems", false) -> {:set, [inner(member(pairs, "items", {[]}), defs)]}
      true -> {:list, [inner(member(pairs, "items", {[]}), defs)]}
    end
  end

  defp by_type("object", pairs, defs), do: {:dict, [:str, inner(member(pairs, "additionalProperties", true), defs)]}
  defp by_type(types, pairs, defs) when is_list(types), do: {:union, Enum.map(types, &by_type(&1, pairs, defs))}
  defp by_type(_unknown, _pairs, _defs), do: :any

  defp member(pairs, key, default) do
    case List.keyfind(pairs, key, 0) do
      {_key, value} -> value
      nil -> default
    end
  end
end
