defmodule DSPex.Wire.Json.Reader do
  @moduledoc false
  # JSON as a library read it, to values: tags resolved, repeated keys refused, limits held.

  alias DSPex.Wire.Json.Digits
  alias DSPex.Wire.Limits
  alias DSPex.Wire.Values

  @spec value(DSPex.Wire.Json.Library.raw(), Limits.t(), [binary], non_neg_integer) ::
          {:ok, term} | {:error, DSPex.Error.t()}
  def value(raw, limits, parts, level \\ 0) do
    {:ok, read(raw, level, {limits, List.to_tuple(parts)})}
  catch
    {_reason, _message, _limit} = refused -> {:error, Values.error(refused)}
  end

  defp read({[{"$type", type} | members]}, level, context), do: tagged(type, members, level, context)

  defp read({pairs}, level, {limits, _parts} = context) do
    case List.keytake(pairs, "$type", 0) do
      {{"$type", type}, members} ->
        tagged(type, members, level, context)

      nil ->
        Limits.check!(limits, level + 1, length(pairs))
        Values.map!(Enum.map(pairs, fn {key, value} -> {key, read(value, level + 1, context)} end), limits)
    end
  end

  defp read(list, level, context) when is_list(list), do: items(list, level + 1, context)
  defp read(scalar, _level, _context), do: scalar

  defp items(list, level, {limits, _parts} = context) do
    Limits.check!(limits, level, length(list))
    Enum.map(list, &read(&1, level, context))
  end

  defp tagged("tuple", [{"items", items}], level, context) when is_list(items),
    do: items |> items(level + 1, context) |> List.to_tuple()

  defp tagged("set", [{"items", items}], level, context) when is_list(items),
    do: items |> items(level + 1, context) |> Values.set!()

  defp tagged("int", [{"value", text}], _level, _context) when is_binary(text) do
    case Digits.integer(text) do
      {:ok, number} -> number
      :error -> bad("int", "its value is no decimal number")
    end
  end

  defp tagged("float", [{"value", "nan"}], _level, _context), do: :nan
  defp tagged("float", [{"value", "inf"}], _level, _context), do: :infinity
  defp tagged("float", [{"value", "-inf"}], _level, _context), do: :neg_infinity
  defp tagged("datetime", [{"value", text}], _level, _context), do: ok!(Values.datetime(text), "datetime")
  defp tagged("date", [{"value", text}], _level, _context), do: ok!(Values.date(text), "date")

  defp tagged("bytes", [{"base64", text}], _level, _context) when is_binary(text),
    do: %DSPex.Bytes{data: ok!(Base.decode64(text), "bytes")}

  defp tagged("attachment", [{"part", _part}] = members, _level, context),
    do: %DSPex.Bytes{data: data!({[{"$type", "attachment"} | members]}, context)}

  defp tagged("arrow", [{"data", data}], _level, context), do: %DSPex.Table{ipc: data!(data, context)}

  defp tagged("tensor", members, _level, context) do
    case Map.new(members) do
      %{"dtype" => dtype, "shape" => shape, "data" => data} when length(members) == 3 ->
        tensor!(DSPex.Tensor.new(dtype, shape, data!(data, context)))

      _members ->
        bad("tensor", "it has exactly dtype, shape and data")
    end
  end

  defp tagged("map", [{"entries", entries}], level, {limits, _parts} = context) when is_list(entries) do
    Limits.check!(limits, level + 1, length(entries))

    entries
    |> Enum.map(fn
      [key, value] when is_binary(key) -> {key, read(value, level + 1, context)}
      _entry -> bad("map", "its entries are pairs of a text and a value")
    end)
    |> Values.map!(limits)
  end

  defp tagged(type, _members, _level, _context), do: bad(inspect(type), "unknown, or its members are wrong")

  defp data!({[{"$type", "bytes"}, {"base64", text}]}, _context) when is_binary(text),
    do: ok!(Base.decode64(text), "bytes")

  defp data!({[{"$type", "attachment"}, {"part", part}]}, {_limits, parts}) do
    if is_integer(part) and part >= 1 and part <= tuple_size(parts),
      do: elem(parts, part - 1),
      else: bad("attachment", "the body has no part #{inspect(part)}")
  end

  defp data!(_other, _context), do: bad("bytes", "bytes or an attachment are expected")

  defp tensor!({:ok, tensor}), do: tensor
  defp tensor!({:error, problem}), do: bad("tensor", problem)

  defp ok!({:ok, value}, _type), do: value
  defp ok!(:error, type), do: bad(type, "its value cannot be read")

  defp bad(type, problem), do: throw({:protocol_error, "a value with $type #{type}: #{problem}", nil})
end
