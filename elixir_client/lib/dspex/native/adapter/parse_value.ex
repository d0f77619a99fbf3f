defmodule DSPex.Native.Adapter.ParseValue do
  @moduledoc false
  # DSPy's `parse_value`: a text or a JSON value from a completion to a value of a field's type.

  alias DSPex.Native.Adapter.Repair
  alias DSPex.Native.Adapter.Validate
  alias DSPex.Native.Python
  alias DSPex.Native.PythonLiteral

  @type problems :: [{[String.t() | non_neg_integer], String.t()}]

  @doc "The value, or why it does not fit, or `:unsure` when only Python's `json_repair` could tell."
  @spec parse(Python.value(), tuple | atom) :: {:ok, Python.value()} | {:error, problems} | :unsure
  def parse(value, :str), do: {:ok, Python.str(value)}
  def parse(value, {:enum, definition}), do: member(value, definition)
  def parse(value, {:literal, allowed} = type), do: literal(value, allowed, type)
  def parse(value, type), do: typed(value, type)

  defp member(value, %{name: name, members: members}) do
    with nil <- Enum.find(members, fn {_member, own} -> Python.equal?(own, value) end),
         nil <- Enum.find(members, fn {member, _own} -> member == value end) do
      {:error, [{[], "#{Python.repr(value)} is no name or value of #{name}"}]}
    else
      {member, own} -> {:ok, {:enum, name, member, own}}
    end
  end

  # In Python 1, 1.0 and True are equal, and the value that was found stays.
  defp literal(value, allowed, type) do
    text = if is_binary(value), do: unquoted(value)

    cond do
      Enum.any?(allowed, &Python.equal?(&1, value)) -> {:ok, value}
      text && text in allowed -> {:ok, text}
      true -> typed(text || value, type)
    end
  end

  defp unquoted(value) do
    text = Python.strip(value)

    text =
      if String.starts_with?(text, ["Literal[", "str["]) and String.ends_with?(text, "]"),
        do: text |> String.split("[", parts: 2) |> List.last() |> String.slice(0..-2//1),
        else: text

    case text do
      <<quote, rest::binary>> when quote in [?', ?"] and rest != "" ->
        if :binary.last(rest) == quote, do: binary_part(rest, 0, byte_size(rest) - 1), else: text

      text ->
        text
    end
  end

  defp typed(value, type) when not is_binary(value), do: Validate.value(value, type)

  defp typed(value, {:union, types} = type) do
    if :none in types and :str in types, do: Validate.value(value, type), else: read(value, type)
  end

  defp typed(value, type), do: read(value, type)

  defp read(value, type) do
    case Repair.loads(value) do
      {:ok, ""} when value != "" -> value |> PythonLiteral.eval() |> candidate(value, type)
      {:ok, candidate} -> validate(candidate, value, type)
      :unsure -> :unsure
    end
  end

  defp candidate({:ok, literal}, value, type), do: validate(literal, value, type)
  defp candidate(:error, value, type), do: validate(value, value, type)

  # DSPy's own types may know how to read the text itself.
  defp validate(candidate, value, type) do
    case {Validate.value(candidate, type), type} do
      {{:error, problems}, {kind, _name}} when kind in [:dspy, :code] ->
        with {:error, _problems} <- Validate.value(value, type), do: {:error, problems}

      {result, _type} ->
        result
    end
  end
end
