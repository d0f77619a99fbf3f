defmodule DSPex.Conformance.Msgpack do
  # The MessagePack suite: every listed form is read as the value, and the value is written in one of the forms.
  # Numbers are compared as numbers: the suite lists floats among the forms of integers.

  alias DSPex.Wire.Msgpack
  alias DSPex.Wire.Msgpack.Ext

  def checks(document) do
    for {group, cases} <- document["groups"].pairs, {vector, index} <- Enum.with_index(cases) do
      forms = Enum.map(vector["msgpack"], &bytes/1)
      id = "#{group} #{index}"
      reads = for form <- forms, do: {"#{id}, reading #{hex(form)}", fn -> reads(form, expected(vector)) end}
      [{"#{id}, writing", fn -> writes(value(vector), forms) end} | reads]
    end
    |> List.flatten()
  end

  defp reads(form, expected) do
    case read(form) do
      {:ok, ^expected} -> :ok
      {:ok, value} when is_number(expected) and value == expected -> :ok
      other -> {:error, "expected #{inspect(expected)}, got #{inspect(other)}"}
    end
  end

  # Timestamps and ext types of the suite's own are read as plain MessagePack; protocol 1 gives them its own meaning.
  defp read(form) do
    with {:ok, %Ext{type: -1, data: data}} <- Msgpack.decode_plain(form),
         {:ok, seconds, nanos} <- Ext.read_timestamp(data),
         do: {:ok, {:timestamp, seconds, nanos}}
  end

  defp writes(value, forms) do
    {:ok, written, []} = Msgpack.encode(value)
    written = IO.iodata_to_binary(written)
    if written in forms, do: :ok, else: {:error, "wrote #{hex(written)}"}
  end

  defp value(vector) do
    case expected(vector) do
      {:timestamp, seconds, nanos} -> Ext.timestamp(seconds, nanos)
      value -> value
    end
  end

  defp expected(vector) do
    case Enum.reject(vector.pairs, fn {kind, _value} -> kind == "msgpack" end) do
      [{"timestamp", [seconds, nanos]}] -> {:timestamp, seconds, nanos}
      [{"ext", [type, data]}] -> %Ext{type: type, data: bytes(data)}
      [{"binary", data}] -> DSPex.Bytes.new(bytes(data))
      [{"map", map}] -> DSPex.Ordered.plain(map)
      pairs when length(pairs) == 2 -> vector["bignum"] |> String.to_integer()
      [{"bignum", digits}] -> String.to_integer(digits)
      [{_kind, value}] -> DSPex.Ordered.plain(value)
    end
  end

  defp bytes(text), do: text |> String.replace("-", "") |> Base.decode16!(case: :lower)
  defp hex(data), do: Base.encode16(data, case: :lower)
end
