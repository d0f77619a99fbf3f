defmodule DSPex.Wire.Json.Plain do
  @moduledoc false
  # A reader of RFC 8259 without any library: the last resort, and the second opinion in tests of the others.
  @behaviour DSPex.Wire.Json.Library

  @impl true
  def available?, do: true

  @impl true
  def decode(text) do
    {value, rest} = text |> blank() |> value()
    if blank(rest) == "", do: {:ok, value}, else: bad(rest)
  catch
    {:bad, rest} -> {:error, "unexpected input at byte #{byte_size(text) - byte_size(rest) + 1}"}
  end

  defp value(<<?{, rest::binary>>), do: rest |> blank() |> object_start()
  defp value(<<?[, rest::binary>>), do: rest |> blank() |> array_start()
  defp value(<<?", rest::binary>>), do: string(rest, rest, 0, [])
  defp value(<<"null", rest::binary>>), do: {nil, rest}
  defp value(<<"true", rest::binary>>), do: {true, rest}
  defp value(<<"false", rest::binary>>), do: {false, rest}
  defp value(text), do: number(text)

  defp array_start(<<?], rest::binary>>), do: {[], rest}
  defp array_start(text), do: array(text, [])

  defp array(text, items) do
    {item, rest} = value(text)

    case blank(rest) do
      <<?,, rest::binary>> -> rest |> blank() |> array([item | items])
      <<?], rest::binary>> -> {Enum.reverse([item | items]), rest}
      rest -> bad(rest)
    end
  end

  defp object_start(<<?}, rest::binary>>), do: {{[]}, rest}
  defp object_start(text), do: object(text, [])

  defp object(<<?", text::binary>>, pairs) do
    {key, rest} = string(text, text, 0, [])
    {value, rest} = rest |> blank() |> colon() |> blank() |> value()

    case blank(rest) do
      <<?,, rest::binary>> -> rest |> blank() |> object([{key, value} | pairs])
      <<?}, rest::binary>> -> {{Enum.reverse([{key, value} | pairs])}, rest}
      rest -> bad(rest)
    end
  end

  defp object(text, _pairs), do: bad(text)

  defp colon(<<?:, rest::binary>>), do: rest
  defp colon(rest), do: bad(rest)

  defp string(<<?", rest::binary>>, run, length, parts) do
    text = IO.iodata_to_binary([parts, binary_part(run, 0, length)])
    if String.valid?(text), do: {text, rest}, else: bad(run)
  end

  defp string(<<?\\, rest::binary>>, run, length, parts) do
    {char, rest} = escape(rest)
    string(rest, rest, 0, [parts, binary_part(run, 0, length), char])
  end

  defp string(<<char, rest::binary>>, run, length, parts) when char >= 0x20, do: string(rest, run, length + 1, parts)
  defp string(rest, _run, _length, _parts), do: bad(rest)

  defp escape(<<char, rest::binary>>) when char in [?", ?\\, ?/], do: {<<char>>, rest}
  defp escape(<<?b, rest::binary>>), do: {"\b", rest}
  defp escape(<<?f, rest::binary>>), do: {"\f", rest}
  defp escape(<<?n, rest::binary>>), do: {"\n", rest}
  defp escape(<<?r, rest::binary>>), do: {"\r", rest}
  defp escape(<<?t, rest::binary>>), do: {"\t", rest}

  defp escape(<<?u, digits::binary-size(4), rest::binary>> = text) do
    case hex(digits, text) do
      high when high in 0xD800..0xDBFF -> low(high, rest)
      low when low in 0xDC00..0xDFFF -> bad(text)
      code -> {<<code::utf8>>, rest}
    end
  end

  defp escape(text), do: bad(text)

  defp low(high, <<"\\u", digits::binary-size(4), rest::binary>> = text) do
    case hex(digits, text) do
      low when low in 0xDC00..0xDFFF -> {<<0x10000 + (high - 0xD800) * 0x400 + low - 0xDC00::utf8>>, rest}
      _other -> bad(text)
    end
  end

  defp low(_high, text), do: bad(text)

  defp hex(digits, text) do
    case Base.decode16(digits, case: :mixed) do
      {:ok, <<code::16>>} -> code
      :error -> bad(text)
    end
  end

  defp number(text) do
    case Regex.run(~r/\A-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?/, text) do
      nil -> bad(text)
      [digits] -> {String.to_integer(digits), after_match(text, digits)}
      [digits, fraction] -> {float(digits, fraction, text), after_match(text, digits)}
      [digits, fraction, _exponent] -> {float(digits, fraction, text), after_match(text, digits)}
    end
  end

  # Erlang reads no float without a fraction.
  defp float(digits, "", text), do: digits |> String.replace(~r/[eE]/, ".0e", global: false) |> float(".0", text)

  defp float(digits, _fraction, text) do
    String.to_float(digits)
  rescue
    ArgumentError -> bad(text)
  end

  defp after_match(text, digits), do: binary_part(text, byte_size(digits), byte_size(text) - byte_size(digits))

  defp blank(<<char, rest::binary>>) when char in [?\s, ?\t, ?\n, ?\r], do: blank(rest)
  defp blank(text), do: text

  @spec bad(binary) :: no_return
  defp bad(rest), do: throw({:bad, rest})
end
