defmodule DSPex.Wire.Json.Writer do
  @moduledoc false
  # Values to JSON, in one pass over the term.

  alias DSPex.Wire.Attachment
  alias DSPex.Wire.Limits
  alias DSPex.Wire.Values

  @smallest -9_223_372_036_854_775_808
  @largest 18_446_744_073_709_551_615
  # Base64 costs more than a part of its own from a few hundred bytes on (`make bench ONLY=attach`).
  @attach 1_024

  @spec encode(term, Limits.t()) :: {:ok, iodata, [binary]} | {:error, DSPex.Error.t()}
  def encode(term, limits), do: Values.write(term, limits, @attach, &value(&1, 0, &2))

  @spec encode_members([{String.t(), term}], Limits.t()) :: {:ok, iodata, [binary]} | {:error, DSPex.Error.t()}
  def encode_members(pairs, limits) do
    write = fn %DSPex.Ordered{pairs: pairs}, limits -> members(pairs, 2, limits) end
    Values.write(%DSPex.Ordered{pairs: pairs}, limits, @attach, write)
  end

  defp value(nil, _level, _limits), do: "null"
  defp value(true, _level, _limits), do: "true"
  defp value(false, _level, _limits), do: "false"

  defp value(text, level, limits) when is_binary(text) do
    case scan(text) do
      :plain -> [?", text, ?"]
      :wide -> if String.valid?(text), do: [?", text, ?"], else: other(text, level, limits)
      :escape -> if String.valid?(text), do: [?", escape(text, text, 0, 0), ?"], else: other(text, level, limits)
    end
  end

  defp value(number, _level, _limits) when is_integer(number) and number >= @smallest and number <= @largest,
    do: Integer.to_string(number)

  defp value(number, _level, _limits) when is_integer(number), do: tagged("int", Integer.to_string(number))
  defp value(number, _level, _limits) when is_float(number), do: :erlang.float_to_binary(number, [:short])
  defp value(list, level, limits) when is_list(list), do: array(list, level + 1, limits)

  defp value(%{} = map, level, limits) when not is_struct(map) and map_size(map) == 0 do
    Limits.check!(limits, level + 1, 0)
    "{}"
  end

  defp value(term, level, limits), do: other(term, level, limits)

  defp other(term, level, limits) do
    case Values.form(term) do
      {:text, text} -> value(text, level, limits)
      {:as, value} -> value(value, level, limits)
      {:map, pairs} -> object(pairs, level + 1, limits)
      {:tuple, items} -> [~s({"$type":"tuple","items":), array(items, level + 1, limits), ?}]
      {:set, items} -> [~s({"$type":"set","items":), array(items, level + 1, limits), ?}]
      {:bytes, data} -> bytes(data, limits)
      {:attachment, part} -> attachment(part)
      {:datetime, text} -> tagged("datetime", text)
      {:date, text} -> tagged("date", text)
      {:float, :nan} -> tagged("float", "nan")
      {:float, :infinity} -> tagged("float", "inf")
      {:float, :neg_infinity} -> tagged("float", "-inf")
      {:arrow, data} -> [~s({"$type":"arrow","data":), bytes(data, limits), ?}]
      {:tensor, dtype, shape, data} -> tensor(dtype, shape, data, limits)
    end
  end

  defp array([], level, limits) do
    Limits.check!(limits, level, 0)
    "[]"
  end

  defp array([first | rest], level, limits) do
    Limits.check!(limits, level, 0)
    [?[, value(first, level, limits) | items(rest, 1, level, limits)]
  end

  defp items([], count, level, limits) do
    Limits.check!(limits, level, count)
    [?]]
  end

  defp items([item | rest], count, level, limits),
    do: [?,, value(item, level, limits) | items(rest, count + 1, level, limits)]

  defp items(_tail, _count, _level, _limits),
    do: throw({:invalid_input, "an improper list cannot be sent to Python", nil})

  defp object([], level, limits) do
    Limits.check!(limits, level, 0)
    "{}"
  end

  defp object(pairs, level, limits) do
    Limits.check!(limits, level, length(pairs))

    if List.keymember?(pairs, "$type", 0),
      do: [~s({"$type":"map","entries":), [?[, entries(pairs, level, limits), ?]], ?}],
      else: [?{, members(pairs, level, limits), ?}]
  end

  defp members(pairs, level, limits) do
    pairs
    |> Enum.map(fn {key, value} -> [text(key), ?:, value(value, level, limits)] end)
    |> Enum.intersperse(?,)
  end

  defp entries(pairs, level, limits) do
    pairs
    |> Enum.map(fn {key, value} -> [?[, text(key), ?,, value(value, level, limits), ?]] end)
    |> Enum.intersperse(?,)
  end

  defp text(key) do
    if scan(key) == :escape, do: [?", escape(key, key, 0, 0), ?"], else: [?", key, ?"]
  end

  defp tagged(type, text), do: [~s({"$type":"), type, ~s(","value":"), text, ~s("})]

  defp attachment(part), do: [~s({"$type":"attachment","part":), Integer.to_string(part), ?}]

  defp bytes(%Attachment{part: part}, _limits), do: attachment(part)

  defp bytes(data, limits) do
    if byte_size(data) > limits.attach,
      do: throw(:attach),
      else: [~s({"$type":"bytes","base64":"), Base.encode64(data), ~s("})]
  end

  defp tensor(dtype, shape, data, limits) do
    dimensions = shape |> Enum.map(&Integer.to_string/1) |> Enum.intersperse(?,)
    [~s({"$type":"tensor","dtype":"), dtype, ~s(","shape":[), dimensions, ~s(],"data":), bytes(data, limits), ?}]
  end

  # Most text is plain ASCII and goes out as it is.
  defp scan(<<char, rest::binary>>) when char >= 0x20 and char < 0x80 and char != ?" and char != ?\\, do: scan(rest)
  defp scan(<<>>), do: :plain
  defp scan(<<char, rest::binary>>) when char >= 0x80, do: scan_wide(rest)
  defp scan(_binary), do: :escape

  defp scan_wide(<<char, rest::binary>>) when char >= 0x20 and char != ?" and char != ?\\, do: scan_wide(rest)
  defp scan_wide(<<>>), do: :wide
  defp scan_wide(_binary), do: :escape

  defp escape(<<char, rest::binary>>, all, start, length) when char >= 0x20 and char != ?" and char != ?\\,
    do: escape(rest, all, start, length + 1)

  defp escape(<<>>, all, start, length), do: binary_part(all, start, length)

  defp escape(<<char, rest::binary>>, all, start, length),
    do: [binary_part(all, start, length), escaped(char) | escape(rest, all, start + length + 1, 0)]

  defp escaped(?"), do: ~S(\")
  defp escaped(?\\), do: ~S(\\)
  defp escaped(?\n), do: ~S(\n)
  defp escaped(?\r), do: ~S(\r)
  defp escaped(?\t), do: ~S(\t)
  defp escaped(?\b), do: ~S(\b)
  defp escaped(?\f), do: ~S(\f)
  defp escaped(char), do: [~S(\u00), Base.encode16(<<char>>, case: :lower)]
end
