defmodule DSPex.Wire.Msgpack.Writer do
  @moduledoc false
  # Values to MessagePack, in one pass over the term.

  alias DSPex.Wire.Attachment
  alias DSPex.Wire.Limits
  alias DSPex.Wire.Values

  @ext_integer 1
  @ext_tuple 2
  @ext_set 3
  @ext_datetime 4
  @ext_date 5
  @ext_tensor 6
  @ext_arrow 7
  @ext_attachment 8

  @spec encode(term, Limits.t()) :: {:ok, iodata, [binary]} | {:error, DSPex.Error.t()}
  def encode(term, limits), do: write(term, limits, &value(&1, 0, &2))

  @spec encode_members([{String.t(), term}], Limits.t()) :: {:ok, iodata, [binary]} | {:error, DSPex.Error.t()}
  def encode_members(pairs, limits) do
    write(%DSPex.Ordered{pairs: pairs}, limits, fn %DSPex.Ordered{pairs: pairs}, limits -> members(pairs, 2, limits) end)
  end

  @doc "The header of a map."
  @spec map_header(non_neg_integer) :: binary
  def map_header(count) when count < 16, do: <<8::4, count::4>>
  def map_header(count) when count < 0x10000, do: <<0xDE, count::16>>
  def map_header(count), do: <<0xDF, count::32>>

  @doc "A text."
  @spec text(String.t()) :: iodata
  def text(text) do
    case byte_size(text) do
      size when size < 32 -> [<<5::3, size::5>>, text]
      size when size < 0x100 -> [<<0xD9, size>>, text]
      size when size < 0x10000 -> [<<0xDA, size::16>>, text]
      size -> [<<0xDB, size::32>>, text]
    end
  end

  @doc "An integer of MessagePack's own range."
  @spec integer(integer) :: binary
  def integer(number) when number >= 0 and number < 0x80, do: <<number>>
  def integer(number) when number >= 0 and number < 0x100, do: <<0xCC, number>>
  def integer(number) when number >= 0 and number < 0x10000, do: <<0xCD, number::16>>
  def integer(number) when number >= 0 and number < 0x100000000, do: <<0xCE, number::32>>
  def integer(number) when number >= 0 and number < 0x10000000000000000, do: <<0xCF, number::64>>
  def integer(number) when number < 0 and number >= -0x20, do: <<number::8>>
  def integer(number) when number < 0 and number >= -0x80, do: <<0xD0, number::8>>
  def integer(number) when number < 0 and number >= -0x8000, do: <<0xD1, number::16>>
  def integer(number) when number < 0 and number >= -0x80000000, do: <<0xD2, number::32>>
  def integer(number) when number < 0 and number >= -0x8000000000000000, do: <<0xD3, number::64>>

  defp write(term, limits, writer) do
    {:ok, writer.(term, limits), []}
  catch
    :attach -> with_parts(term, limits, writer)
    {_reason, _message, _limit} = refused -> {:error, Values.error(refused)}
  end

  defp with_parts(term, limits, writer) do
    {term, parts} = Values.extract(term, limits)
    {:ok, writer.(term, %{limits | attach: :infinity}), parts}
  catch
    {_reason, _message, _limit} = refused -> {:error, Values.error(refused)}
  end

  defp value(nil, _level, _limits), do: <<0xC0>>
  defp value(false, _level, _limits), do: <<0xC2>>
  defp value(true, _level, _limits), do: <<0xC3>>

  defp value(binary, level, limits) when is_binary(binary),
    do: if(String.valid?(binary), do: text(binary), else: other(binary, level, limits))

  defp value(number, _level, _limits)
       when is_integer(number) and number >= -0x8000000000000000 and number < 0x10000000000000000,
       do: integer(number)

  defp value(number, _level, _limits) when is_integer(number), do: ext(@ext_integer, two_complement(number))
  defp value(number, _level, _limits) when is_float(number), do: <<0xCB, number::float-64>>
  defp value(list, level, limits) when is_list(list), do: array(list, level + 1, limits)
  defp value(term, level, limits), do: other(term, level, limits)

  defp other(term, level, limits) do
    case Values.form(term) do
      {:text, text} -> text(text)
      {:map, pairs} -> map(pairs, level + 1, limits)
      {:tuple, items} -> ext(@ext_tuple, array(items, level + 1, limits))
      {:set, items} -> ext(@ext_set, array(items, level + 1, limits))
      {:bytes, data} -> bytes(data, limits)
      {:attachment, part} -> ext(@ext_attachment, integer(part))
      {:datetime, text} -> ext(@ext_datetime, text)
      {:date, text} -> ext(@ext_date, text)
      {:float, :nan} -> <<0xCB, 0x7FF8000000000000::64>>
      {:float, :infinity} -> <<0xCB, 0x7FF0000000000000::64>>
      {:float, :neg_infinity} -> <<0xCB, 0xFFF0000000000000::64>>
      {:arrow, data} -> ext(@ext_arrow, bytes(data, limits))
      {:tensor, dtype, shape, data} -> ext(@ext_tensor, tensor(dtype, shape, data, limits))
    end
  end

  defp array(items, level, limits) do
    if List.improper?(items), do: throw({:invalid_input, "an improper list cannot be sent to Python", nil})
    count = length(items)
    Limits.check!(limits, level, count)
    [array_header(count) | Enum.map(items, &value(&1, level, limits))]
  end

  defp array_header(count) when count < 16, do: <<9::4, count::4>>
  defp array_header(count) when count < 0x10000, do: <<0xDC, count::16>>
  defp array_header(count), do: <<0xDD, count::32>>

  defp map(pairs, level, limits) do
    Limits.check!(limits, level, length(pairs))
    [map_header(length(pairs)) | members(pairs, level, limits)]
  end

  defp members(pairs, level, limits),
    do: Enum.map(pairs, fn {key, value} -> [text(key) | value(value, level, limits)] end)

  defp bytes(%Attachment{part: part}, _limits), do: ext(@ext_attachment, integer(part))
  defp bytes(data, %{attach: threshold}) when byte_size(data) > threshold, do: throw(:attach)

  defp bytes(data, _limits) do
    case byte_size(data) do
      size when size < 0x100 -> [<<0xC4, size>>, data]
      size when size < 0x10000 -> [<<0xC5, size::16>>, data]
      size -> [<<0xC6, size::32>>, data]
    end
  end

  defp tensor(dtype, shape, data, limits) do
    [<<0x93>>, text(dtype), array_header(length(shape)), Enum.map(shape, &integer/1), bytes(data, limits)]
  end

  defp ext(type, data) do
    case IO.iodata_length(data) do
      1 -> [<<0xD4, type>>, data]
      2 -> [<<0xD5, type>>, data]
      4 -> [<<0xD6, type>>, data]
      8 -> [<<0xD7, type>>, data]
      16 -> [<<0xD8, type>>, data]
      size when size < 0x100 -> [<<0xC7, size, type>>, data]
      size when size < 0x10000 -> [<<0xC8, size::16, type>>, data]
      size -> [<<0xC9, size::32, type>>, data]
    end
  end

  defp two_complement(number) do
    bits = byte_size(:binary.encode_unsigned(abs(number))) * 8

    shortest =
      for size <- [bits, bits + 8], <<back::signed-size(size)>> = <<number::size(size)>>, back == number, do: size

    <<number::size(hd(shortest))>>
  end
end
