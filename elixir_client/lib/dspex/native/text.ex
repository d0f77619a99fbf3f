defmodule DSPex.Native.Text do
  @moduledoc """
  Text as Python's `str` and `unicodedata` treat it, where Elixir's own functions differ: white space, lower case with
  the Greek final sigma, and DSPy's normal form for comparing answers.
  """

  # str.isspace: what `str.split()` splits at. U+001C to U+001F count there, and not in Unicode's White_Space.
  @white_space ~r/[\x{09}-\x{0d}\x{1c}-\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}]+/u
  @external_resource Path.expand("unicode.txt", __DIR__)

  newer =
    for line <- @external_resource |> File.read!() |> String.split("\n", trim: true),
        [kind, ranges] <- [String.split(line, ": ", parts: 2)],
        not String.starts_with?(kind, "#"),
        range <- String.split(ranges),
        do: {kind, range |> String.split("-") |> Enum.map_join("-", &"\\x{#{&1}}")}

  newer = Enum.group_by(newer, &elem(&1, 0), &elem(&1, 1))

  # SpecialCasing.txt, Final_Sigma: after a cased letter, not before one; case-ignorable characters between are skipped.
  @final_sigma ~r/([\p{L&}\x{aa}\x{ba}\x{1c90}-\x{1cbf}\x{2160}-\x{217f}\x{24b6}-\x{24e9}][\p{Mn}\p{Me}\p{Cf}\p{Lm}\p{Sk}'.:\x{b7}\x{2018}\x{2019}\x{2024}\x{2027}]*)Σ(?![\p{Mn}\p{Me}\p{Cf}\p{Lm}\p{Sk}'.:\x{b7}\x{2018}\x{2019}\x{2024}\x{2027}]*[\p{L&}\x{aa}\x{ba}\x{1c90}-\x{1cbf}\x{2160}-\x{217f}\x{24b6}-\x{24e9}])/u
  # What `\b` stands beside: letters and digits, which marks are not.
  @part "(?![#{newer["mark"]}#{newer["spacing"]}])[\\w#{newer["word"]}]"
  @articles Regex.compile!("(?<!#{@part})(a|an|the)(?!#{@part})", "u")
  @punctuation ~c'!"#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~'
  @token Regex.compile!("[\\p{L}\\p{N}\\p{M}#{newer["word"]}]+|[^\\p{Z}\\p{C}]|[#{newer["sign"]}]", "u")
  @mark Regex.compile!("[\\p{Mn}#{newer["mark"]}]", "u")

  defguardp is_ascii_space(char) when char == ?\s or char in 9..13

  defguardp is_ascii_punctuation(char) when char in ?!..?/ or char in ?:..?@ or char in ?[..?` or char in ?{..?~

  @doc """
  Splits at white space, as `str.split()`.

      iex> DSPex.Native.Text.split(" a\\u00a0 b\\u200bc ")
      ["a", "b\\u200bc"]
  """
  @spec split(String.t()) :: [String.t()]
  def split(text), do: Regex.split(@white_space, text, trim: true)

  @doc """
  Lower case, as `str.lower()`.

      iex> DSPex.Native.Text.lower("ΟΔΥΣΣΕΥΣ")
      "οδυσσευς"
  """
  @spec lower(String.t()) :: String.t()
  def lower(text) do
    text = if String.contains?(text, "Σ"), do: Regex.replace(@final_sigma, text, "\\1ς"), else: text
    String.downcase(text)
  end

  @doc """
  DSPy's `normalize_text`: NFD, lower case, without ASCII punctuation and English articles, single spaces.

      iex> DSPex.Native.Text.normalize("The,  Eiffel  Tower!")
      "eiffel tower"
  """
  @spec normalize(String.t()) :: String.t()
  def normalize(text), do: if(plain?(text), do: plain(text), else: decomposed(text))

  # Printable ASCII and white space need neither tables nor patterns: once the punctuation is gone, articles are words.
  defp plain?(<<char, rest::binary>>) when char in 0x20..0x7E or char in 0x09..0x0D, do: plain?(rest)
  defp plain?(rest), do: rest == ""

  defp plain(text), do: text |> words("", []) |> Enum.join(" ")

  defp words("", word, done), do: word |> kept(done) |> Enum.reverse()
  defp words(<<char, rest::binary>>, word, done) when is_ascii_space(char), do: words(rest, "", kept(word, done))
  defp words(<<char, rest::binary>>, word, done) when is_ascii_punctuation(char), do: words(rest, word, done)
  defp words(<<char, rest::binary>>, word, done) when char in ?A..?Z, do: words(rest, <<word::binary, char + 32>>, done)
  defp words(<<char, rest::binary>>, word, done), do: words(rest, <<word::binary, char>>, done)

  defp kept(word, done) when word in ["", "a", "an", "the"], do: done
  defp kept(word, done), do: [word | done]

  defp decomposed(text) do
    text = text |> String.normalize(:nfd) |> lower()
    text = for <<character::utf8 <- text>>, character not in @punctuation, into: "", do: <<character::utf8>>
    @articles |> Regex.replace(text, " ") |> split() |> Enum.join(" ")
  end

  @doc """
  DSPy's `DPR_normalize`: the lower-cased tokens, runs of letters, digits and marks or single other characters.

      iex> DSPex.Native.Text.tokens("Hello, World!")
      ["hello", ",", "world", "!"]
  """
  @spec tokens(String.t()) :: [String.t()]
  def tokens(text) do
    for [token] <- Regex.scan(@token, String.normalize(text, :nfd)), do: lower(token)
  end

  @doc """
  The text without its combining marks, decomposed.

      iex> DSPex.Native.Text.strip_accents("naïve")
      "naive"
  """
  @spec strip_accents(String.t()) :: String.t()
  def strip_accents(text), do: Regex.replace(@mark, String.normalize(text, :nfd), "")
end
