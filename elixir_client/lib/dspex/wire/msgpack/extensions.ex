defmodule DSPex.Wire.Msgpack.Extensions do
  @moduledoc false
  # The ext types of protocol 1, from their bytes to values.

  alias DSPex.Wire.Limits
  alias DSPex.Wire.Msgpack.Decoder
  alias DSPex.Wire.Msgpack.Ext
  alias DSPex.Wire.Values

  # Far above anything meant as a number; printing one of this size already takes a second.
  @integer_bytes 65_536

  @doc "The context of a decoder that reads the values of protocol 1."
  @spec context(Limits.t(), [binary]) :: Decoder.context()
  def context(limits, parts), do: {limits, List.to_tuple(parts), &read/4}

  @doc "The context of a decoder that leaves ext types as they are."
  @spec plain_context(Limits.t()) :: Decoder.context()
  def plain_context(limits), do: {limits, {}, &plain/4}

  @spec read(integer, binary, non_neg_integer, Decoder.context()) :: term
  def read(1, data, _level, _context) when byte_size(data) in 1..@integer_bytes do
    size = byte_size(data)
    <<number::signed-size(size)-unit(8)>> = data
    number
  end

  def read(1, data, _level, _context) when byte_size(data) > @integer_bytes,
    do: throw({:limit_exceeded, "an integer has more than #{@integer_bytes} bytes", "max_integer_bytes"})

  def read(2, data, level, context), do: data |> items("tuple", level, context) |> List.to_tuple()

  def read(3, data, level, context) do
    items = items(data, "set", level, context)
    set = MapSet.new(items)
    if MapSet.size(set) == length(items), do: set, else: bad("a set has two items that are equal")
  end

  def read(4, text, _level, _context), do: ok!(Values.datetime(text), "datetime", text)
  def read(5, text, _level, _context), do: ok!(Values.date(text), "date", text)

  def read(6, data, level, {limits, parts, _read}) do
    # Its two levels of lists are no nesting of the value.
    context = {%{limits | depth: level + 2}, parts, &only_attachment/4}

    with [dtype, shape, %DSPex.Bytes{data: data}] <- whole(data, level, context),
         {:ok, tensor} <- DSPex.Tensor.new(dtype, shape, data) do
      tensor
    else
      {:error, problem} -> bad(problem)
      _other -> bad("a tensor is an array of dtype, shape and bytes")
    end
  end

  def read(7, data, level, {limits, parts, _read}) do
    case whole(data, level, {limits, parts, &only_attachment/4}) do
      %DSPex.Bytes{data: ipc} -> %DSPex.Table{ipc: ipc}
      _other -> bad("an Arrow value holds something that is not bytes")
    end
  end

  def read(8, data, level, {limits, parts, _read}) do
    case whole(data, level, {limits, parts, &none/4}) do
      part when is_integer(part) and part >= 1 and part <= tuple_size(parts) ->
        %DSPex.Bytes{data: elem(parts, part - 1)}

      part ->
        bad("a value points to attachment #{inspect(part)}; the body has #{tuple_size(parts)}")
    end
  end

  def read(-1, data, _level, _context) do
    with {:ok, seconds, nanos} <- Ext.read_timestamp(data),
         {:ok, time} <- DateTime.from_unix(seconds) do
      %{time | microsecond: microsecond(div(nanos, 1000))}
    else
      _error -> bad("a timestamp cannot be read")
    end
  end

  def read(type, _data, _level, _context), do: bad("ext type #{type} is unknown, or empty; known are -1 and 1 to 8")

  # What stands inside of tensors and tables nests no further.
  defp only_attachment(8, data, level, context), do: read(8, data, level, context)
  defp only_attachment(type, data, level, context), do: none(type, data, level, context)

  @spec none(integer, binary, non_neg_integer, Decoder.context()) :: no_return
  defp none(type, _data, _level, _context), do: bad("an ext of type #{type} stands where it may not")

  defp plain(type, data, _level, _context), do: %Ext{type: type, data: data}

  defp microsecond(0), do: {0, 0}
  defp microsecond(micros), do: {micros, 6}

  # Looked at before it is read: ext in ext in ext would nest without counting.
  defp items(<<byte, _rest::binary>> = data, _kind, level, context) when byte in 0x90..0x9F or byte in [0xDC, 0xDD],
    do: whole(data, level, context)

  defp items(_data, kind, _level, _context), do: bad("a #{kind} holds something that is not an array")

  defp whole(data, level, context) do
    case Decoder.start(data, context, level) do
      {:ok, value, ""} -> value
      _other -> bad("the #{byte_size(data)} bytes of an ext are not exactly one value")
    end
  end

  defp ok!({:ok, value}, _kind, _text), do: value
  defp ok!(:error, kind, text), do: bad("#{inspect(text, limit: 64, printable_limit: 64)} is no #{kind}")

  @spec bad(String.t()) :: no_return
  defp bad(problem), do: throw({:protocol_error, problem, nil})
end
