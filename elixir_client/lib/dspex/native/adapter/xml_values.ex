defmodule DSPex.Native.Adapter.XmlValues do
  @moduledoc false
  # Values and types as nested tags, both ways, as DSPy's XML adapter has them.

  alias DSPex.Native.Adapter.XmlReader
  alias DSPex.Native.Python
  alias DSPex.Native.Signature.Schema

  @max_depth 200

  @doc "Whether values of the type are written as nested tags."
  @spec nested?(term) :: boolean
  def nested?({:union, types}) do
    case Enum.reject(types, &(&1 == :none)) do
      [type] -> not match?({:union, _types}, type) and nested?(type)
      _several -> false
    end
  end

  def nested?({:list, [item]}), do: not own?(item)
  def nested?({:dict, _args}), do: true
  def nested?({:model, _definition}), do: true
  def nested?(_type), do: false

  defp own?({kind, _name}) when kind in [:dspy, :code], do: true
  defp own?(_type), do: false

  @doc "The schema of a type and the definitions it points to."
  @spec schema(term) :: {tuple, map}
  def schema(type) do
    case Schema.of(type) do
      {:ok, {pairs}} -> {{pairs}, pairs |> member_of("$defs", {[]}) |> elem(0) |> Map.new()}
      :error -> {{[]}, %{}}
    end
  end

  @doc "A member of a schema."
  @spec member(tuple, String.t(), term) :: term
  def member({pairs}, key, default), do: member_of(pairs, key, default)
  def member(_boolean, _key, default), do: default

  defp member_of(pairs, key, default) do
    case List.keyfind(pairs, key, 0) do
      {_key, value} -> value
      nil -> default
    end
  end

  @doc "The tags that a value of the type would have."
  @spec outline(String.t(), term) :: String.t()
  def outline(name, type) do
    {schema, defs} = schema(type)
    outline(name, schema, defs, [])
  end

  defp outline(tag, schema, defs, seen) do
    case {member(schema, "$ref", nil), member(schema, "anyOf", nil)} do
      {"#/$defs/" <> name, _choices} ->
        if name in seen, do: leaf(tag), else: outline(tag, Map.get(defs, name, {[]}), defs, [name | seen])

      {nil, [first | _more] = choices} ->
        outline(tag, Enum.find(choices, first, &(member(&1, "type", nil) != "null")), defs, seen)

      {nil, nil} ->
        if member(schema, "type", nil) == "array",
          do: "<#{tag}>#{outline("item", member(schema, "items", {[]}), defs, seen)}</#{tag}>",
          else: members(tag, member(schema, "properties", {[]}), defs, seen)
    end
  end

  defp members(tag, {[]}, _defs, _seen), do: leaf(tag)

  defp members(tag, {properties}, defs, seen),
    do: "<#{tag}>#{Enum.map_join(properties, fn {name, schema} -> outline(name, schema, defs, seen) end)}</#{tag}>"

  defp leaf(tag), do: "<#{tag}>...</#{tag}>"

  @doc "A JSON value as nested tags."
  @spec write(Python.value(), String.t(), String.t() | nil) :: String.t()
  def write([], tag, key), do: "<#{tag}#{key(key)} />"
  def write(items, tag, key) when is_list(items), do: around(tag, key, Enum.map_join(items, &write(&1, "item", nil)))
  def write({pairs}, tag, key), do: around(tag, key, Enum.map_join(pairs, &entry/1))
  def write(nil, tag, key), do: "<#{tag}#{key(key)} />"

  def write(value, tag, key),
    do: around(tag, key, value |> Python.str() |> String.replace("&", "&amp;") |> String.replace("<", "&lt;"))

  defp around(tag, key, body), do: "<#{tag}#{key(key)}>#{body}</#{tag}>"

  defp entry({name, value}) do
    name = Python.str(name)

    if Regex.match?(~r/\A[\p{L}\p{Nl}_][\p{L}\p{N}\p{Mn}\p{Mc}\p{Pc}.\-]*\z/u, name),
      do: write(value, name, nil),
      else: write(value, "entry", name)
  end

  defp key(nil), do: ""

  # Python's quoteattr.
  defp key(text) do
    text =
      text
      |> XmlReader.escape()
      |> String.replace("\n", "&#10;")
      |> String.replace("\r", "&#13;")
      |> String.replace("\t", "&#9;")

    cond do
      not String.contains?(text, "\"") -> " key=\"#{text}\""
      not String.contains?(text, "'") -> " key='#{text}'"
      true -> " key=\"#{String.replace(text, "\"", "&quot;")}\""
    end
  end

  @doc "Elements by tag, in the order of their first; an `entry` goes under its key."
  @spec group([XmlReader.t()]) :: [{String.t(), [XmlReader.t()]}]
  def group(elements) do
    names = Enum.map(elements, &name/1)
    groups = elements |> Enum.zip(names) |> Enum.group_by(&elem(&1, 1), &elem(&1, 0))
    Enum.map(Enum.uniq(names), &{&1, groups[&1]})
  end

  defp name(%XmlReader{tag: "entry", attributes: attributes}), do: member_of(attributes, "key", "entry")
  defp name(%XmlReader{tag: tag}), do: tag

  @doc "What elements of one tag hold, under a schema."
  @spec value([XmlReader.t()], tuple, map) :: Python.value()
  def value(elements, schema, defs), do: value(elements, schema, defs, 0)

  defp value(elements, _schema, _defs, depth) when depth > @max_depth, do: elements |> hd() |> Map.fetch!(:text)

  defp value([first | _more] = elements, schema, defs, depth) do
    schema = schema |> resolved(defs)

    case choice(schema, first) do
      :none ->
        nil

      schema ->
        if member(schema, "type", nil) == "array",
          do: array(elements, schema, defs, depth),
          else: single(elements, schema, defs, depth)
    end
  end

  defp resolved(schema, defs) do
    case member(schema, "$ref", nil) do
      "#/$defs/" <> name -> Map.get(defs, name, schema)
      _none -> schema
    end
  end

  defp choice(schema, first) do
    case member(schema, "anyOf", []) do
      [] ->
        schema

      choices ->
        others = Enum.reject(choices, &(member(&1, "type", nil) == "null"))

        cond do
          {[{"type", "null"}]} in choices and first.children == [] and blank?(first) -> :none
          first.children == [] -> hd(others)
          true -> Enum.find(others, hd(others), &(member(&1, "type", nil) != "string"))
        end
    end
  end

  defp blank?(element), do: Python.strip(element.text) == ""

  defp array([%XmlReader{children: []} = only], schema, defs, depth) do
    case Python.strip(only.text) do
      "" -> []
      <<?[, _rest::binary>> = text -> text
      _text -> items([only], schema, defs, depth)
    end
  end

  defp array([only], schema, defs, depth) do
    case List.keyfind(group(only.children), "item", 0) do
      {_name, items} -> items(items, schema, defs, depth)
      nil -> items([only], schema, defs, depth)
    end
  end

  defp array(elements, schema, defs, depth), do: items(elements, schema, defs, depth)

  defp items(elements, schema, defs, depth),
    do: Enum.map(elements, &value([&1], member(schema, "items", {[]}), defs, depth + 1))

  defp single([first | _more] = elements, schema, defs, depth) do
    type = member(schema, "type", nil)

    cond do
      type == "string" and first.children != [] ->
        first.text <> Enum.map_join(first.children, &XmlReader.to_text/1)

      first.children == [] ->
        texts(elements, type)

      true ->
        {for(
           {name, children} <- group(first.children),
           do: {name, value(children, child(schema, name), defs, depth + 1)}
         )}
    end
  end

  defp texts([first | _more] = elements, type) do
    case {type == "object" and blank?(first), Enum.map(elements, &Python.strip(&1.text))} do
      {true, _texts} -> {[]}
      {false, [text]} -> text
      {false, texts} -> texts
    end
  end

  defp child(schema, name) do
    {properties} = member(schema, "properties", {[]})

    case {List.keyfind(properties, name, 0), member(schema, "additionalProperties", {[]})} do
      {{_name, schema}, _others} -> schema
      {nil, {_pairs} = others} -> others
      {nil, _boolean} -> {[]}
    end
  end
end
