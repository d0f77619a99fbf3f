defmodule DSPex.Native.Adapter.ResponseSchema do
  @moduledoc false
  # The schema of a structured output: every object names all its properties as required and takes no others.

  alias DSPex.Native.Adapter.JsonText
  alias DSPex.Native.Signature.Schema
  alias DSPex.Signature.Field

  @doc "See `DSPex.Native.Adapter.JSON.response_schema/2`."
  @spec build(DSPex.Signature.t(), keyword) :: {:ok, DSPex.Ordered.t()} | {:error, String.t()}
  def build(signature, options) do
    native? = Keyword.get(options, :native_tool_calls, true)
    fields = Enum.reject(signature.outputs, &(native? and &1.type == {:dspy, "ToolCalls"}))

    case Enum.find(fields, &open?/1) do
      nil ->
        {:ok, fields |> object() |> ordered()}

      field ->
        {:error, "the field `#{field.name}` has an open-ended mapping type, which structured outputs do not take"}
    end
  catch
    :no_schema -> {:error, "a type of the outputs has no JSON Schema"}
  end

  defp open?(%Field{type: {:dict, _args}}), do: true
  defp open?(_field), do: false

  defp object(fields) do
    {properties, defs} = Enum.map_reduce(fields, %{}, &property/2)
    defs = Enum.map(Enum.sort(defs), fn {name, schema} -> {name, enforce(schema)} end)

    {[
       {"additionalProperties", false},
       {"properties", {Enum.map(properties, fn {name, schema} -> {name, enforce(schema)} end)}},
       {"required", Enum.map(fields, & &1.name)},
       {"title", "DSPyProgramOutputs"},
       {"type", "object"}
     ]}
    |> Schema.with_defs(Map.new(defs))
  end

  defp property(%Field{name: name, type: type} = field, defs) do
    {{pairs}, defs} = Schema.inner(type, defs)
    # A factory of defaults is not written.
    title = if titled?(type), do: [{"title", title(name)}], else: []
    {{name, {Enum.sort_by(pairs ++ title ++ default(field), &elem(&1, 0))}}, defs}
  end

  # Named types carry their own title, also when they may be None.
  defp titled?({:union, types}) do
    case Enum.reject(types, &(&1 == :none)) do
      [type] -> titled?(type)
      _several -> true
    end
  end

  defp titled?({kind, _definition}) when kind in [:enum, :model, :dspy, :code], do: false
  defp titled?(_type), do: true

  defp default(%Field{default: {:ok, value}}) when not is_list(value) and not is_tuple(value),
    do: [{"default", JsonText.jsonable(value)}]

  defp default(_field), do: []

  # pydantic: name.title().replace("_", " ")
  defp title(name),
    do: name |> String.replace(~r/\p{L}+/u, &String.capitalize/1) |> String.replace("_", " ") |> String.trim()

  defp enforce({pairs}) do
    case {List.keyfind(pairs, "type", 0), List.keyfind(pairs, "properties", 0)} do
      {{"type", "object"}, {"properties", {properties}}} -> closed(pairs, properties)
      {{"type", "object"}, nil} -> put(pairs, [{"properties", {[]}}, {"required", []}, {"additionalProperties", false}])
      {{"type", "array"}, _none} -> {Enum.map(pairs, &item/1)}
      _other -> {pairs}
    end
  end

  defp enforce(other), do: other

  defp closed(pairs, properties) do
    inner = Enum.map(properties, fn {name, schema} -> {name, enforce(schema)} end)
    required = Enum.map(properties, &elem(&1, 0))
    put(pairs, [{"properties", {inner}}, {"required", required}, {"additionalProperties", false}])
  end

  defp item({"items", {_pairs} = schema}), do: {"items", enforce(schema)}
  defp item(pair), do: pair

  defp put(pairs, added),
    do: {Enum.reduce(added, pairs, fn {key, _value} = pair, pairs -> List.keystore(pairs, key, 0, pair) end)}

  defp ordered({pairs}), do: DSPex.Ordered.new(Enum.map(pairs, fn {key, value} -> {key, ordered(value)} end))
  defp ordered(list) when is_list(list), do: Enum.map(list, &ordered/1)
  defp ordered(value), do: value
end
