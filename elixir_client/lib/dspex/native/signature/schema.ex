defmodule DSPex.Native.Signature.Schema do
  @moduledoc """
  The JSON Schema of a type, as pydantic writes it: `{pairs}` with sorted keys, named types under `$defs`.

      iex> DSPex.Native.Signature.Schema.of({:list, [:int]})
      {:ok, {[{"items", {[{"type", "integer"}]}}, {"type", "array"}]}}
  """

  alias DSPex.Native.Python
  alias DSPex.Native.Signature.Type

  @external_resource Path.expand("dspy_types.json", __DIR__)
  {:ok, {types}} = DSPex.Wire.Json.Plain.decode(File.read!(@external_resource))
  @dspy Map.new(types)

  @type schema :: {[{String.t(), term}]} | boolean

  @simple %{
    str: [{"type", "string"}],
    int: [{"type", "integer"}],
    float: [{"type", "number"}],
    bool: [{"type", "boolean"}],
    none: [{"type", "null"}],
    none_value: [{"type", "null"}],
    complex: [{"type", "string"}],
    any: [],
    bytes: [{"format", "binary"}, {"type", "string"}]
  }
  @classes %{
    "datetime.datetime" => [{"format", "date-time"}, {"type", "string"}],
    "datetime.date" => [{"format", "date"}, {"type", "string"}],
    "datetime.time" => [{"format", "time"}, {"type", "string"}],
    "datetime.timedelta" => [{"format", "duration"}, {"type", "string"}],
    "uuid.UUID" => [{"format", "uuid"}, {"type", "string"}]
  }
  @objects ~w(collections.abc.Mapping collections.abc.MutableMapping collections.defaultdict collections.OrderedDict)
  @unique ~w(collections.abc.Set collections.abc.MutableSet)

  @doc "The schema of a type; `:error` where pydantic has none (`dspy.Tool`, bytes that are no text)."
  @spec of(Type.t()) :: {:ok, schema} | :error
  def of(type) do
    {schema, defs} = top(type)
    {:ok, schema |> with_defs(defs) |> flat(type)}
  catch
    :no_schema -> :error
  end

  # Of a union that has one member left, pydantic writes the member out, unless it points to itself.
  defp flat({[{"$defs", {[{name, body}]}}, {"$ref", "#/$defs/" <> name}]} = schema, {:union, _types}) do
    if body |> inspect(limit: :infinity) |> String.contains?("\"#/$defs/#{name}\""), do: schema, else: body
  end

  defp flat(schema, _type), do: schema

  @doc "The schema as it stands inside another one, and the definitions it points to."
  @spec inner(Type.t(), map) :: {schema, map}
  def inner(type, defs \\ %{})

  def inner(type, defs) when is_map_key(@simple, type), do: {{@simple[type]}, defs}
  def inner(type, defs) when type in [:list, :tuple], do: {array({[]}), defs}
  def inner(type, defs) when type in [:set, :frozenset], do: {unique({[]}), defs}
  def inner(:dict, defs), do: {{[{"additionalProperties", true}, {"type", "object"}]}, defs}
  def inner({:bare, {kind, _args}}, defs), do: inner(kind, defs)
  def inner({:bare, {:generic, name, _args}}, defs) when name in @objects, do: inner(:dict, defs)
  def inner({:bare, {:generic, "collections.Counter", _args}}, defs), do: object(:any, :int, defs)
  def inner({:bare, {:generic, name, _args}}, defs) when name in @unique, do: inner(:set, defs)
  def inner({:bare, {:generic, _name, _args}}, defs), do: inner(:list, defs)
  def inner({:list, [item]}, defs), do: items(item, defs, &array/1)
  def inner({kind, [item]}, defs) when kind in [:set, :frozenset], do: items(item, defs, &unique/1)
  def inner({:tuple, [item, :ellipsis]}, defs), do: items(item, defs, &array/1)
  def inner({:tuple, args}, defs), do: tuple(args, defs)
  def inner({:dict, [key, value]}, defs), do: object(key, value, defs)
  def inner({:generic, name, [key, value]}, defs) when name in @objects, do: object(key, value, defs)
  def inner({:generic, "collections.Counter", [key]}, defs), do: object(key, :int, defs)
  def inner({:generic, name, [item]}, defs) when name in @unique, do: items(item, defs, &unique/1)
  def inner({:generic, _name, [item]}, defs), do: items(item, defs, &array/1)
  def inner({:union, types}, defs), do: union(types, defs)
  def inner({:literal, values}, defs), do: {literal(values), defs}
  def inner({:annotated, type, metadata}, defs), do: annotated(type, metadata, defs)
  def inner({:enum, %{name: name}} = type, defs), do: reference(name, enum(type), defs)
  def inner({:model, %{name: name, schema: schema}}, defs), do: reference(name, schema, defs)
  def inner({:dspy, "Tool"}, _defs), do: throw(:no_schema)
  def inner({:dspy, name}, defs), do: reference(name, @dspy[name], defs)
  def inner({:code, _language} = type, defs), do: reference(Type.name(type), code(type), defs)

  def inner({:class, "decimal.Decimal"}, defs),
    do: {{[{"anyOf", [{[{"type", "number"}]}, {[{"type", "string"}]}]}]}, defs}

  def inner({:class, name}, defs), do: {{@classes[name]}, defs}

  # A named type that stands alone is written out; one that points to itself stays a reference.
  defp top({:annotated, type, _metadata}), do: top(type)
  defp top({:enum, _definition} = type), do: {enum(type), %{}}
  defp top({:model, %{schema: schema}}), do: own_defs(schema)
  defp top({:dspy, name}) when name != "Tool", do: own_defs(@dspy[name])
  defp top({:code, _language} = type), do: {code(type), %{}}
  defp top(type), do: inner(type)

  defp own_defs({pairs}) do
    case List.keytake(pairs, "$defs", 0) do
      {{"$defs", {defs}}, rest} -> {{rest}, Map.new(defs)}
      nil -> {{pairs}, %{}}
    end
  end

  @doc "Adds definitions to a schema, sorted as pydantic sorts them."
  @spec with_defs(schema, map) :: schema
  def with_defs(schema, defs) when map_size(defs) == 0, do: schema
  def with_defs({pairs}, defs), do: {[{"$defs", {Enum.sort_by(defs, &elem(&1, 0))}} | pairs]}

  @doc "The name of a definition: what a `$ref` may hold."
  @spec def_name(String.t()) :: String.t()
  def def_name(name), do: String.replace(name, ~r/[^a-zA-Z0-9.\-_]/u, "_")

  defp reference(name, schema, defs) do
    name = def_name(name)
    {body, more} = own_defs(schema)
    defs = Map.merge(defs, more)
    defs = if match?({[{"$ref", _to}]}, body), do: defs, else: Map.put(defs, name, body)
    {{[{"$ref", "#/$defs/" <> name}]}, defs}
  end

  defp items(item, defs, wrap) do
    {schema, defs} = inner(item, defs)
    {wrap.(schema), defs}
  end

  defp array(items), do: {[{"items", items}, {"type", "array"}]}
  defp unique(items), do: {[{"items", items}, {"type", "array"}, {"uniqueItems", true}]}

  defp tuple(args, defs) do
    {schemas, defs} = Enum.map_reduce(args, defs, &inner/2)
    prefix = if schemas == [], do: [], else: [{"prefixItems", schemas}]
    {{[{"maxItems", length(args)}, {"minItems", length(args)} | prefix] ++ [{"type", "array"}]}, defs}
  end

  defp object(key, value, defs) do
    {{keys}, key_defs} = inner(key, defs)
    {pattern, keys} = keys |> List.keydelete("title", 0) |> pattern()
    # What no `$ref` points to is not defined.
    {{values}, defs} = inner(value, if(names(keys) == [], do: defs, else: key_defs))
    values = List.keydelete(values, "title", 0)
    {{sorted([{"type", "object"} | properties(pattern, values)] ++ names(keys))}, defs}
  end

  defp pattern(keys) do
    case List.keytake(keys, "pattern", 0) do
      {{"pattern", pattern}, rest} -> {pattern, rest}
      nil -> {nil, keys}
    end
  end

  defp properties(nil, []), do: [{"additionalProperties", true}]
  defp properties(nil, values), do: [{"additionalProperties", {values}}]
  defp properties(pattern, values), do: [{"patternProperties", {[{pattern, {values}}]}}]

  # Only constrained keys are worth a word.
  defp names(keys) do
    constrained? =
      List.keymember?(keys, "$ref", 0) or (List.keyfind(keys, "type", 0) == {"type", "string"} and length(keys) > 1)

    if constrained?, do: [{"propertyNames", {List.keydelete(keys, "type", 0)}}], else: []
  end

  # None comes last, members that are unions themselves are laid flat, and equal members are named once.
  defp union(types, defs) do
    {nones, others} = Enum.split_with(types, &(&1 == :none))
    {schemas, defs} = members(others, defs)

    case (schemas ++ if(nones == [], do: [], else: [{@simple[:none]}])) |> Enum.flat_map(&choices/1) |> Enum.uniq() do
      [schema] -> {schema, defs}
      schemas -> {{[{"anyOf", schemas}]}, defs}
    end
  end

  defp members([only], defs) do
    {schema, defs} = inner(only, defs)
    {[schema], defs}
  end

  # Of several members pydantic skips those that have no schema.
  defp members(types, defs) do
    {schemas, defs} = Enum.flat_map_reduce(types, defs, &member/2)
    if schemas == [], do: throw(:no_schema), else: {schemas, defs}
  end

  defp member(type, defs) do
    {schema, defs} = inner(type, defs)
    {[schema], defs}
  catch
    :no_schema -> {[], defs}
  end

  defp choices({[{"anyOf", schemas}]}), do: schemas
  defp choices(schema), do: [schema]

  defp literal(values) do
    values = Enum.map(values, &jsonable/1)
    head = if match?([_one], values), do: {"const", hd(values)}, else: {"enum", values}
    {[head | common_type(Enum.uniq(Enum.map(values, &Python.type_name/1)))]}
  end

  defp jsonable({:bytes, bytes}), do: if(String.valid?(bytes), do: bytes, else: throw(:no_schema))
  defp jsonable(value), do: value

  defp common_type(["str"]), do: [{"type", "string"}]
  defp common_type(["int"]), do: [{"type", "integer"}]
  defp common_type(["float"]), do: [{"type", "number"}]
  defp common_type(["bool"]), do: [{"type", "boolean"}]
  defp common_type(["NoneType"]), do: [{"type", "null"}]
  defp common_type(_mixed), do: []

  defp enum({:enum, %{name: name, members: members} = definition}) do
    values = Enum.map(members, &elem(&1, 1))
    type = values |> Enum.map(&Python.type_name/1) |> Enum.uniq() |> common_type()
    head = if match?([_one], values), do: {"const", hd(values)}, else: {"enum", values}
    description = if definition[:description], do: [{"description", definition.description}], else: []
    {sorted([head, {"title", name} | description] ++ type)}
  end

  defp code(type) do
    code = {[{"title", "Code"}, {"type", "string"}]}
    {[{"properties", {[{"code", code}]}}, {"required", ["code"]}, {"title", Type.name(type)}, {"type", "object"}]}
  end

  @numeric %{
    "ge" => "minimum",
    "gt" => "exclusiveMinimum",
    "le" => "maximum",
    "lt" => "exclusiveMaximum",
    "multiple_of" => "multipleOf"
  }
  @lengths %{
    "array" => %{"min_length" => "minItems", "max_length" => "maxItems"},
    "object" => %{"min_length" => "minProperties", "max_length" => "maxProperties"}
  }
  @other_lengths %{"min_length" => "minLength", "max_length" => "maxLength"}
  @decimals ["max_digits", "decimal_places"]
  @null {[{"type", "null"}]}
  @moments for name <- ~w(datetime time timedelta), do: {:class, "datetime." <> name}

  defp annotated(type, metadata, defs) do
    options = for {:field, options} <- metadata, option <- options, do: option
    {words, limits} = Enum.split_with(options, fn {name, _value} -> name in ["title", "description"] end)
    {{pairs}, defs} = limited(type, limits, defs)
    {{pairs |> put(words) |> sorted()}, defs}
  end

  defp put(pairs, added),
    do: Enum.reduce(added, pairs, fn pair, pairs -> List.keystore(pairs, elem(pair, 0), 0, pair) end)

  # The limits of a value that may be missing are those of the value.
  defp limited({:union, types} = type, limits, defs) do
    case Enum.split_with(types, &(&1 == :none)) do
      {[:none], [one]} -> inner({:union, [{:annotated, one, [{:field, limits}]}, :none]}, defs)
      {[:none], several} -> {:union, several} |> plainly(limits, defs) |> or_null()
      _others -> plainly(type, limits, defs)
    end
  end

  # A decimal is a number or a text: only the number has limits, and they are floats.
  defp limited({:class, "decimal.Decimal"} = type, limits, defs) do
    {{[{"anyOf", [{number} | texts]}]}, defs} = inner(type, defs)
    {numeric, others} = Enum.split_with(limits, fn {name, _value} -> is_map_key(@numeric, name) end)
    number = put(number, for({name, value} <- numeric, do: {@numeric[name], value / 1}))
    lengths = for {name, value} <- others, word = decimal_word(name, others), do: {word, value}
    {{sorted([{"anyOf", [{sorted(number)} | texts]} | lengths])}, defs}
  end

  defp limited(type, limits, defs), do: plainly(type, limits, defs)

  # The digits of a decimal are shown where a length, which it cannot have, stands before them.
  defp decimal_word(name, others) when name in @decimals,
    do: if(Enum.any?(others, fn {other, _value} -> is_map_key(@other_lengths, other) end), do: name)

  defp decimal_word(name, _others), do: @other_lengths[name]

  defp or_null({{[{"anyOf", members}]}, defs}), do: {{[{"anyOf", members ++ [@null]}]}, defs}
  defp or_null({limited, defs}), do: {{[{"anyOf", [limited, @null]}]}, defs}

  defp plainly(type, limits, defs) do
    {{pairs}, defs} = inner(type, defs)
    kind = with {"type", kind} <- List.keyfind(pairs, "type", 0), do: kind
    {{pairs |> put(words(limits, type, kind)) |> sorted()}, defs}
  end

  # Behind a number's limit of what is no number, pydantic does not know any more what the limits that follow belong to.
  defp words(limits, type, kind) do
    lost? = type not in [:int, :float] and Enum.any?(limits, fn {name, _value} -> is_map_key(@numeric, name) end)

    for {name, value} <- limits, word = if(lost?, do: lost(name, type, kind), else: word(name, type, kind)) do
      {word, value}
    end
  end

  defp lost("pattern", _type, _kind), do: nil
  defp lost(name, type, kind), do: word(name, type, if(list?(type), do: kind))

  defp list?(:list), do: true
  defp list?({:list, _args}), do: true
  defp list?({:bare, type}), do: list?(type)
  defp list?({:generic, name, _args}), do: name in ["collections.abc.Sequence", "collections.abc.MutableSequence"]
  defp list?(_type), do: false

  # A limit that the values cannot have stands there under its own name.
  defp word("pattern", type, _kind), do: if(type == :str, do: "pattern")
  defp word(name, type, _kind) when is_map_key(@numeric, name) and type in [:int, :float], do: @numeric[name]
  defp word("multiple_of", type, _kind), do: if(type != {:class, "datetime.timedelta"}, do: "multiple_of")
  defp word(name, type, _kind) when is_map_key(@numeric, name), do: if(type not in @moments, do: name)
  defp word(name, _type, _kind) when name in @decimals, do: name
  defp word(name, {:generic, "collections.defaultdict", _args}, _kind), do: @other_lengths[name]
  defp word(name, _type, kind), do: get_in(@lengths, [kind, name]) || @other_lengths[name]

  defp sorted(pairs), do: Enum.sort_by(pairs, &elem(&1, 0))
end
