defmodule DSPex.Wire.Msgpack.Encoder do
  @moduledoc false
  # Values to MessagePack, in one pass over the term; always the shortest form.

  alias DSPex.Wire.Attachment
  alias DSPex.Wire.Limits
  alias DSPex.Wire.Msgpack.Ext
  alias DSPex.Wire.Msgpack.Utf8
  alias DSPex.Wire.Values

  import Bitwise, only: [&&&: 2]

  @smallest -9_223_372_036_854_775_808
  @largest 18_446_744_073_709_551_615
  # Bytes stand in the message as they are: a part of its own saves one copy, which shows in large ones.
  @attach 65_536
  @nan <<0xCB, 0x7FF8000000000000::64>>
  @infinity <<0xCB, 0x7FF0000000000000::64>>
  @neg_infinity <<0xCB, 0xFFF0000000000000::64>>

  @spec encode(term, Limits.t()) :: {:ok, iodata, [binary]} | {:error, DSPex.Error.t()}
  def encode(term, limits), do: Values.write(term, limits, @attach, &body/2)

  @spec encode_members([{String.t(), term}], Limits.t()) :: {:ok, iodata, [binary]} | {:error, DSPex.Error.t()}
  def encode_members(pairs, limits) do
    write = fn %DSPex.Ordered{pairs: pairs}, limits -> members(pairs, 2, limits) end
    Values.write(%DSPex.Ordered{pairs: pairs}, limits, @attach, write)
  end

  @spec map_head(non_neg_integer) :: binary
  def map_head(count) when count < 0x10, do: <<0x80 + count>>
  def map_head(count) when count < 0x10000, do: <<0xDE, count::16>>
  def map_head(count), do: <<0xDF, count::32>>

  # Inside, a single byte stands for itself, which is no iodata on its own.
  defp body(term, limits) do
    case value(term, 0, limits) do
      byte when is_integer(byte) -> [byte]
      iodata -> iodata
    end
  end

  defp value(text, _level, limits) when is_binary(text) do
    if Utf8.valid?(text), do: text(text), else: bytes(text, limits)
  end

  defp value(number, _level, _limits) when is_integer(number), do: integer(number)
  defp value(nil, _level, _limits), do: 0xC0
  defp value(false, _level, _limits), do: 0xC2
  defp value(true, _level, _limits), do: 0xC3
  defp value(number, _level, _limits) when is_float(number), do: <<0xCB, number::float-64>>
  defp value(list, level, limits) when is_list(list), do: array(list, level + 1, limits)
  defp value(map, level, limits) when is_map(map) and not is_struct(map), do: map(map, level + 1, limits)
  defp value(%Ext{type: type, data: data}, _level, _limits), do: ext(type, data)
  defp value(term, level, limits), do: other(Values.form(term), level, limits)

  defp other({:text, text}, level, limits), do: value(text, level, limits)
  defp other({:as, value}, level, limits), do: value(value, level, limits)
  defp other({:map, pairs}, level, limits), do: pairs(pairs, length(pairs), level + 1, limits)
  defp other({:tuple, items}, level, limits), do: ext(2, array(items, level + 1, limits))
  defp other({:set, items}, level, limits), do: ext(3, array(items, level + 1, limits))
  defp other({:bytes, data}, _level, limits), do: bytes(data, limits)
  defp other({:attachment, part}, _level, _limits), do: attachment(part)
  defp other({:datetime, text}, _level, _limits), do: ext(4, text)
  defp other({:date, text}, _level, _limits), do: ext(5, text)
  defp other({:float, :nan}, _level, _limits), do: @nan
  defp other({:float, :infinity}, _level, _limits), do: @infinity
  defp other({:float, :neg_infinity}, _level, _limits), do: @neg_infinity
  defp other({:arrow, data}, _level, limits), do: ext(7, bytes(data, limits))

  defp other({:tensor, dtype, shape, data}, _level, limits),
    do: ext(6, [0x93, text(dtype), array_head(length(shape)), Enum.map(shape, &integer/1), bytes(data, limits)])

  defp text(text) do
    case byte_size(text) do
      size when size < 0x20 -> [0xA0 + size, text]
      size when size < 0x100 -> [0xD9, size, text]
      size when size < 0x10000 -> [<<0xDA, size::16>>, text]
      size -> [<<0xDB, size::32>>, text]
    end
  end

  defp integer(number) when number >= 0 do
    cond do
      number < 0x80 -> number
      number < 0x100 -> [0xCC, number]
      number < 0x10000 -> <<0xCD, number::16>>
      number < 0x100000000 -> <<0xCE, number::32>>
      number <= @largest -> <<0xCF, number::64>>
      true -> big(number, number)
    end
  end

  defp integer(number) do
    cond do
      number >= -0x20 -> number &&& 0xFF
      number >= -0x80 -> [0xD0, number &&& 0xFF]
      number >= -0x8000 -> <<0xD1, number::16>>
      number >= -0x80000000 -> <<0xD2, number::32>>
      number >= @smallest -> <<0xD3, number::64>>
      true -> big(number, -number - 1)
    end
  end

  # Two's complement needs one bit for the sign: a magnitude that fills its bytes takes one byte more.
  defp big(number, magnitude) do
    <<top, rest::binary>> = :binary.encode_unsigned(magnitude)
    size = if top < 0x80, do: byte_size(rest) + 1, else: byte_size(rest) + 2
    ext(1, <<number::signed-size(size)-unit(8)>>)
  end

  defp array([], level, limits) do
    Limits.check!(limits, level, 0)
    0x90
  end

  defp array(list, level, limits) when length(list) > 0 do
    count = length(list)
    Limits.check!(limits, level, count)
    [array_head(count) | items(list, level, limits)]
  end

  defp array(_improper, _level, _limits),
    do: throw({:invalid_input, "an improper list cannot be sent to Python", nil})

  defp array_head(count) when count < 0x10, do: 0x90 + count
  defp array_head(count) when count < 0x10000, do: <<0xDC, count::16>>
  defp array_head(count), do: <<0xDD, count::32>>

  defp items([item | rest], level, limits), do: [value(item, level, limits) | items(rest, level, limits)]
  defp items([], _level, _limits), do: []

  # A small map comes in the order of its keys already, as long as all of them are text.
  defp map(map, level, limits) do
    pairs = :maps.to_list(map)

    case order(pairs, "") do
      :sorted -> pairs(pairs, map_size(map), level, limits)
      :unsorted -> pairs |> List.keysort(0) |> pairs(map_size(map), level, limits)
      :other -> map |> Values.form() |> elem(1) |> pairs(map_size(map), level, limits)
    end
  end

  defp order([{key, _value} | rest], last) when is_binary(key) and key >= last, do: order(rest, key)
  defp order([], _last), do: :sorted
  defp order(pairs, _last), do: if(Enum.all?(pairs, &is_binary(elem(&1, 0))), do: :unsorted, else: :other)

  defp pairs(pairs, count, level, limits) do
    Limits.check!(limits, level, count)
    [if(count < 0x10, do: 0x80 + count, else: map_head(count)) | members(pairs, level, limits)]
  end

  defp members([{key, value} | rest], level, limits),
    do: [key(key), value(value, level, limits) | members(rest, level, limits)]

  defp members([], _level, _limits), do: []

  defp key(key) do
    if Utf8.valid?(key), do: text(key), else: throw({:invalid_input, "the key of a map is not UTF-8 text", nil})
  end

  defp attachment(part), do: ext(8, [integer(part)])

  defp bytes(%Attachment{part: part}, _limits), do: attachment(part)

  defp bytes(data, limits) do
    size = byte_size(data)
    if size > limits.attach, do: throw(:attach), else: bin(data, size)
  end

  defp bin(data, size) do
    case size do
      size when size < 0x100 -> [0xC4, size, data]
      size when size < 0x10000 -> [<<0xC5, size::16>>, data]
      size -> [<<0xC6, size::32>>, data]
    end
  end

  # An empty collection in an ext is a byte, not iodata.
  defp ext(type, byte) when is_integer(byte), do: [0xD4, type, byte]

  defp ext(type, payload) do
    case IO.iodata_length(payload) do
      1 -> [<<0xD4, type>> | payload]
      2 -> [<<0xD5, type>> | payload]
      4 -> [<<0xD6, type>> | payload]
      8 -> [<<0xD7, type>> | payload]
      16 -> [<<0xD8, type>> | payload]
      size when size < 0x100 -> [<<0xC7, size, type>> | payload]
      size when size < 0x10000 -> [<<0xC8, size::16, type>> | payload]
      size -> [<<0xC9, size::32, type>> | payload]
    end
  end
end
