defmodule DSPex.Wire.Msgpack.Decoder do
  @moduledoc false
  # One flat loop over the bytes. Of the collection being read, `left` items are missing and `items` were read, newest
  # first; `stack` holds the kind of the collection, and `left` and `items` of the one around it, and so on outwards.
  # All of it is the state from which reading goes on when more bytes come. No declared length is believed: a
  # collection grows by the items that are there, and text is cut out of the bytes that are there.

  alias DSPex.Wire.Limits
  alias DSPex.Wire.Msgpack.Utf8
  alias DSPex.Wire.Values

  @typedoc "Makes a value of an ext's type and payload, at a level."
  @type extension :: (integer, binary, level :: non_neg_integer, context -> term)

  @typedoc "Limits, attachments, and the reader of ext types."
  @type context :: {Limits.t(), tuple, extension}

  @typedoc "Where reading stopped: what is being read, the bytes left over, and the state of the loop."
  @opaque state :: {token :: term, rest :: binary, non_neg_integer, list, list, non_neg_integer}

  @type result :: {:ok, term, rest :: binary} | {:more, missing :: pos_integer, state}

  @doc "Reads one value; `level` is the number of collections around it. Throws for what is no value."
  @spec start(binary, context, non_neg_integer) :: result
  def start(bytes, context, level \\ 0), do: loop(bytes, 1, [], [], level, context)

  @doc "Goes on with the bytes left over and those that came since."
  @spec resume(state, binary, context) :: result
  def resume({token, "", left, items, stack, level}, bytes, context),
    do: go_on(token, bytes, left, items, stack, level, context)

  def resume({token, rest, left, items, stack, level}, bytes, context),
    do: go_on(token, rest <> bytes, left, items, stack, level, context)

  defp go_on(:head, bytes, left, items, stack, level, context), do: loop(bytes, left, items, stack, level, context)

  defp go_on({:text, n}, bytes, left, items, stack, level, context),
    do: text(bytes, n, left, items, stack, level, context)

  defp go_on({:bytes, n}, bytes, left, items, stack, level, context),
    do: bytes(bytes, n, left, items, stack, level, context)

  defp go_on({:ext, n, type}, bytes, left, items, stack, level, context),
    do: ext(bytes, n, type, left, items, stack, level, context)

  defp loop(<<rest::bits>>, 0, items, stack, level, context), do: close(rest, stack, items, level, context)

  defp loop(<<byte, rest::bits>>, left, items, stack, level, context),
    do: token(byte, rest, left, items, stack, level, context)

  defp loop("", left, items, stack, level, _context), do: {:more, 1, {:head, "", left, items, stack, level}}

  defp close(<<rest::bits>>, [], [value], _level, _context), do: {:ok, value, rest}

  defp close(<<rest::bits>>, [:list, left, outer | stack], items, level, context),
    do: loop(rest, left, [:lists.reverse(items) | outer], stack, level - 1, context)

  defp close(<<rest::bits>>, [:map, left, outer | stack], items, level, {limits, _parts, _ext} = context),
    do: loop(rest, left, [items |> pairs([]) |> Values.map!(limits) | outer], stack, level - 1, context)

  defp token(byte, <<rest::bits>>, left, items, stack, level, context) when byte < 0x80,
    do: loop(rest, left - 1, [byte | items], stack, level, context)

  defp token(byte, <<rest::bits>>, left, items, stack, level, context) when byte < 0x90,
    do: map(rest, byte - 0x80, left, items, stack, level, context)

  defp token(byte, <<rest::bits>>, left, items, stack, level, context) when byte < 0xA0,
    do: array(rest, byte - 0x90, left, items, stack, level, context)

  defp token(byte, <<rest::bits>>, left, items, stack, level, context) when byte < 0xC0,
    do: text(rest, byte - 0xA0, left, items, stack, level, context)

  defp token(byte, <<rest::bits>>, left, items, stack, level, context) when byte >= 0xE0,
    do: loop(rest, left - 1, [byte - 0x100 | items], stack, level, context)

  for {byte, value} <- [{0xC0, nil}, {0xC2, false}, {0xC3, true}] do
    defp token(unquote(byte), <<rest::bits>>, left, items, stack, level, context),
      do: loop(rest, left - 1, [unquote(value) | items], stack, level, context)
  end

  for {byte, bits} <- [{0xCC, 8}, {0xCD, 16}, {0xCE, 32}, {0xCF, 64}] do
    defp token(unquote(byte), <<number::unquote(bits), rest::bits>>, left, items, stack, level, context),
      do: loop(rest, left - 1, [number | items], stack, level, context)
  end

  for {byte, bits} <- [{0xD0, 8}, {0xD1, 16}, {0xD2, 32}, {0xD3, 64}] do
    defp token(unquote(byte), <<number::signed-unquote(bits), rest::bits>>, left, items, stack, level, context),
      do: loop(rest, left - 1, [number | items], stack, level, context)
  end

  # NaN and infinities are no floats in Elixir, so their bits fall through to the second pattern.
  for {byte, bits, fraction} <- [{0xCA, 32, 23}, {0xCB, 64, 52}] do
    defp token(unquote(byte), <<number::float-unquote(bits), rest::bits>>, left, items, stack, level, context),
      do: loop(rest, left - 1, [number | items], stack, level, context)

    defp token(
           unquote(byte),
           <<sign::1, _exponent::unquote(bits - fraction - 1), fraction::unquote(fraction), rest::bits>>,
           left,
           items,
           stack,
           level,
           context
         ),
         do: loop(rest, left - 1, [special(sign, fraction) | items], stack, level, context)
  end

  for {byte, bits} <- [{0xD9, 8}, {0xDA, 16}, {0xDB, 32}] do
    defp token(unquote(byte), <<n::unquote(bits), rest::bits>>, left, items, stack, level, context),
      do: text(rest, n, left, items, stack, level, context)
  end

  for {byte, bits} <- [{0xC4, 8}, {0xC5, 16}, {0xC6, 32}] do
    defp token(unquote(byte), <<n::unquote(bits), rest::bits>>, left, items, stack, level, context),
      do: bytes(rest, n, left, items, stack, level, context)
  end

  for {byte, bits} <- [{0xDC, 16}, {0xDD, 32}] do
    defp token(unquote(byte), <<n::unquote(bits), rest::bits>>, left, items, stack, level, context),
      do: array(rest, n, left, items, stack, level, context)
  end

  for {byte, bits} <- [{0xDE, 16}, {0xDF, 32}] do
    defp token(unquote(byte), <<n::unquote(bits), rest::bits>>, left, items, stack, level, context),
      do: map(rest, n, left, items, stack, level, context)
  end

  for {byte, bits} <- [{0xC7, 8}, {0xC8, 16}, {0xC9, 32}] do
    defp token(unquote(byte), <<n::unquote(bits), type::signed-8, rest::bits>>, left, items, stack, level, context),
      do: ext(rest, n, type, left, items, stack, level, context)
  end

  for {byte, n} <- [{0xD4, 1}, {0xD5, 2}, {0xD6, 4}, {0xD7, 8}, {0xD8, 16}] do
    defp token(unquote(byte), <<type::signed-8, rest::bits>>, left, items, stack, level, context),
      do: ext(rest, unquote(n), type, left, items, stack, level, context)
  end

  defp token(0xC1, _rest, _left, _items, _stack, _level, _context),
    do: throw({:protocol_error, "the byte C1 begins no MessagePack value", nil})

  # A head is at most nine bytes, so that copying what there is of it costs nothing.
  defp token(byte, <<rest::bits>>, left, items, stack, level, _context),
    do: {:more, 1, {:head, <<byte, rest::binary>>, left, items, stack, level}}

  defp text(<<bytes::bits>>, n, left, items, stack, level, context) do
    case bytes do
      <<text::binary-size(n), rest::bits>> -> loop(rest, left - 1, [text!(text) | items], stack, level, context)
      _short -> {:more, n - byte_size(bytes), {{:text, n}, bytes, left, items, stack, level}}
    end
  end

  defp bytes(<<bytes::bits>>, n, left, items, stack, level, context) do
    case bytes do
      <<data::binary-size(n), rest::bits>> ->
        loop(rest, left - 1, [%DSPex.Bytes{data: data} | items], stack, level, context)

      _short ->
        {:more, n - byte_size(bytes), {{:bytes, n}, bytes, left, items, stack, level}}
    end
  end

  defp ext(<<bytes::bits>>, n, type, left, items, stack, level, {_limits, _parts, extension} = context) do
    case bytes do
      <<data::binary-size(n), rest::bits>> ->
        loop(rest, left - 1, [extension.(type, data, level, context) | items], stack, level, context)

      _short ->
        {:more, n - byte_size(bytes), {{:ext, n, type}, bytes, left, items, stack, level}}
    end
  end

  defp array(<<rest::bits>>, 0, left, items, stack, level, {limits, _parts, _ext} = context) do
    Limits.check!(limits, level + 1, 0)
    loop(rest, left - 1, [[] | items], stack, level, context)
  end

  defp array(<<rest::bits>>, n, left, items, stack, level, {limits, _parts, _ext} = context) do
    Limits.check!(limits, level + 1, n)
    loop(rest, n, [], [:list, left - 1, items | stack], level + 1, context)
  end

  defp map(<<rest::bits>>, n, left, items, stack, level, {limits, _parts, _ext} = context) do
    Limits.check!(limits, level + 1, n)
    loop(rest, 2 * n, [], [:map, left - 1, items | stack], level + 1, context)
  end

  defp pairs([value, key | rest], pairs) when is_binary(key), do: pairs(rest, [{key, value} | pairs])
  defp pairs([], pairs), do: pairs
  defp pairs(_items, _pairs), do: throw({:protocol_error, "a map has a key that is not text", nil})

  defp text!(text) do
    if Utf8.valid?(text), do: text, else: throw({:protocol_error, "a text is not UTF-8", nil})
  end

  defp special(0, 0), do: :infinity
  defp special(1, 0), do: :neg_infinity
  defp special(_sign, _fraction), do: :nan
end
