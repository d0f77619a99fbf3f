defmodule DSPex.Native.Adapter.PythonJson do
  @moduledoc """
  Reads JSON as Python's `json.loads` does: `NaN` and `Infinity` are numbers, integers have any size, the last of equal keys
  wins in the place of the first, objects are `{pairs}` in order. Depth is bounded.

      iex> DSPex.Native.Adapter.PythonJson.decode(~S({"b": NaN, "a": 1, "b": [2.0]}))
      {:ok, {[{"b", [2.0]}, {"a", 1}]}}
  """

  alias DSPex.Native.Python

  @max_depth 900

  @doc "The value of a whole text, or `:error`."
  @spec decode(String.t()) :: {:ok, Python.value()} | :error
  def decode(text) do
    {value, rest} = text |> blank() |> value(0)
    if blank(rest) == "", do: {:ok, value}, else: :error
  catch
    :bad_json -> :error
  end

  @doc "The value that a text begins with, and the rest."
  @spec prefix(String.t()) :: {:ok, Python.value(), String.t()} | :error
  def prefix(text) do
    {value, rest} = value(text, 0)
    {:ok, value, rest}
  catch
    :bad_json -> :error
  end

  defp value(_text, depth) when depth > @max_depth, do: bad()
  defp value(<<?{, rest::binary>>, depth), do: rest |> blank() |> object(depth + 1)
  defp value(<<?[, rest::binary>>, depth), do: rest |> blank() |> array(depth + 1)
  defp value(<<?", rest::binary>>, _depth), do: string(rest, rest, 0, [])
  defp value(<<"null", rest::binary>>, _depth), do: {nil, rest}
  defp value(<<"true", rest::binary>>, _depth), do: {true, rest}
  defp value(<<"false", rest::binary>>, _depth), do: {false, rest}
  defp value(<<"NaN", rest::binary>>, _depth), do: {:nan, rest}
  defp value(<<"Infinity", rest::binary>>, _depth), do: {:infinity, rest}
  defp value(<<"-Infinity", rest::binary>>, _depth), do: {:neg_infinity, rest}
  defp value(<<?-, char, _rest::binary>> = text, _depth) when char in ?0..?9, do: number(text, 1)
  defp value(<<char, _rest::binary>> = text, _depth) when char in ?0..?9, do: number(text, 0)
  defp value(_text, _depth), do: bad()

  defp array(<<?], rest::binary>>, _depth), do: {[], rest}
  defp array(text, depth), do: items(text, depth, [])

  defp items(text, depth, done) do
    {item, rest} = value(text, depth)

    case blank(rest) do
      <<?,, rest::binary>> -> rest |> blank() |> items(depth, [item | done])
      <<?], rest::binary>> -> {Enum.reverse([item | done]), rest}
      _other -> bad()
    end
  end

  defp object(<<?}, rest::binary>>, _depth), do: {{[]}, rest}
  defp object(text, depth), do: members(text, depth, [], 0)

  defp members(<<?", text::binary>>, depth, done, count) do
    {key, rest} = string(text, text, 0, [])
    {value, rest} = rest |> blank() |> colon() |> value(depth)

    case blank(rest) do
      <<?,, rest::binary>> -> rest |> blank() |> members(depth, [{key, value} | done], count + 1)
      <<?}, rest::binary>> -> {{unique([{key, value} | done], count + 1)}, rest}
      _other -> bad()
    end
  end

  defp members(_text, _depth, _done, _count), do: bad()

  defp colon(<<?:, rest::binary>>), do: blank(rest)
  defp colon(_text), do: bad()

  # The pairs come in reverse: the last value of a key goes to the place of its first.
  defp unique(reversed, count) do
    values = Map.new(Enum.reverse(reversed))

    if map_size(values) == count,
      do: Enum.reverse(reversed),
      else:
        reversed |> Enum.reverse() |> Enum.uniq_by(&elem(&1, 0)) |> Enum.map(fn {key, _value} -> {key, values[key]} end)
  end

  defp string(<<?", rest::binary>>, run, length, []), do: {binary_part(run, 0, length), rest}

  defp string(<<?", rest::binary>>, run, length, done),
    do: {IO.iodata_to_binary([done | binary_part(run, 0, length)]), rest}

  defp string(<<?\\, rest::binary>>, run, length, done) do
    {char, rest} = escape(rest)
    string(rest, rest, 0, [done, binary_part(run, 0, length) | char])
  end

  defp string(<<char, rest::binary>>, run, length, done) when char >= 0x20, do: string(rest, run, length + 1, done)
  defp string(_text, _run, _length, _done), do: bad()

  defp escape(<<char, rest::binary>>) when char in [?", ?\\, ?/], do: {<<char>>, rest}
  defp escape(<<?n, rest::binary>>), do: {"\n", rest}
  defp escape(<<?t, rest::binary>>), do: {"\t", rest}
  defp escape(<<?r, rest::binary>>), do: {"\r", rest}
  defp escape(<<?b, rest::binary>>), do: {"\b", rest}
  defp escape(<<?f, rest::binary>>), do: {"\f", rest}

  defp escape(<<?u, digits::binary-size(4), rest::binary>>) do
    case hex(digits) do
      high when high in 0xD800..0xDBFF -> low(high, rest)
      # Elixir's texts can't hold half of a pair, Python's can: it becomes the replacement character.
      low when low in 0xDC00..0xDFFF -> {"\uFFFD", rest}
      code -> {<<code::utf8>>, rest}
    end
  end

  defp escape(_text), do: bad()

  defp low(high, <<"\\u", digits::binary-size(4), rest::binary>> = text) do
    case hex(digits) do
      low when low in 0xDC00..0xDFFF -> {<<0x10000 + (high - 0xD800) * 0x400 + low - 0xDC00::utf8>>, rest}
      _other -> {"\uFFFD", text}
    end
  end

  defp low(_high, text), do: {"\uFFFD", text}

  defp hex(digits) do
    case Base.decode16(digits, case: :mixed) do
      {:ok, <<code::16>>} -> code
      :error -> bad()
    end
  end

  defp number(text, skip) do
    whole = digits(text, skip)
    if whole - skip > 1 and :binary.at(text, skip) == ?0, do: bad()
    fraction = fraction(text, whole)
    stop = exponent(text, fraction)
    literal = binary_part(text, 0, stop)
    rest = binary_part(text, stop, byte_size(text) - stop)
    if stop == whole, do: {integer(literal), rest}, else: {literal |> Python.float() |> elem(1), rest}
  end

  # Python refuses integers of more than 4,300 digits.
  defp integer(literal), do: if(byte_size(literal) > 4300, do: bad(), else: String.to_integer(literal))

  defp digits(text, at) do
    case text do
      <<_seen::binary-size(at), char, _rest::binary>> when char in ?0..?9 -> digits(text, at + 1)
      _other -> at
    end
  end

  defp fraction(text, at) do
    case text do
      <<_seen::binary-size(at), ?., char, _rest::binary>> when char in ?0..?9 -> digits(text, at + 2)
      _other -> at
    end
  end

  defp exponent(text, at) do
    case text do
      <<_seen::binary-size(at), e, char, _rest::binary>> when e in [?e, ?E] and char in ?0..?9 ->
        digits(text, at + 2)

      <<_seen::binary-size(at), e, s, c, _rest::binary>> when e in [?e, ?E] and s in [?+, ?-] and c in ?0..?9 ->
        digits(text, at + 3)

      _other ->
        at
    end
  end

  defp blank(<<char, rest::binary>>) when char in [?\s, ?\t, ?\n, ?\r], do: blank(rest)
  defp blank(text), do: text

  @spec bad() :: no_return
  defp bad, do: throw(:bad_json)
end
