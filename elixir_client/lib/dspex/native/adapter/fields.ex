defmodule DSPex.Native.Adapter.Fields do
  @moduledoc false
  # The texts about fields that all adapters share.

  alias DSPex.Native.Adapter.JsonText
  alias DSPex.Native.Python
  alias DSPex.Native.Signature.Schema
  alias DSPex.Native.Signature.Type
  alias DSPex.Signature.Field

  @indent "        "

  @doc "The numbered list of fields with their types, descriptions and constraints."
  @spec description([Field.t()]) :: String.t()
  def description(fields) do
    fields
    |> Enum.with_index(1)
    |> Enum.map_join("\n", fn {field, index} -> "#{index}. #{describe(field)}" end)
    |> Python.strip()
  end

  defp describe(%Field{name: name, type: type, desc: desc} = field) do
    desc = if desc == "${" <> name <> "}", do: "", else: desc
    notes = for type <- own_types(type), note = note(type), do: note
    "`#{name}` (#{Type.name(type)}): #{desc}#{notes}#{constraints(field)}"
  end

  defp own_types({kind, args}) when kind in [:list, :dict, :set, :frozenset, :tuple, :union] and is_list(args),
    do: Enum.flat_map(args, &own_types/1)

  defp own_types({:generic, _name, args}), do: Enum.flat_map(args, &own_types/1)
  defp own_types({:annotated, type, _metadata}), do: own_types(type)
  defp own_types(type), do: [type]

  defp note({:dspy, "Code"}), do: note({:code, "python"}, "Code")
  defp note({:code, _language} = type), do: note(type, Type.name(type))

  defp note({:dspy, "ToolCalls"}) do
    "\n    Type description of ToolCalls: Tool calls must be a JSON object with `tool_calls`, a list of calls. " <>
      "Each call must include `name` and `args`. " <>
      ~s(Example: {"tool_calls": [{"name": "search", "args": {"query": "cats"}}]})
  end

  defp note(_type), do: nil

  defp note({:code, language}, name) do
    "\n    Type description of #{name}: Code represented in a string, specified in the `code` field. If this is an " <>
      "output field, the code field should follow the markdown code block format, e.g. \n" <>
      "```#{String.downcase(language)}\n{code}\n```\nProgramming language: #{language}"
  end

  @words %{
    "gt" => "greater than: ",
    "ge" => "greater than or equal to: ",
    "lt" => "less than: ",
    "le" => "less than or equal to: ",
    "min_length" => "minimum length: ",
    "max_length" => "maximum length: ",
    "multiple_of" => "a multiple of the given number: "
  }

  # Only what a field itself declares: DSPy does not read what `Annotated` says.
  defp constraints(%Field{constraints: constraints}) do
    case for {name, value} <- constraints, word = @words[name], do: word <> Python.str(value) do
      [] -> ""
      texts -> "\nConstraints: " <> Enum.join(texts, ", ")
    end
  end

  @doc "What stands in the place of a value in the description of the structure."
  @spec placeholder(Field.t()) :: String.t()
  def placeholder(%Field{name: name} = field) do
    case requirement(field) do
      "" -> "{#{name}}"
      text -> "{#{name}}#{@indent}# note: the value you produce #{text}"
    end
  end

  defp requirement(%Field{role: :input}), do: ""
  defp requirement(%Field{type: type}) when type in [:str, {:dspy, "Reasoning"}], do: ""
  defp requirement(%Field{type: :bool}), do: "must be True or False"
  defp requirement(%Field{type: type}) when type in [:int, :float], do: "must be a single #{type} value"

  defp requirement(%Field{type: {:enum, %{members: members}}}),
    do: "must be one of: #{texts(Enum.map(members, &elem(&1, 1)))}"

  defp requirement(%Field{type: {:literal, values}}),
    do: "must exactly match (no extra characters) one of: #{texts(values)}"

  defp requirement(%Field{type: type}) when type == {:dspy, "Code"} or elem(type, 0) == :code, do: ""

  defp requirement(%Field{type: type}) do
    schema =
      case Schema.of(type) do
        {:ok, schema} -> schema
        :error -> {[]}
      end

    "must adhere to the JSON schema: #{schema |> type_first() |> JsonText.dumps()}"
  end

  defp texts(values), do: Enum.map_join(values, "; ", &Python.str/1)

  # Sorted keys with the type in front: what DSPy found LMs to follow best.
  defp type_first({pairs}) do
    {pairs
     |> Enum.sort_by(fn {key, _value} -> {key != "type", key} end)
     |> Enum.map(fn {k, v} -> {k, type_first(v)} end)}
  end

  defp type_first(list) when is_list(list), do: Enum.map(list, &type_first/1)
  defp type_first(value), do: value

  @doc """
  A value as text for the LM: dicts and lists as JSON, a list in a plain text field as a numbered list, the rest as
  Python writes it.
  """
  @spec format(Field.t(), Python.value()) :: String.t()
  def format(%Field{type: :str}, []), do: "N/A"
  def format(%Field{type: :str}, [item]), do: blob(item)

  def format(%Field{type: :str}, items) when is_list(items) do
    items |> Enum.with_index(1) |> Enum.map_join("\n", fn {item, index} -> "[#{index}] #{blob(item)}" end)
  end

  def format(_field, value), do: value |> JsonText.jsonable() |> text()

  @doc "A value that JSON can hold, as text."
  @spec text(Python.value()) :: String.t()
  def text(value) when is_list(value) or is_tuple(value), do: JsonText.dumps(value)
  def text(value), do: Python.str(value)

  defp blob(text) when is_binary(text) do
    if String.contains?(text, ["\n", "«", "»"]),
      do: "«««\n    #{String.replace(text, "\n", "\n    ")}\n»»»",
      else: "«#{text}»"
  end

  defp blob(item), do: "«#{Python.str(item)}»"

  @doc "What the adapters that end with a sentence about the outputs say of a field's type."
  @spec type_info(Field.t()) :: String.t()
  def type_info(%Field{type: :str}), do: ""

  def type_info(%Field{type: {:dspy, "ToolCalls"}}),
    do: ~S| (must be a JSON object like {"tool_calls": [{"name": "...", "args": {...}}]})|

  def type_info(%Field{type: type}), do: " (must be formatted as a valid Python #{Type.name(type)})"
end
