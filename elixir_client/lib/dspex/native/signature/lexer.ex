defmodule DSPex.Native.Signature.Lexer do
  @moduledoc """
  Signature text to tokens `{kind, value, offset, length}`; offsets are bytes of the whole text. Nothing is looked up or
  evaluated here, and no text becomes an atom.

      iex> DSPex.Native.Signature.Lexer.tokens("a: int", 0, 6)
      {:ok, [{:name, "a", 0, 1}, {:symbol, ":", 1, 1}, {:name, "int", 3, 3}, {:end, nil, 6, 0}]}
  """

  alias DSPex.Native.Signature.Strings

  @type kind :: :name | :number | :string | :symbol | :end
  @type token :: {kind, term, non_neg_integer, non_neg_integer}
  @type problem :: {non_neg_integer, non_neg_integer, String.t(), String.t()}

  @number ~r/\A(?:0[xX](?:_?[0-9a-fA-F])+|0[oO](?:_?[0-7])+|0[bB](?:_?[01])+|\d(?:_?\d)*(?:\.(?:\d(?:_?\d)*)?)?(?:[eE][+-]?\d(?:_?\d)*)?|\.\d(?:_?\d)*(?:[eE][+-]?\d(?:_?\d)*)?)/
  # With the characters that Unicode lists as Other_ID_Start and Other_ID_Continue.
  @name ~r/\A[\p{L}\p{Nl}_\x{2118}\x{212E}][\p{L}\p{N}\p{M}\p{Pc}·\x{0387}\x{2118}\x{212E}]*/u
  @identifier ~r/\A[\p{L}\p{Nl}_\x{2118}\x{212E}][\p{L}\p{Nl}\p{Mn}\p{Mc}\p{Nd}\p{Pc}·\x{0387}\x{1369}-\x{1371}\x{19DA}\x{2118}\x{212E}]*\z/u

  defguardp is_lower(char) when char in ?a..?z
  defguardp is_start(char) when is_lower(char) or char in ?A..?Z or char == ?_
  defguardp is_word(char) when is_start(char) or char in ?0..?9

  @doc "Splits the bytes from `start` up to `stop` of a valid UTF-8 text into tokens, the last one of kind `:end`."
  @spec tokens(String.t(), non_neg_integer, non_neg_integer) :: {:ok, [token]} | {:error, problem}
  def tokens(text, start, stop) do
    {:ok, text |> binary_part(start, stop - start) |> scan(start, [])}
  catch
    {:problem, offset, length, reason, suggestion} -> {:error, {offset, length, reason, suggestion}}
  end

  defp scan(<<char, rest::binary>>, at, done) when char in [?\s, ?\t, ?\n, ?\r, ?\f], do: scan(rest, at + 1, done)
  defp scan(<<"\\\n", rest::binary>>, at, done), do: scan(rest, at + 2, done)
  defp scan(<<"\\\r\n", rest::binary>>, at, done), do: scan(rest, at + 3, done)
  defp scan("", at, done), do: Enum.reverse([{:end, nil, at, 0} | done])

  defp scan(<<char, _rest::binary>> = text, at, done) when is_start(char) do
    length = word(text, 0)

    case text do
      <<prefix::binary-size(length), quote, _rest::binary>> when quote in [?', ?"] and length <= 2 ->
        string(text, prefix, at, done)

      <<_name::binary-size(length), char, _rest::binary>> when char >= 0x80 ->
        wide_name(text, at, done)

      <<name::binary-size(length), rest::binary>> ->
        scan(rest, at + length, [{:name, name, at, length} | done])
    end
  end

  defp scan(<<quote, _rest::binary>> = text, at, done) when quote in [?', ?"], do: string(text, "", at, done)
  defp scan(<<"...", rest::binary>>, at, done), do: scan(rest, at + 3, [{:symbol, "...", at, 3} | done])
  defp scan(<<"**", rest::binary>>, at, done), do: scan(rest, at + 2, [{:symbol, "**", at, 2} | done])
  defp scan(<<char, _rest::binary>> = text, at, done) when char in ?0..?9, do: number(text, at, done)
  defp scan(<<?., char, _rest::binary>> = text, at, done) when char in ?0..?9, do: number(text, at, done)

  defp scan(<<char, rest::binary>>, at, done) when char in [?,, ?:, ?[, ?], ?(, ?), ?., ?|, ?=, ?*, ?/, ?{, ?}, ?+, ?-],
    do: scan(rest, at + 1, [{:symbol, <<char>>, at, 1} | done])

  defp scan(<<?#, rest::binary>> = text, at, done) do
    case :binary.match(rest, "\n") do
      {to, 1} ->
        text |> binary_part(to + 2, byte_size(text) - to - 2) |> scan(at + to + 2, done)

      :nomatch ->
        problem(at, 1, "a comment runs to the end of the text", "Leave comments out, or end them with a new line.")
    end
  end

  defp scan(<<char, _rest::binary>> = text, at, done) when char >= 0x80, do: wide_name(text, at, done)
  defp scan(<<char, _rest::binary>>, at, _done), do: unexpected(<<char>>, at)

  defp word(text, length) do
    case text do
      <<_seen::binary-size(length), char, _rest::binary>> when is_word(char) -> word(text, length + 1)
      _text -> length
    end
  end

  # Python compares names in the form NFKC, so that `ﬁeld` is `field`.
  defp wide_name(text, at, done) do
    with [raw] <- Regex.run(@name, text),
         name = :unicode.characters_to_nfkc_binary(raw),
         true <- Regex.match?(@identifier, name) do
      length = byte_size(raw)
      text |> binary_part(length, byte_size(text) - length) |> scan(at + length, [{:name, name, at, length} | done])
    else
      _other -> text |> String.first() |> unexpected(at)
    end
  end

  defp string(text, prefix, at, done) do
    case Strings.read(text, prefix) do
      {:ok, value, length} ->
        text
        |> binary_part(length, byte_size(text) - length)
        |> scan(at + length, [{:string, value, at, length} | done])

      {:error, length, reason, suggestion} ->
        problem(at, length, reason, suggestion)
    end
  end

  defp number(text, at, done) do
    [digits | _groups] = Regex.run(@number, text)
    length = byte_size(digits)
    rest = binary_part(text, length, byte_size(text) - length)

    if Regex.match?(~r/\A[\p{L}\p{N}_]/u, rest),
      do: problem(at, length + 1, "a name cannot begin with a digit", "Begin it with a letter.")

    case digits |> String.replace("_", "") |> value() do
      {:ok, number} -> scan(rest, at + length, [{:number, number, at, length} | done])
      :error -> problem(at, length, "`#{digits}` is not a number", "Write it without leading zeros.")
    end
  end

  defp value(<<?0, base, digits::binary>>) when base in [?x, ?X], do: {:ok, String.to_integer(digits, 16)}
  defp value(<<?0, base, digits::binary>>) when base in [?o, ?O], do: {:ok, String.to_integer(digits, 8)}
  defp value(<<?0, base, digits::binary>>) when base in [?b, ?B], do: {:ok, String.to_integer(digits, 2)}

  defp value(digits) do
    cond do
      String.contains?(digits, [".", "e", "E"]) -> DSPex.Native.Python.float(digits)
      digits =~ ~r/\A0+[1-9]/ -> :error
      true -> {:ok, String.to_integer(digits)}
    end
  end

  @spec unexpected(String.t(), non_neg_integer) :: no_return
  defp unexpected(char, at) do
    problem(at, byte_size(char), "unexpected character #{inspect(char)}", advice(char))
  end

  defp advice(char) when char in ["-", ">", "<", "→", "⇒"], do: "Inputs and outputs are parted by exactly one `->`."
  defp advice("?"), do: "An optional value is written `Optional[type]` or `type | None`."
  defp advice(_char), do: "Write fields as `name: type`, parted by commas."

  @spec problem(non_neg_integer, non_neg_integer, String.t(), String.t()) :: no_return
  defp problem(offset, length, reason, suggestion), do: throw({:problem, offset, length, reason, suggestion})
end
