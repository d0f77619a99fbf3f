defmodule DSPex.Wire.Msgpack.Reader do
  @moduledoc false
  # MessagePack to values, in one pass over the bytes. A collection is refused by its header, before it is built.

  alias DSPex.Wire.Limits
  alias DSPex.Wire.Values

  @spec decode(binary, Limits.t(), [binary]) :: {:ok, term} | {:error, DSPex.Error.t()}
  def decode(data, limits, parts) do
    {:ok, whole(data, 0, {limits, List.to_tuple(parts)})}
  catch
    {_reason, _message, _limit} = refused -> {:error, Values.error(refused)}
  end

  defp whole(data, level, context) do
    case read(data, level, context) do
      {value, ""} -> value
      {_value, rest} -> bad("#{byte_size(rest)} bytes follow the value")
    end
  end

  defp read(<<0::1, number::7, rest::binary>>, _level, _context), do: {number, rest}
  defp read(<<5::3, size::5, text::binary-size(size), rest::binary>>, _level, _context), do: {text!(text), rest}
  defp read(<<8::4, count::4, rest::binary>>, level, context), do: map(rest, count, level + 1, context)
  defp read(<<9::4, count::4, rest::binary>>, level, context), do: array(rest, count, level + 1, context)
  defp read(<<7::3, number::5, rest::binary>>, _level, _context), do: {number - 32, rest}
  defp read(<<0xC0, rest::binary>>, _level, _context), do: {nil, rest}
  defp read(<<0xC2, rest::binary>>, _level, _context), do: {false, rest}
  defp read(<<0xC3, rest::binary>>, _level, _context), do: {true, rest}
  defp read(<<0xD9, size, text::binary-size(size), rest::binary>>, _level, _context), do: {text!(text), rest}
  defp read(<<0xDA, size::16, text::binary-size(size), rest::binary>>, _level, _context), do: {text!(text), rest}
  defp read(<<0xDB, size::32, text::binary-size(size), rest::binary>>, _level, _context), do: {text!(text), rest}
  defp read(<<0xCA, bits::binary-size(4), rest::binary>>, _level, _context), do: {float32(bits), rest}
  defp read(<<0xCB, bits::binary-size(8), rest::binary>>, _level, _context), do: {float64(bits), rest}
  defp read(<<0xCC, number::8, rest::binary>>, _level, _context), do: {number, rest}
  defp read(<<0xCD, number::16, rest::binary>>, _level, _context), do: {number, rest}
  defp read(<<0xCE, number::32, rest::binary>>, _level, _context), do: {number, rest}
  defp read(<<0xCF, number::64, rest::binary>>, _level, _context), do: {number, rest}
  defp read(<<0xD0, number::signed-8, rest::binary>>, _level, _context), do: {number, rest}
  defp read(<<0xD1, number::signed-16, rest::binary>>, _level, _context), do: {number, rest}
  defp read(<<0xD2, number::signed-32, rest::binary>>, _level, _context), do: {number, rest}
  defp read(<<0xD3, number::signed-64, rest::binary>>, _level, _context), do: {number, rest}
  defp read(<<0xDC, count::16, rest::binary>>, level, context), do: array(rest, count, level + 1, context)
  defp read(<<0xDD, count::32, rest::binary>>, level, context), do: array(rest, count, level + 1, context)
  defp read(<<0xDE, count::16, rest::binary>>, level, context), do: map(rest, count, level + 1, context)
  defp read(<<0xDF, count::32, rest::binary>>, level, context), do: map(rest, count, level + 1, context)
  defp read(<<0xC4, size, data::binary-size(size), rest::binary>>, _level, _context), do: {bytes(data), rest}
  defp read(<<0xC5, size::16, data::binary-size(size), rest::binary>>, _level, _context), do: {bytes(data), rest}
  defp read(<<0xC6, size::32, data::binary-size(size), rest::binary>>, _level, _context), do: {bytes(data), rest}
  defp read(<<0xD4, type::signed-8, data::binary-1, rest::binary>>, level, c), do: {ext(type, data, level, c), rest}
  defp read(<<0xD5, type::signed-8, data::binary-2, rest::binary>>, level, c), do: {ext(type, data, level, c), rest}
  defp read(<<0xD6, type::signed-8, data::binary-4, rest::binary>>, level, c), do: {ext(type, data, level, c), rest}
  defp read(<<0xD7, type::signed-8, data::binary-8, rest::binary>>, level, c), do: {ext(type, data, level, c), rest}
  defp read(<<0xD8, type::signed-8, data::binary-16, rest::binary>>, level, c), do: {ext(type, data, level, c), rest}

  defp read(<<0xC7, size, type::signed-8, data::binary-size(size), rest::binary>>, level, context),
    do: {ext(type, data, level, context), rest}

  defp read(<<0xC8, size::16, type::signed-8, data::binary-size(size), rest::binary>>, level, context),
    do: {ext(type, data, level, context), rest}

  defp read(<<0xC9, size::32, type::signed-8, data::binary-size(size), rest::binary>>, level, context),
    do: {ext(type, data, level, context), rest}

  defp read(<<0xC1, _rest::binary>>, _level, _context), do: bad("the byte C1 is never used")
  defp read(_data, _level, _context), do: bad("the bytes end in the middle of a value")

  # A header that promises more items than there are bytes is a lie: nothing is built for it.
  defp array(data, count, level, {limits, _parts} = context) do
    Limits.check!(limits, level, count)
    if count > byte_size(data), do: bad("the bytes end in the middle of a value")
    items(data, count, level, context, [])
  end

  defp items(data, 0, _level, _context, items), do: {Enum.reverse(items), data}

  defp items(data, count, level, context, items) do
    {item, rest} = read(data, level, context)
    items(rest, count - 1, level, context, [item | items])
  end

  defp map(data, count, level, {limits, _parts} = context) do
    Limits.check!(limits, level, count)
    if count * 2 > byte_size(data), do: bad("the bytes end in the middle of a value")
    pairs(data, count, level, context, [])
  end

  defp pairs(data, 0, _level, {limits, _parts}, pairs), do: {pairs |> Enum.reverse() |> Values.map!(limits), data}

  defp pairs(data, count, level, context, pairs) do
    case read(data, level, context) do
      {key, rest} when is_binary(key) ->
        {value, rest} = read(rest, level, context)
        pairs(rest, count - 1, level, context, [{key, value} | pairs])

      {_key, _rest} ->
        bad("the key of a map is no text")
    end
  end

  defp text!(text), do: if(String.valid?(text), do: text, else: bad("a text is not UTF-8"))
  defp bytes(data), do: %DSPex.Bytes{data: data}

  defp float32(<<number::float-32>>), do: number
  defp float32(<<0::1, 0xFF, 0::23>>), do: :infinity
  defp float32(<<1::1, 0xFF, 0::23>>), do: :neg_infinity
  defp float32(_bits), do: :nan

  defp float64(<<number::float-64>>), do: number
  defp float64(<<0::1, 0x7FF::11, 0::52>>), do: :infinity
  defp float64(<<1::1, 0x7FF::11, 0::52>>), do: :neg_infinity
  defp float64(_bits), do: :nan

  defp ext(1, data, _level, _context) when data != "" do
    size = bit_size(data)
    <<number::signed-size(size)>> = data
    number
  end

  defp ext(2, data, level, context), do: data |> list!(level, context) |> List.to_tuple()
  defp ext(3, data, level, context), do: data |> list!(level, context) |> Values.set!()
  defp ext(4, data, _level, _context), do: ok!(Values.datetime(data), "a datetime cannot be read")
  defp ext(5, data, _level, _context), do: ok!(Values.date(data), "a date cannot be read")

  defp ext(6, data, level, context) do
    with [dtype, shape, %DSPex.Bytes{data: bytes}] <- whole(data, level, context),
         {:ok, tensor} <- DSPex.Tensor.new(dtype, shape, bytes) do
      tensor
    else
      {:error, problem} -> bad(problem)
      _other -> bad("a tensor is [dtype, shape, bytes]")
    end
  end

  defp ext(7, data, level, context) do
    case whole(data, level, context) do
      %DSPex.Bytes{data: ipc} -> %DSPex.Table{ipc: ipc}
      _other -> bad("an Arrow value holds bytes")
    end
  end

  defp ext(8, data, level, {_limits, parts} = context) do
    case whole(data, level, context) do
      part when is_integer(part) and part >= 1 and part <= tuple_size(parts) -> bytes(elem(parts, part - 1))
      part -> bad("the body has no part #{inspect(part)}")
    end
  end

  defp ext(-1, <<seconds::32>>, _level, _context), do: timestamp(seconds, 0)
  defp ext(-1, <<nanoseconds::30, seconds::34>>, _level, _context), do: timestamp(seconds, nanoseconds)
  defp ext(-1, <<nanoseconds::32, seconds::signed-64>>, _level, _context), do: timestamp(seconds, nanoseconds)
  defp ext(type, _data, _level, _context), do: bad("ext type #{type} is unknown, or its payload is wrong")

  defp list!(data, level, context) do
    case whole(data, level, context) do
      list when is_list(list) -> list
      _other -> bad("a tuple or set is not an array")
    end
  end

  defp timestamp(seconds, nanoseconds) when nanoseconds < 1_000_000_000 do
    precision = if nanoseconds == 0, do: 0, else: 6

    case DateTime.from_unix(seconds) do
      {:ok, time} -> %{time | microsecond: {div(nanoseconds, 1000), precision}}
      {:error, _reason} -> bad("a timestamp is outside the calendar")
    end
  end

  defp timestamp(_seconds, _nanoseconds), do: bad("a timestamp has too many nanoseconds")

  defp ok!({:ok, value}, _problem), do: value
  defp ok!(:error, problem), do: bad(problem)

  @spec bad(String.t()) :: no_return
  defp bad(problem), do: throw({:protocol_error, "the MessagePack cannot be read: #{problem}", nil})
end
