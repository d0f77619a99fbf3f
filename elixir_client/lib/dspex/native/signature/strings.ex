defmodule DSPex.Native.Signature.Strings do
  @moduledoc """
  Python's text and bytes literals, decoded without evaluating anything. Bytes come back as `{:bytes, binary}`.

      iex> DSPex.Native.Signature.Strings.read(~S('a\\tb' rest), "")
      {:ok, "a\\tb", 6}
      iex> DSPex.Native.Signature.Strings.read(~S(b"\\xff"), "b")
      {:ok, {:bytes, <<255>>}, 7}
  """

  @simple %{?\\ => "\\", ?' => "'", ?" => "\"", ?a => "\a", ?b => "\b", ?f => "\f", ?n => "\n", ?r => "\r"}
          |> Map.merge(%{?t => "\t", ?v => "\v", ?\n => ""})

  @type result :: {:ok, String.t() | {:bytes, binary}, pos_integer} | {:error, pos_integer, String.t(), String.t()}

  @doc "Reads the literal that `text` begins with; `prefix` are the letters before its quote."
  @spec read(String.t(), String.t()) :: result
  def read(text, prefix) do
    kind = String.downcase(prefix)
    skip = byte_size(prefix)

    if kind in ["", "r", "u", "b", "br", "rb"] do
      <<_prefix::binary-size(skip), rest::binary>> = text
      quote = opening(rest)
      body = binary_part(rest, byte_size(quote), byte_size(rest) - byte_size(quote))
      finish(close(body, quote, 0), body, kind, skip + byte_size(quote), byte_size(quote))
    else
      {:error, skip + 1, "strings with the prefix `#{prefix}` are not known", "Write a plain string: 'text'."}
    end
  end

  defp opening(<<q, q, q, _rest::binary>>), do: <<q, q, q>>
  defp opening(<<q, _rest::binary>>), do: <<q>>

  defp close(body, quote, at) do
    size = byte_size(quote)

    case body do
      <<_seen::binary-size(at), "\\\r\n", _rest::binary>> -> close(body, quote, at + 3)
      <<_seen::binary-size(at), ?\\, _char, _rest::binary>> -> close(body, quote, at + 2)
      <<_seen::binary-size(at), ^quote::binary-size(size), _rest::binary>> -> {:ok, at}
      <<_seen::binary-size(at), char, _rest::binary>> when char in [?\n, ?\r] and size == 1 -> :open
      <<_seen::binary-size(at), _char, _rest::binary>> -> close(body, quote, at + 1)
      _end -> :open
    end
  end

  defp finish(:open, _body, _kind, head, _quote),
    do: {:error, head, "this string is not closed", "End it with the quote it began with."}

  defp finish({:ok, stop}, body, kind, head, quote) do
    case decode(binary_part(body, 0, stop), kind) do
      {:ok, value} ->
        {:ok, value, head + stop + quote}

      :named ->
        what = "characters by name (`\\N{…}`) are not read without Python, which has the table of names"
        {:error, head + stop + quote, what, "Write the character itself, or its code: `\\u00e9`."}

      :error ->
        {:error, head + stop + quote, "this string has a wrong escape", "Write `\\\\` for a backslash."}
    end
  end

  defp decode(body, kind) when kind in ["r"], do: {:ok, body}
  defp decode(body, kind) when kind in ["br", "rb"], do: ascii(body)
  defp decode(body, "b"), do: with({:ok, body} <- ascii(body), do: unescape(elem(body, 1), true, []))
  defp decode(body, _kind), do: unescape(body, false, [])

  defp ascii(body), do: if(for(<<char <- body>>, char > 127, do: char) == [], do: {:ok, {:bytes, body}}, else: :error)

  defp unescape("", true, done), do: {:ok, {:bytes, done |> Enum.reverse() |> IO.iodata_to_binary()}}
  defp unescape("", false, done), do: {:ok, done |> Enum.reverse() |> IO.iodata_to_binary()}
  defp unescape(<<"\\\r\n", rest::binary>>, bytes?, done), do: unescape(rest, bytes?, done)

  defp unescape(<<?\\, char, rest::binary>>, bytes?, done) when is_map_key(@simple, char),
    do: unescape(rest, bytes?, [@simple[char] | done])

  defp unescape(<<?\\, char, _rest::binary>> = text, bytes?, done) when char in ?0..?7 do
    [<<?\\, digits::binary>>] = Regex.run(~r/\A\\[0-7]{1,3}/, text)
    code = String.to_integer(digits, 8)
    skip = byte_size(digits) + 1
    text |> binary_part(skip, byte_size(text) - skip) |> unescape(bytes?, [char(code, bytes?) | done])
  end

  defp unescape(<<"\\x", digits::binary-size(2), rest::binary>>, bytes?, done), do: hex(digits, rest, bytes?, done)
  defp unescape(<<"\\x", _rest::binary>>, _bytes?, _done), do: :error
  defp unescape(<<"\\u", digits::binary-size(4), rest::binary>>, false, done), do: hex(digits, rest, false, done)
  defp unescape(<<"\\U", digits::binary-size(8), rest::binary>>, false, done), do: hex(digits, rest, false, done)
  defp unescape(<<"\\N{", _rest::binary>>, false, _done), do: :named
  defp unescape(<<?\\, char, _rest::binary>>, false, _done) when char in [?u, ?U, ?N], do: :error
  defp unescape(<<char, rest::binary>>, bytes?, done), do: unescape(rest, bytes?, [char | done])

  defp hex(digits, rest, bytes?, done) do
    case Base.decode16(digits, case: :mixed) do
      {:ok, bytes} -> escaped(:binary.decode_unsigned(bytes), rest, bytes?, done)
      :error -> :error
    end
  end

  defp escaped(code, _rest, false, _done) when code in 0xD800..0xDFFF or code > 0x10FFFF, do: :error
  defp escaped(code, rest, bytes?, done), do: unescape(rest, bytes?, [char(code, bytes?) | done])

  defp char(code, true), do: <<code>>
  defp char(code, false), do: <<code::utf8>>
end
