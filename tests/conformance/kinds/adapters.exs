defmodule DSPex.Conformance.Adapters do
  # One check a case: messages byte for byte, outputs as tagged JSON, errors by their kind. A completion that only Python's
  # json_repair can read may be handed over, if the corpus says so.

  alias DSPex.Native.Adapter.Prompt
  alias DSPex.Native.Adapter.ResponseSchema
  alias DSPex.Native.Python

  @adapters %{
    "ChatAdapter" => DSPex.Native.Adapter.Chat,
    "JSONAdapter" => DSPex.Native.Adapter.JSON,
    "XMLAdapter" => DSPex.Native.Adapter.XML
  }

  def checks(document) do
    types = types(document["types"])

    signatures =
      for {name, described} <- document["meta"]["signatures"], into: %{}, do: {name, signature(described, types)}

    for vector <- document["cases"] do
      {vector["id"], fn -> check(vector["kind"], vector, Map.fetch!(signatures, vector["signature"]), types) end}
    end
  end

  defp types(described) do
    for {name, type} <- described, type["kind"] in ["enum", "model"], into: %{} do
      case type["kind"] do
        "enum" ->
          {name, {:enum, %{name: name, mixin: type["mixin"], members: Enum.map(type["members"], &List.to_tuple/1)}}}

        "model" ->
          {name, {:model, %{name: name, schema: Python.from_elixir(type["json_schema"])}}}
      end
    end
  end

  # DSPy's constraints are given as the sentence it prints: they are read back into names and numbers.
  defp signature(described, types) do
    fields = Enum.map(described["fields"], &field/1)
    {:ok, signature} = DSPex.Signature.new(fields, instructions: described["instructions"], types: types)
    # The corpus holds the instructions as DSPy left them.
    %{signature | instructions: described["instructions"]}
  end

  defp field(field) do
    map = %{
      "name" => field["name"],
      "role" => field["role"],
      "type" => field["type_expr"],
      "desc" => field["desc"],
      "prefix" => field["prefix"],
      "constraints" => constraints(field["constraints"])
    }

    if field["required"], do: map, else: Map.put(map, "default", field["default"])
  end

  @words %{
    "greater than" => "gt",
    "greater than or equal to" => "ge",
    "less than" => "lt",
    "less than or equal to" => "le",
    "minimum length" => "min_length",
    "maximum length" => "max_length",
    "a multiple of the given number" => "multiple_of"
  }

  defp constraints(nil), do: []

  defp constraints(text) do
    for part <- String.split(text, ", ") do
      [words, number] = String.split(part, ": ")
      {Map.fetch!(@words, words), number(number)}
    end
  end

  defp number(text), do: if(String.contains?(text, "."), do: String.to_float(text), else: String.to_integer(text))

  defp check("format", vector, signature, types) do
    adapter = @adapters[vector["adapter"]]
    demos = Enum.map(vector["demos"], &untagged_pairs(&1, types))
    messages = Prompt.messages(adapter, signature, demos, untagged_pairs(vector["inputs"], types))
    expected = DSPex.Ordered.plain(vector["expected"]["messages"])
    compare(Prompt.plain(messages), expected)
  end

  defp check("response_schema", vector, signature, _types) do
    case {ResponseSchema.build(signature, []), vector["expected"]["ok"]} do
      {{:ok, schema}, true} -> compare(DSPex.Ordered.plain(schema), DSPex.Ordered.plain(vector["expected"]["schema"]))
      {{:error, _reason}, false} -> :ok
      {got, _ok} -> {:error, "got #{inspect(got)}"}
    end
  end

  defp check("parse", vector, signature, types) do
    expected = vector["expected"]

    case {@adapters[vector["adapter"]].values(signature, vector["completion"]), expected["ok"]} do
      {{:ok, values}, true} -> compare(tagged({values}, types), expected["outputs"] |> DSPex.Ordered.plain() |> sets())
      {{:error, %{kind: :needs_python}}, _ok} -> handed_over(vector)
      {{:error, error}, false} -> compare_error(error, expected["error"])
      {{:ok, values}, false} -> {:error, "read #{inspect(values)}, though DSPy says #{expected["error"]["kind"]}"}
      {{:error, error}, true} -> {:error, Exception.message(error)}
    end
  end

  defp handed_over(%{} = vector) do
    if vector["depends_on_json_repair"], do: {:handed_over, "json_repair"}, else: {:error, "handed over without need"}
  end

  defp compare(got, got), do: :ok

  defp compare(got, expected),
    do:
      {:error,
       "got      #{inspect(got, limit: :infinity, printable_limit: :infinity)}\n    expected #{inspect(expected, limit: :infinity, printable_limit: :infinity)}"}

  defp compare_error(error, expected) do
    if Atom.to_string(error.kind) == expected["kind"],
      do: compare_keys(error, expected["parsed_keys"]),
      else: {:error, "an error of kind #{error.kind}, not #{expected["kind"]}"}
  end

  defp compare_keys(%{kind: :missing_fields, parsed: parsed}, keys) when is_list(keys), do: compare(parsed, keys)
  defp compare_keys(_error, _keys), do: :ok

  defp untagged_pairs(%DSPex.Ordered{pairs: pairs}, types),
    do: Enum.map(pairs, fn {k, v} -> {k, untagged(v, types)} end)

  @scalars Map.new([:datetime, :date, :time, :timedelta, :decimal, :uuid], &{Atom.to_string(&1), &1})

  # Tagged JSON to the values that the adapters take.
  defp untagged(%DSPex.Ordered{pairs: [{"$type", tag} | _rest]} = value, types), do: tag(tag, value, types)
  defp untagged(%DSPex.Ordered{} = value, types), do: {untagged_pairs(value, types)}
  defp untagged(list, types) when is_list(list), do: Enum.map(list, &untagged(&1, types))
  defp untagged(value, _types), do: value

  defp tag("enum", value, types) do
    {:enum, %{members: members}} = types[value["name"]]
    {member, own} = List.keyfind(members, value["member"], 0)
    {:enum, value["name"], member, own}
  end

  # A model that was made in Python has its defaults.
  defp tag("model", value, types) do
    {:ok, made} = DSPex.Native.Adapter.Validate.value(untagged(value["value"], types), types[value["name"]])
    made
  end

  defp tag(kind, value, types) when kind in ["tuple", "set"],
    do: {if(kind == "tuple", do: :tuple, else: :set), untagged(value["value"], types)}

  defp tag("bytes", value, _types), do: {:bytes, value["value"]}

  defp tag(kind, value, _types) when is_map_key(@scalars, kind), do: {@scalars[kind], value["value"]}
  defp tag("float", value, _types), do: %{"nan" => :nan, "inf" => :infinity, "-inf" => :neg_infinity}[value["value"]]
  defp tag("history", value, types), do: {:dspy, "History", [{"messages", untagged(value["messages"], types)}]}
  defp tag("image", value, _types), do: {:dspy, "Image", [{"url", value["url"]}]}

  # As it is made in Python: without the fence.
  defp tag("code", value, _types) do
    {:ok, code} = DSPex.Native.Adapter.Validate.value(value["value"], {:dspy, "Code"})
    code
  end

  defp tag("tool", value, types) do
    {:dspy, "Tool", for(key <- ["name", "desc", "args"], do: {key, untagged(value[key], types)})}
  end

  defp tag("tool_calls", value, types) do
    {:ok, calls} = DSPex.Native.Adapter.Validate.value(untagged(value["value"], types), {:dspy, "ToolCalls"})
    calls
  end

  # The values that the adapters give, as tagged JSON in plain maps.
  defp tagged({pairs}, types) when is_list(pairs), do: Map.new(pairs, fn {k, v} -> {k, tagged(v, types)} end)
  defp tagged(list, types) when is_list(list), do: Enum.map(list, &tagged(&1, types))

  defp tagged({:enum, name, member, value}, types),
    do: %{"$type" => "enum", "name" => name, "member" => member(name, member, value, types)}

  defp tagged({:model, name, pairs}, types),
    do: %{"$type" => "model", "name" => name, "value" => tagged({pairs}, types)}

  defp tagged({:dspy, name, pairs}, types), do: %{"$type" => "dspy", "name" => name, "value" => tagged({pairs}, types)}

  defp tagged({:tuple, items}, types), do: %{"$type" => "tuple", "value" => tagged(items, types)}
  defp tagged({:set, items}, types), do: sets(%{"$type" => "set", "value" => tagged(items, types)})

  defp tagged({:bytes, bytes}, _types), do: %{"$type" => "bytes", "value" => bytes}
  defp tagged({kind, text}, _types), do: %{"$type" => Atom.to_string(kind), "value" => text}
  defp tagged(:nan, _types), do: %{"$type" => "float", "value" => "nan"}
  defp tagged(:infinity, _types), do: %{"$type" => "float", "value" => "inf"}
  defp tagged(:neg_infinity, _types), do: %{"$type" => "float", "value" => "-inf"}
  defp tagged(value, _types), do: value

  # Sets have no order.
  defp sets(%{"$type" => "set", "value" => items}), do: %{"$type" => "set", "value" => items |> sets() |> Enum.sort()}
  defp sets(%{} = map), do: Map.new(map, fn {key, value} -> {key, sets(value)} end)
  defp sets(list) when is_list(list), do: Enum.map(list, &sets/1)
  defp sets(value), do: value

  # Inside a model an enum is known by its values alone; the registered type has the names.
  defp member(name, member, value, types) do
    with {:enum, %{members: members}} <- types[name],
         {found, _value} <- List.keyfind(members, value, 1),
         do: found,
         else: (_ -> member)
  end
end
